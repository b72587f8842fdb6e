"""An app as it was written for Dash."""

import threading

from dash import Dash, Input, Output, callback, dcc, html

app = Dash(__name__)
server = app.server
app.layout = html.Div([dcc.Input(id="name", value="Alma"), html.P(id="greeting")])


@callback(Output("greeting", "children"), Input("name", "value"))
def greet(name):
    return f"Hello {name} from {threading.current_thread().name}"


if __name__ == "__main__":
    app.run(debug=True)
