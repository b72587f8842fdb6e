"""The same page in dash-extensions' DashProxy."""

from endpoints import live, serve_figures
from page import connect, layout

from flash import enrich

app = enrich.DashProxy(
    __name__,
    title="Endpoints",
    suppress_callback_exceptions=True,
    transforms=[enrich.TriggerTransform(), enrich.MultiplexerTransform()],
)
app.server.secret_key = "secret"
app.layout = layout(enrich)
connect(app, enrich)
live.init_app(app)
serve_figures(app.server)

if __name__ == "__main__":
    app.run(debug=True)
