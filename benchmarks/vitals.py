"""How a page of the demo loads in Chromium, by the browser's own trace.

Run ``python benchmarks/vitals.py [path …]``. For each path it opens the page several times with an
empty cache, on this processor as it is and slowed down four times, and prints the medians: the
first contentful paint, the largest one, the total blocking time and the layout shift. Those are
the figures that Lighthouse gives, measured without its simulated network.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from websockets.sync.client import connect

from flash.testing import AppProcess
from flash.testing.browser import Browser, Chromium

if TYPE_CHECKING:
    from collections.abc import Iterable

    from websockets.sync.client import ClientConnection

DEMO = Path(__file__).parents[1] / "examples" / "demo" / "app.py"
LOADS = 5
# Seconds that a page is watched.
WATCHED = 6.0
SLOWDOWNS = (1, 4)
CATEGORIES = ("blink.user_timing", "devtools.timeline", "loading", "toplevel")
# Milliseconds of a task that are not counted as blocking.
UNNOTICED = 50.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """The figures of one load; times in milliseconds since the navigation."""

    first_paint: float
    largest_paint: float
    # The time beyond 50 ms of each task of the page's thread, from the first paint on.
    blocked: float
    # All shifts that no input caused: at least what the worst window of five seconds has.
    shift: float


def vitals(events: Iterable[dict[str, Any]], url: str) -> Vitals:
    """Read the figures of the load of ``url`` out of a trace."""
    events = sorted(events, key=lambda event: event.get("ts", 0))
    start = next(
        event
        for event in events
        if event["name"] == "navigationStart"
        and event["args"].get("data", {}).get("documentLoaderURL") == url
    )
    own = [event for event in events if event["pid"] == start["pid"]]

    def since(event: dict[str, Any]) -> float:
        return (event["ts"] - start["ts"]) / 1_000

    def paints(name: str) -> list[float]:
        frame = start["args"]["frame"]
        return [
            since(event)
            for event in own
            if event["name"] == name and event["args"]["frame"] == frame and since(event) >= 0
        ]

    first = min(paints("firstContentfulPaint"))
    largest = paints("largestContentfulPaint::Candidate")
    tasks = [
        event["dur"] / 1_000
        for event in own
        if event["name"] == "ThreadControllerImpl::RunTask"
        and event["ph"] == "X"
        and event["tid"] == start["tid"]
        and since(event) >= first
    ]
    shifts = [
        event["args"]["data"]["weighted_score_delta"]
        for event in own
        if event["name"] == "LayoutShift" and not event["args"]["data"]["had_recent_input"]
    ]
    blocked = sum(task - UNNOTICED for task in tasks if task > UNNOTICED)
    return Vitals(first, max(largest, default=first), blocked, sum(shifts))


class Devtools:
    """Chromium's own protocol for one tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0

    def call(self, method: str, **parameters: Any) -> list[dict[str, Any]]:
        """Call a method, wait for its answer, and return the events that came before it."""
        self._number += 1
        call = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(call))
        before: list[dict[str, Any]] = []
        while (message := self._next()).get("id") != self._number:
            before.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return before

    def trace(self) -> list[dict[str, Any]]:
        """End the trace and return its events."""
        messages = self.call("Tracing.end")
        while not messages or messages[-1]["method"] != "Tracing.tracingComplete":
            messages.append(self._next())
        return [
            event
            for message in messages
            if message["method"] == "Tracing.dataCollected"
            for event in message["params"]["value"]
        ]

    def _next(self) -> dict[str, Any]:
        return json.loads(self._connection.recv(timeout=60))


def load(chromium: Chromium, url: str, slowdown: int) -> Vitals:
    """Open ``url`` as a user who was never there, and return its figures."""
    browser = Browser(chromium)
    try:
        address = chromium.driver.capabilities["goog:chromeOptions"]["debuggerAddress"]
        target = f"ws://{address}/devtools/page/{browser.driver.current_window_handle}"
        with connect(target, max_size=None) as connection:
            devtools = Devtools(connection)
            devtools.call("Emulation.setCPUThrottlingRate", rate=slowdown)
            devtools.call("Tracing.start", traceConfig={"includedCategories": list(CATEGORIES)})
            browser.open(url)
            time.sleep(WATCHED)
            return vitals(devtools.trace(), url)
    finally:
        browser.quit()


def main() -> None:
    paths = sys.argv[1:] or ["/"]
    print(f"medians of {LOADS} loads  processor  first paint  largest paint  blocked  layout shift")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        chromium = Chromium(Path(profile))
        try:
            with AppProcess(DEMO, timeout=120) as process:
                for path in paths:
                    url = urljoin(process.url, path)
                    # The first load fills the server's caches.
                    load(chromium, url, 1)
                    for slowdown in SLOWDOWNS:
                        loads = [load(chromium, url, slowdown) for _ in range(LOADS)]
                        print(
                            f"{path:19}  {f'1/{slowdown}':>9}"
                            f"  {statistics.median(each.first_paint for each in loads):8.0f} ms"
                            f"  {statistics.median(each.largest_paint for each in loads):10.0f} ms"
                            f"  {statistics.median(each.blocked for each in loads):4.0f} ms"
                            f"  {statistics.median(each.shift for each in loads):12.4f}",
                            flush=True,
                        )
        finally:
            chromium.quit()


if __name__ == "__main__":
    main()
