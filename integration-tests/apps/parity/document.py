"""What stands around the layout: the page's HTML, its files, its prefix."""

from pathlib import Path

from quart import request

from flash import Flash, Input, Output, State, callback, get_asset_url, get_relative_path, html

FOLDER = Path(__file__).with_name("document-assets")
INDEX = """<!doctype html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
<body>
<p id="above">above the app</p>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>
"""


class Plugin:
    def plug(self, app):
        app.server.config["PLUGGED"] = app.title


app = Flash(
    __name__,
    title="A page",
    update_title=None,
    url_base_pathname="/below/",
    assets_folder=str(FOLDER),
    assets_ignore="ignored.*",
    assets_path_ignore=["hidden"],
    index_string=INDEX,
    meta_tags=[{"name": "description", "content": "All <about> it"}],
    external_scripts=["/outside.js", {"src": "/outside.js?again", "id": "again"}],
    external_stylesheets=[{"href": "/outside.css", "rel": "stylesheet", "title": "outside"}],
    hooks={"request_pre": "(payload) => { (window.sent ??= []).push(payload.output); }"},
    plugins=[Plugin()],
    health_endpoint="health",
    csrf_token_name="token",
    csrf_header_name="X-Token",
    show_undo_redo=True,
)
app.layout = html.Div(
    [
        html.H1("Title"),
        html.Img(src=get_asset_url("dot.png"), id="dot"),
        html.A("Elsewhere", href=get_relative_path("/elsewhere"), id="elsewhere"),
        html.Button("Click", id="click"),
        html.P(id="clicks"),
        html.P(id="header"),
    ]
)


@callback(
    Output("clicks", "children"),
    Output("header", "children"),
    Input("click", "n_clicks"),
    State("elsewhere", "href"),
)
async def clicks(count, href):
    return f"{count} {href}", f"token {request.headers.get('X-Token')}"


@app.server.get("/outside.js")
async def outside_script():
    return "window.outside = (window.outside ?? 0) + 1;", {"Content-Type": "text/javascript"}


@app.server.get("/outside.css")
async def outside_style():
    return "h1 { background: rgb(4, 5, 6); }", {"Content-Type": "text/css"}


@app.server.get("/plugged")
async def plugged():
    return app.server.config["PLUGGED"], {"Set-Cookie": "token=abc; Path=/"}
