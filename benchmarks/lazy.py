"""Panels that load when they are seen: what a viewer waits for, and what the database is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apps.lazy_work import HEIGHT, PANELS
from browser import cold_load, get_request
from chromium import chromium_running
from load import Connection, http_request
from report import Row, Spread, Target, compare
from rounds import Effort, take_turns
from servers import App, Server, Subject, serve_all

from flash.testing.browser import Browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash.testing.browser import Chromium

VIEWERS = 40
# How many panels a viewer has on the screen before any scroll.
ON_SCREEN = 4

# Notes when what can be seen has been filled, and when nothing is under way any more. Run before
# the page's own scripts.
_WATCH = """
addEventListener("DOMContentLoaded", () => {
    const look = () => {
        const panels = Array.from(document.querySelectorAll(".panel"));
        const seen = panels.filter(panel => panel.getBoundingClientRect().top < innerHeight);
        const isDone = panel => panel.querySelector(".done");
        const isDoneOrIdle = panel => panel.querySelector(".done, [data-status=idle]");
        if (!window.completeAfter && seen.length && seen.every(isDone)) {
            window.completeAfter = performance.now();
        }
        if (window.completeAfter && panels.every(isDoneOrIdle)) {
            window.restAfter = performance.now();
        } else {
            requestAnimationFrame(look);
        }
    };
    look();
});
window.blocked = 0;
window.longTasks = 0;
new PerformanceObserver(list => {
    for (const task of list.getEntries()) {
        window.blocked += task.duration - 50;
        window.longTasks += 1;
    }
}).observe({type: "longtask", buffered: true});
"""

# A brisk hand: a screen in an eighth of a second, where the page keeps up.
_SCROLL = """
const step = () => {
    const before = scrollY;
    scrollBy(0, 100);
    if (scrollY === before) window.atTheEnd = true; else requestAnimationFrame(step);
};
step();
"""


@dataclass(frozen=True, slots=True)
class _View:
    """Seconds from the start of the navigation."""

    # Until all that is on the screen was filled.
    complete: float
    # Until the page waited for nothing more.
    rest: float


@dataclass(frozen=True, slots=True)
class _Flask(Subject):
    kind: str

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "apps.lazy_flask", str(port), self.kind]


@dataclass(frozen=True, slots=True)
class _QuickQueries(Subject):
    """Another subject whose queries take 20 ms, for the turns that only count them.

    What Flash loads is kept for a minute: forty pages do not open in the same 20 ms.
    """

    inner: Subject

    def command(self, port: int) -> list[str]:
        return ["env", "QUERY_SECONDS=0.02", "CACHE_SECONDS=60", *self.inner.command(port)]


def _flash(name: str) -> Subject:
    return Subject(App("Flash, flash-lazy", f"apps.lazy_flash:{name}"), "hypercorn")


_PANELS = _flash("panels")
_IN_LAYOUT = _Flask(App("Dash Flask, 8 threads, all in the layout", ""), "hypercorn", "layout")
_CALLBACKS = _Flask(App("Dash Flask, 8 threads, a callback for each", ""), "hypercorn", "callbacks")


@contextlib.contextmanager
def _visitor(chromium: Chromium, server: Server) -> Iterator[Browser]:
    """A browser with an empty cache that has opened the page of ``server``."""
    browser = Browser(chromium, timeout=60)
    try:
        browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
        browser.open(f"http://127.0.0.1:{server.port}/")
        yield browser
    finally:
        browser.quit()


async def _queries(server: Server) -> int:
    connection = await Connection.open(server.port)
    try:
        return len(json.loads((await connection.fetch(get_request("/queries"))).body))
    finally:
        connection.close()


async def measure_first_view(effort: Effort) -> list[Row]:
    """Fifty panels of 300 ms queries, until what is on the screen is filled."""
    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, _PANELS, _IN_LAYOUT, _CALLBACKS)
        chromium = await stack.enter_async_context(chromium_running())

        # Not measured: the first page after the start has its files compressed.
        await asyncio.gather(*(cold_load(server.port) for server in running))

        def look(server: Server) -> _View:
            with _visitor(chromium, server) as browser:
                browser.wait_for(lambda: browser.run_js("return window.restAfter"), "the panels")
                complete, rest = browser.run_js("return [completeAfter, restAfter]")
                return _View(complete / 1000, rest / 1000)

        async def turn(server: Server) -> tuple[_View, int]:
            before = await _queries(server)
            view = await asyncio.to_thread(look, server)
            return view, await _queries(server) - before

        lazy, in_layout, callbacks = await take_turns(running, effort.long_rounds, turn)
    asked = max(count for _, count in lazy)
    note = f"queries before any scroll: {asked} of {PANELS}, {HEIGHT} pixels each"
    work = f"{PANELS} panels of 300 ms: first view complete"
    flash = Spread.of((view.complete for view, _ in lazy), "s")
    rows = [
        compare(
            work,
            str(peer.app.name),
            flash,
            Spread.of((view.complete for view, _ in turns), "s"),
            target=Target(limit, "at most"),
            notes=(note,),
        )
        for peer, turns, limit in ((_IN_LAYOUT, in_layout, 1 / 10), (_CALLBACKS, callbacks, 1 / 2))
    ]
    rest = compare(
        f"{PANELS} panels of 300 ms: nothing under way any more",
        _CALLBACKS.app.name,
        Spread.of((view.rest for view, _ in lazy), "s"),
        Spread.of((view.rest for view, _ in callbacks), "s"),
        notes=("alone on the server, the first callbacks of a page are those of its first panels",),
    )
    return [*rows, rest]


async def measure_viewers(effort: Effort) -> list[Row]:
    """Forty viewers who open the page at once: how many queries the database sees."""
    del effort
    async with contextlib.AsyncExitStack() as stack:
        quick = [_QuickQueries(each.app, each.server, each) for each in (_PANELS, _CALLBACKS)]
        flash, dash = await serve_all(stack, *quick)
        await asyncio.gather(*(_view(flash, _lazy_loads) for _ in range(VIEWERS)))
        await asyncio.gather(*(_view(dash, _callbacks) for _ in range(VIEWERS)))
        ran, ran_there = await _queries(flash), await _queries(dash)
    return [
        compare(
            f"{VIEWERS} viewers at once, {PANELS} panels: queries run",
            _CALLBACKS.app.name,
            Spread.of([ran], "×"),
            Spread.of([ran_there], "×"),
            target=Target(ON_SCREEN / (PANELS * VIEWERS), "at most"),
            notes=(f"{ON_SCREEN} panels on the screen of each",),
        )
    ]


async def _view(server: Server, requests: Callable[[Any], list[bytes]]) -> None:
    connection = await Connection.open(server.port)
    try:
        layout = json.loads((await connection.fetch(get_request("/_dash-layout"))).body)
    finally:
        connection.close()

    async def ask(request: bytes) -> None:
        connection = await Connection.open(server.port)
        try:
            answer = await connection.fetch(request)
            if answer.status != 200 or b"panel " not in answer.body:
                raise RuntimeError(f"{server.subject}: {answer.status} {answer.body[:200]!r}")
        finally:
            connection.close()

    await asyncio.gather(*(ask(request) for request in requests(layout)))


def _lazy_loads(layout: Any) -> list[bytes]:
    """What the pages of viewers ask for who see the first panels."""
    found: list[bytes] = []
    for frame in layout["props"]["children"][:ON_SCREEN]:
        panel = frame["props"]["children"]["props"]
        found.append(
            _post(
                '..{"flash_lazy":["MATCH"]}.children...{"flash_lazy":["MATCH"]}.answer..',
                [{"id": panel["id"], "property": name} for name in ("children", "answer")],
                {"id": panel["id"], "property": "request", "value": {"n": 1}},
                [{"id": panel["id"], "property": "token", "value": panel["token"]}],
            )
        )
    return found


def _callbacks(layout: Any) -> list[bytes]:
    """What Dash's pages ask for: every callback."""
    ids = [frame["props"]["id"] for frame in layout["props"]["children"]]
    return [
        _post(
            '{"panel":["MATCH"]}.children',
            {"id": each, "property": "children"},
            {"id": each, "property": "id", "value": each},
            [],
        )
        for each in ids
    ]


