"""Callbacks without inputs and outputs: every one of them runs when a page opens."""

import json
import urllib.request

from flash import Flash, html

pytest_plugins = ["flash.testing.plugin"]

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
    return app


def test_11_4_ids_differ_and_are_the_same_in_every_worker():
    one, other = make_app(), make_app()
    assert len(one.callback_map) == 4
    assert list(one.callback_map) == list(other.callback_map)
