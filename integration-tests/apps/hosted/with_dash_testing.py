"""Tests as they are written with Dash's own fixtures, of an app of Flash."""

from flash import Flash, Input, Output, dcc, html
from flash_ws import Live


def make():
    app = Flash(__name__)
    live = Live(app)
    app.layout = html.Div(
        [
            dcc.Input(id="name", value="Alma"),
            html.P(id="greeting"),
            html.Button("push", id="push"),
            html.P(id="pushed"),
        ]
    )

    @app.callback(Output("greeting", "children"), Input("name", "value"))
    def greet(name):
        return f"Hello {name}"

    @app.callback(Input("push", "n_clicks"), prevent_initial_call=True)
    async def push(clicks):
        await live.push("pushed", {"children": f"pushed {clicks}"})

    return app


def test_dash_duo_serves_an_app_with_its_link(dash_duo):
    dash_duo.start_server(make(), start_timeout=60)
    dash_duo.wait_for_text_to_equal("#greeting", "Hello Alma", timeout=30)
    dash_duo.find_element("#name").send_keys("Ben")
    dash_duo.wait_for_text_to_equal("#greeting", "Hello AlmaBen", timeout=30)
    dash_duo.find_element("#push").click()
    dash_duo.wait_for_text_to_equal("#pushed", "pushed 1", timeout=30)
    assert dash_duo.get_logs() == []


def test_dash_duo_serves_another_in_the_same_process(dash_duo):
    dash_duo.start_server(make(), start_timeout=60)
    dash_duo.wait_for_text_to_equal("#greeting", "Hello Alma", timeout=30)


def test_the_process_runner_serves_a_module_by_waitress(dash_process_server, dash_br):
    dash_process_server("moved", start_timeout=60)
    dash_br.server_url = dash_process_server.url
    dash_br.wait_for_text_to_equal("#greeting", "Hello Alma", timeout=30)
