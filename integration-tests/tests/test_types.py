"""S6: what a type checker sees of an app: right code passes, and each mistake is found."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GOOD = """
from typing import assert_type
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import flash
from flash import Flash, Input, Output, State, html, lazy, live, pubsub, set_props
from flash_pubsub import PubSub
from flash_ws import Live

app = Flash(
    __name__,
    redis="redis://localhost",
    sessions="redis",
    title="Prices",
    external_stylesheets=["style.css"],
    prevent_initial_callbacks="initial_duplicate",
    max_threads=8,
)
app.layout = html.Div(id="out")

assert_type(live, Live)
assert_type(pubsub, PubSub)


@app.callback(Output("out", "children"), Input("go", "n_clicks"), State("name", "value"))
def plain(clicks: int, name: str) -> str:
    return f"{clicks} {name}"


assert_type(plain(1, "a"), str)


@flash.callback(
    output=[Output("a", "b"), Output("c", "d")],
    inputs={"clicks": Input("go", "n_clicks"), "more": [Input("x", "y"), State("z", "w")]},
    background=True,
    supersede=False,
    timeout=5,
)
async def grouped(clicks: int, more: list[int]) -> tuple[int, int]:
    return clicks, more[0]


async def use() -> None:
    assert_type(await grouped(1, more=[2]), tuple[int, int])
    live.push("out", {"children": 1})
    await live.push([("out", {"children": 1})], to=live.everybody)
    await set_props("out", {"children": 1}, to=live.group("desk"))
    set_props("out", {"children": 1})
    await pubsub.publish("prices", {"price": 1})


@live.on_event("said")
async def said(data: str) -> None:
    await live.push("out", {"children": data}, to=live.client)


@live.event_callback(Input("go", "n_clicks"))
async def clicked(clicks: int):
    yield {"out.children": clicks}


@pubsub.channel_callback("prices", Output("out", "children"))
def price(message: dict[str, int]) -> int:
    return message["price"]


@lazy(cache=60)
async def panel(number: int) -> html.P:
    return html.P(number)
"""

BAD = """
import flash
from flash import Flash, Input, Output, live, pubsub, set_props

app = Flash(__name__, titel="Prices")  # error: titel
Flash(__name__, redis=5)  # error: redis
Flash(__name__, sessions="files")  # error: sessions
Flash(__name__, max_threads="8")  # error: max_threads


@app.callback(Output("a", "b"), Input("c", "d"), supercede=True)  # error: supercede
def misspelt(value: int) -> int:
    return value


@flash.callback(Output("a", "b"), Input("c", "d"), run_in="process")  # error: run_in
def elsewhere(value: int) -> int:
    return value


@flash.callback(Output("a", "b"), Input("c", "d"))
def typed(value: int) -> int:
    return value


typed("text")  # error: value
live.pusch("a", {})  # error: pusch
live.push("a", {}, too=live.everybody)  # error: too
live.on_event("x", acepts_components=True)  # error: acepts_components
pubsub.publsh("prices", 1)  # error: publsh
pubsub.channel("prices", histori=5)  # error: histori
set_props("a", {"b": 1}, to="everybody")  # error: to
set_props("a", 5)  # error: props
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The errors of each file: by its name, pairs of a line and a message."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "good.py").write_text(GOOD)
    (folder / "bad.py").write_text(BAD)
    settings = {
        "venvPath": str(Path(sys.prefix).parent),
        "venv": Path(sys.prefix).name,
        "typeCheckingMode": "standard",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=250)
    errors = {"good.py": [], "bad.py": []}
    for each in json.loads(result.stdout)["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        errors[Path(each["file"]).name].append((line, each["message"]))
    return errors


def test_s6_an_app_that_is_right_has_no_errors(found):
    assert found["good.py"] == []


def test_s6_every_mistake_is_found_and_nothing_else(found):
    lines = BAD.splitlines()
    marked = {
        number: match[1]
        for number, line in enumerate(lines, 1)
        if (match := re.search(r"# error: (\w+)", line))
    }
    assert {line for line, _ in found["bad.py"]} == marked.keys()
    for number, word in marked.items():
        texts = " ".join(text for line, text in found["bad.py"] if line == number)
        assert word in texts or word in lines[number - 1]