def _post(output: str, outputs: Any, changed: dict[str, Any], state: list[Any]) -> bytes:
    name = json.dumps(changed["id"], separators=(",", ":"))
    body = {
        "output": output,
        "outputs": outputs,
        "inputs": [changed],
        "state": state,
        "changedPropIds": [f"{name}.{changed['property']}"],
    }
    headers = {"Host": "127.0.0.1", "Content-Type": "application/json"}
    return http_request("POST", "/_dash-update-component", headers, json.dumps(body).encode())


async def measure_scrolling(effort: Effort) -> list[Row]:
    """A page of a hundred graphs, opened and scrolled through: how long its thread is blocked."""
    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, _flash("lazy_graphs"), _flash("graphs"))
        chromium = await stack.enter_async_context(chromium_running())

        def read(server: Server) -> tuple[float, int]:
            with _visitor(chromium, server) as browser:
                browser.find(".js-plotly-plot .main-svg")
                browser.run_js(_SCROLL)
                browser.wait_for(lambda: browser.run_js("return window.atTheEnd"), "the end")
                blocked, tasks = browser.run_js("return [window.blocked, window.longTasks]")
                return blocked / 1000, tasks

        async def turn(server: Server) -> tuple[float, int]:
            return await asyncio.to_thread(read, server)

        # A turn takes half a minute.
        lazy, plain = await take_turns(running, min(effort.long_rounds, 2), turn)
    return [
        compare(
            "opening and scrolling through 100 graphs: time the page was blocked",
            "the same graphs without LazyLoad",
            Spread.of((blocked for blocked, _ in lazy), "s"),
            Spread.of((blocked for blocked, _ in plain), "s"),
            target=Target(1 / 4, "at most"),
            notes=(f"{lazy[-1][1]} long tasks against {plain[-1][1]}",),
        )
    ]


async def measure_script(effort: Effort) -> list[Row]:
    """The size of the script, as the server sends it."""
    del effort
    async with contextlib.AsyncExitStack() as stack:
        [server] = await serve_all(stack, _PANELS)
        connection = await Connection.open(server.port)
        try:
            path = "/_dash-component-suites/flash_lazy/flash_lazy.js"
            headers = {"Host": "127.0.0.1", "Accept-Encoding": "gzip, br, zstd"}
            answer = await connection.fetch(http_request("GET", path, headers))
        finally:
            connection.close()
    return [
        compare(
            "the component's script, compressed",
            "4 KB",
            Spread.of([len(answer.body)], "bytes"),
            Spread.of([4096], "bytes"),
            target=Target(1, "at most"),
        )
    ]


async def measure(effort: Effort) -> list[Row]:
    """What viewers wait for, what the database is asked, and what the page is sent."""
    rows: list[Row] = []
    for part in (measure_first_view, measure_viewers, measure_script):
        rows += await part(effort)
    return rows
