"""Pages from a folder with folders in it; callbacks of all of them are checked against all."""

from flash import Flash, Input, dcc, html, page_container

app = Flash(
    __name__,
    use_pages=True,
    pages_folder="shelf",
    assets_folder="document-assets",
    routing_callback_inputs={"language": Input("language", "value")},
)
app.layout = html.Div(
    [dcc.RadioItems(["en", "de"], "en", id="language", inline=True), page_container]
)
app.enable_dev_tools(
    debug=True, dev_tools_hot_reload=False, dev_tools_disable_version_check=True, dev_tools_ui=True
)
