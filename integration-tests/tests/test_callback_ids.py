"""Callbacks whose ids Dash makes of a line or of their Inputs: every one of them runs."""

import json
import urllib.request

import dash
import pytest

import flash
from flash import Flash, Input, html

pytest_plugins = ["flash.testing.plugin"]


def stock_dash(name):
    return dash.Dash(name, backend="quart")


APP = """
import flash
from flash import Flash, Input, Output, html

app = Flash(__name__)
ran = []
app.layout = html.Div([html.Button("go", id="go"), html.P(id="out")])


@app.callback()
def first():
    ran.append("first")


@app.callback()
async def second():
    ran.append("second")


@flash.callback()
def third():
    ran.append("third")


for number in range(2):

    @app.callback()
    def of_a_loop(number=number):
        ran.append(f"loop {number}")


@app.callback(Output("out", "children"), Input("go", "n_clicks"))
def show(clicks):
    return f"clicked {clicks}"


@app.server.route("/ran")
async def what_ran():
    return sorted(ran)
"""


def test_11_4_callbacks_without_inputs_and_outputs_all_run(tmp_path, flash_browser):
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    flash_browser.serve(tmp_path / "app.py")
    flash_browser.wait_for_text("#out", "clicked None")

    def ran():
        with urllib.request.urlopen(f"{flash_browser.address}/ran") as answer:
            return json.load(answer)

    flash_browser.wait_for(lambda: len(ran()) >= 5, "not all ran")
    assert ran() == ["first", "loop 0", "loop 1", "second", "third"]


SAME_INPUTS = """
import flash
from flash import Flash, Input, Output, State, html

app = Flash(__name__)
ran = []
app.layout = html.Div(
    [html.Button("go", id="go"), html.P(id="out"), html.P(id="both"), html.P(id="page")]
)


@flash.callback(Input("go", "n_clicks"), prevent_initial_call=True)
def zeroth(clicks):
    ran.append("zeroth")


@app.callback(Input("go", "n_clicks"), prevent_initial_call=True)
def first(clicks):
    ran.append("first")


@app.callback(Input("go", "n_clicks"), State("out", "children"), prevent_initial_call=True)
async def second(clicks, shown):
    ran.append("second")


for number in range(2):

    @app.callback(Input("go", "n_clicks"), prevent_initial_call=True)
    def of_a_loop(clicks, number=number):
        ran.append(f"loop {number}")


app.clientside_callback(
    "clicks => { document.getElementById('page').textContent = 'clicked' }",
    Input("go", "n_clicks"),
    prevent_initial_call=True,
)


@app.callback(
    Output("both", "children", allow_duplicate=True),
    Input("go", "n_clicks"),
    prevent_initial_call=True,
)
def one(clicks):
    ran.append("one")
    return "one or two"


@app.callback(
    Output("both", "children", allow_duplicate=True),
    Input("go", "n_clicks"),
    prevent_initial_call=True,
)
def two(clicks):
    ran.append("two")
    return "one or two"


@app.callback(Output("out", "children"), Input("go", "n_clicks"))
def show(clicks):
    return f"clicked {clicks}"


@app.server.route("/ran")
async def what_ran():
    return sorted(ran)
"""


def test_11_4_callbacks_with_the_same_inputs_all_run(tmp_path, flash_browser):
    (tmp_path / "app.py").write_text(SAME_INPUTS, encoding="utf-8")
    flash_browser.serve(tmp_path / "app.py")
    flash_browser.wait_for_text("#out", "clicked None")
    flash_browser.click("#go")
    flash_browser.wait_for_text("#out", "clicked 1")
    flash_browser.wait_for_text("#both", "one or two")
    flash_browser.wait_for_text("#page", "clicked")

    def ran():
        with urllib.request.urlopen(f"{flash_browser.address}/ran") as answer:
            return json.load(answer)

    expected = ["first", "loop 0", "loop 1", "one", "second", "two", "zeroth"]
    flash_browser.wait_for(lambda: len(ran()) >= len(expected), "not all ran")
    assert ran() == expected


def make_app():
    app = Flash(__name__)
    app.layout = html.Div()

    @app.callback()
    def first():
        """Run."""

    @app.callback()
    def second():
        """Run."""

    for _ in range(2):
        app.callback()(lambda: None)
        app.callback(Input("go", "n_clicks"))(lambda clicks: None)
        app.clientside_callback("x => x", Input("go", "n_clicks"))
    return app


def test_11_4_the_id_of_one_callback_is_dash_s():
    ids = []
    for kind in (Flash, stock_dash):
        app = kind(__name__)
        app.callback(Input("go", "n_clicks"))(lambda clicks: None)
        ids.append(list(app.callback_map))
    assert ids[0] == ids[1]


@pytest.mark.parametrize("first", ["app", "global"])
def test_11_4_callbacks_of_an_app_and_of_none_have_ids_of_their_own(first):
    app = Flash(__name__)
    app.layout = html.Div()
    registrars = [app.callback, flash.callback]
    for register in registrars if first == "app" else reversed(registrars):
        register(Input("go", "n_clicks"))(lambda clicks: None)
    app.run_first_request_setup()
    assert len(app.callback_map) == 2


def test_11_4_ids_differ_and_are_the_same_in_every_worker():
    one, other = make_app(), make_app()
    assert len(one.callback_map) == 8
    assert list(one.callback_map) == list(other.callback_map)
