"""A7: background callbacks in a browser, without Celery, disk or a second process."""

import re
from pathlib import Path

import pytest

from flash.testing import FlashClient

DOCUMENT = Path(__file__).parents[2] / "docs" / "background.md"

pytest_plugins = ["flash.testing.plugin"]

APP = """
import asyncio
import itertools
import os
import time

from flash import Flash, Input, Output, State, dcc, html, set_props
from flash.background import AsyncManager

app = Flash(__name__, background_callback_manager=AsyncManager(cache_by=[lambda: "v1"]))
app.layout = html.Div(
    [
        dcc.Input(id="steps", type="number", value=3),
        html.Button("Start", id="start"),
        html.Button("Start in a thread", id="plain"),
        html.Button("Stop", id="stop"),
        html.Button("Fail", id="fail"),
        html.Progress(id="bar", value="0", max="1"),
        html.P("idle", id="state"),
        html.P(id="out"),
        html.P(id="plain-out"),
        html.P(id="log"),
        html.P(id="failed"),
    ]
)
runs = itertools.count(1)
go_on = asyncio.Event()
go_on.set()
options = {
    "background": True,
    "interval": 50,
    "prevent_initial_call": True,
    "running": [(Output("state", "children"), "running", "idle")],
    "progress": [Output("bar", "value"), Output("bar", "max")],
    "progress_default": ["0", "1"],
    "cancel": [Input("stop", "n_clicks")],
}


@app.callback(
    Output("out", "children"),
    Input("start", "n_clicks"),
    State("steps", "value"),
    cache_args_to_ignore=[0],
    **options,
)
async def work(set_progress, clicks, steps):
    run = next(runs)
    for step in range(steps):
        await set_progress([str(step + 1), str(steps)])
        set_props("log", {"children": f"run {run}, step {step + 1}"})
        await asyncio.sleep(0.1)
        await go_on.wait()
    return f"{steps} steps in run {run}"


@app.callback(
    Output("plain-out", "children"), Input("plain", "n_clicks"), State("steps", "value"), **options
)
def work_in_a_thread(set_progress, clicks, steps):
    for step in range(steps):
        set_progress([str(step + 1), str(steps)])
        time.sleep(0.1)
    return f"{steps} steps"


@app.callback(
    Output("failed", "children"),
    Input("fail", "n_clicks"),
    background=True,
    interval=50,
    prevent_initial_call=True,
    on_error=lambda error: str(error).splitlines()[0],
)
async def fail(clicks):
    raise ValueError("told to")


@app.server.post("/hold")
async def hold():
    go_on.clear()
    return "", 204


@app.server.post("/go-on")
async def let_go():
    go_on.set()
    return "", 204
"""

# Lets jobs wait after a step, or go on.
POST = "return fetch(arguments[0], {method: 'POST'}).then(answer => answer.status)"


@pytest.fixture
def page(flash_browser, tmp_path):
    path = tmp_path / "jobs.py"
    path.write_text(APP)
    flash_browser.serve(path)
    flash_browser.wait_for_text("#state", "idle")
    return flash_browser


def bar(page):
    return page.find("#bar").get_attribute("max")


def test_a_page_shows_progress_running_set_props_and_the_result(page):
    assert page.run_js(POST, "/hold") == 204
    page.click("#start")
    page.wait_for_text("#state", "running")
    page.wait_for(lambda: bar(page) == "3", "the bar never moved")
    assert page.run_js(POST, "/go-on") == 204
    page.wait_for_text("#out", "3 steps in run 1")
    page.wait_for_text("#state", "idle")
    page.wait_for_text("#log", "run 1, step 3")
    page.wait_for(lambda: bar(page) == "1", "the bar was not set back")
    page.click("#plain")
    page.wait_for_text("#plain-out", "3 steps")
    page.wait_for_text("#state", "idle")


def test_an_equal_call_shows_the_earlier_result(page):
    page.click("#start")
    page.wait_for_text("#out", "3 steps in run 1")
    page.type("#steps", "2", clear=True)
    page.click("#start")
    page.wait_for_text("#out", "2 steps in run 2")
    page.type("#steps", "3", clear=True)
    page.click("#start")
    page.wait_for_text("#out", "3 steps in run 1")


@pytest.mark.parametrize("button", ["#start", "#plain"])
def test_the_cancel_button_ends_the_job(page, button):
    page.type("#steps", "1000", clear=True)
    page.click(button)
    page.wait_for(lambda: bar(page) == "1000", "the bar never moved")
    page.click("#stop")
    page.wait_for_text("#state", "idle")
    page.wait_for(lambda: bar(page) == "1", "the bar was not set back")
    assert page.text("#out") == page.text("#plain-out") == ""


def test_an_error_reaches_on_error(page):
    page.click("#fail")
    page.wait_for_text("#failed", re.compile("background callback: told to"))


def examples():
    return re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(params=range(len(examples())))
def example(request, tmp_path):
    """The names that one example of the documentation defines."""
    # A file, for Dash reads the source of callbacks.
    path = tmp_path / "example.py"
    path.write_text(examples()[request.param])
    names = {"__name__": "example"}
    exec(compile(path.read_text(), path, "exec"), names)
    return names


async def test_the_documentations_examples_run(example):
    app = example["app"]
    if "report" in example:
        async with FlashClient(app) as client:
            result = await client.call("report.children", {"start.n_clicks": 1})
        assert result.updates == {"report.children": "done"}
        assert result.side_updates["log.children"] == "step 5"
    elif app.redis is not None:
        assert app.redis.url == "redis://127.0.0.1:6379/0"
    else:
        assert app.background_manager.expire == 600
