"""dash-extensions' WebSocket and SSE components in a Flash app."""

from endpoints import live, serve_figures
from page import connect, layout

import flash

app = flash.Flash(__name__, title="Endpoints", suppress_callback_exceptions=True)
app.server.secret_key = "secret"
app.layout = layout(flash)
connect(app, flash)
live.init_app(app)
serve_figures(app.server)

if __name__ == "__main__":
    app.run(debug=True)
