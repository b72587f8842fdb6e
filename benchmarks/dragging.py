"""A shared slider: dragged in a browser, watched by other pages.

Alone: ``uv run python benchmarks/dragging.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chromium import chromium_running
from live_pages import Arrivals, open_pages
from load import LoadError
from redis_server import redis_server
from report import Row, Spread, Target, compare, render
from rounds import FULL, Effort
from servers import App, OverRedis, Server, serve_all
from sockets import Socket, allow_sockets, percentile

from flash.testing.browser import Browser

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from flash.testing.browser import Chromium

WATCHERS = 50
WORKERS = 2
CHANGES_PER_SECOND = 60
# Changes of one drag, which takes a second.
CHANGES = 60

# What the last value may take from the hand's release to the last of the watchers.
PROMISED_SECONDS = 0.1

_FLASH = App("Flash", "apps.shared_flash:app")

_SETTLE_SECONDS = 10.0

# Moves the slider as a hand does that never rests, and ends at the value given; gives the moments
# of the first change and of the last, which is the release.
_DRAG = """
const [last, changes, perSecond] = arguments;
return new Promise(done => {
    const now = () => performance.timeOrigin + performance.now();
    const began = now();
    let change = 0;
    const timer = setInterval(() => {
        while (change < changes && now() - began >= change * 1000 / perSecond) {
            change += 1;
            const value = change === changes ? last : (last + 7 * change) % 1000;
            dash_clientside.set_props('brightness', {value});
        }
        if (change === changes) {
            clearInterval(timer);
            done([began, now()]);
        }
    }, 1);
});
"""

_CONNECTED = """
return new Promise(done => flash.link.onStatus(each => each.status === 'open' && done()));
"""

_SLIDER = "return dash_component_api.getLayout('brightness').props.value"


@dataclass(slots=True)
class _Watchers(Arrivals):
    """What each page shows, and since when."""

    shown: dict[Socket, tuple[Any, float]] = field(default_factory=dict)
    # Messages that came, of all pages.
    messages: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, socket: Socket, message: bytes, now: float) -> None:
        """Read the slider's value out of a message's frames."""
        for frame in json.loads(message):
            if frame.get("c") != "shared":
                continue
            self.messages += 1
            for component_id, props in frame["u"]:
                if component_id != "brightness":
                    continue
                if socket not in self.shown or self.shown[socket][0] != props["value"]:
                    self.shown[socket] = props["value"], now
                    self.changed.set()

    def show(self, value: Any) -> bool:
        """Whether all of them show this value."""
        return len(self.shown) == WATCHERS and all(each == value for each, _ in self.shown.values())

    async def converged(self, value: Any) -> None:
        """Wait until all of them show this value."""
        while not self.show(value):
            self.changed.clear()
            await self.changed.wait()


@dataclass(frozen=True, slots=True)
class _Drag:
    """One drag: after how many seconds from the release each page showed the last value."""

    ages: Sequence[float]
    # How many changes the hand made in a second, and how many of them each page was sent.
    made: float
    seen: float


async def measure(effort: Effort) -> list[Row]:
    """A slider dragged in one browser and shown by fifty other pages, on two workers."""
    allow_sockets(WATCHERS)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(redis_server())
        workers = await serve_all(stack, *[OverRedis(_FLASH, "hypercorn", url)] * WORKERS)
        # In life the hand's browser and the server are on machines of their own.
        chromium = await stack.enter_async_context(chromium_running(everywhere=True))
        browser = await stack.enter_async_context(_hand(chromium, workers[0]))
        watchers = _Watchers()
        for worker in workers:
            await stack.enter_async_context(open_pages(worker, WATCHERS // WORKERS, watchers))
        # Not measured: the callback's first run, and a page that has just opened.
        await _drag(browser, watchers, 1)
        drags = [await _drag(browser, watchers, 10 + number) for number in range(4 * effort.rounds)]
    ages = [age for each in drags for age in each.ages]
    made, seen = (
        Spread.of(values, "/s")
        for values in ([each.made for each in drags], [each.seen for each in drags])
    )
    return [
        compare(
            f"a shared slider, {WATCHERS} pages watching: the last value, p99",
            f"{PROMISED_SECONDS * 1000:.0f} ms from its release",
            Spread.of([percentile(ages, 99)], "s"),
            Spread.of([PROMISED_SECONDS], "s"),
            target=Target(1, "at most"),
            notes=(
                f"p50 {Spread.of([percentile(ages, 50)], 's')}, {len(drags)} drags, all converged; "
                f"changes {made}, of which each page got {seen}",
            ),
        )
    ]


@contextlib.asynccontextmanager
async def _hand(chromium: Chromium, worker: Server) -> AsyncGenerator[Browser]:
    """A browser that shows the slider, and whose page is connected."""
    browser = await asyncio.to_thread(Browser, chromium, timeout=30)
    try:
        await asyncio.to_thread(browser.open, f"http://127.0.0.1:{worker.port}/")
        await asyncio.to_thread(browser.find, "#brightness")
        await asyncio.to_thread(browser.run_js, _CONNECTED)
        yield browser
    finally:
        await asyncio.to_thread(browser.quit)


async def _drag(browser: Browser, watchers: _Watchers, last: int) -> _Drag:
    """Drag, and wait until all pages show where it ended; raises LoadError if they do not."""
    before = watchers.messages
    began, released = await asyncio.to_thread(
        browser.run_js, _DRAG, last, CHANGES, CHANGES_PER_SECOND
    )
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            await watchers.converged(last)
    except TimeoutError as error:
        others = [value for value, _ in watchers.shown.values() if value != last]
        raise LoadError(f"the slider was left at {last}, and pages show {others[:5]}") from error
    # Nothing may come after it that takes it back.
    await asyncio.sleep(0.3)
    if not watchers.show(last) or await asyncio.to_thread(browser.run_js, _SLIDER) != last:
        raise LoadError(f"the slider was left at {last}, and did not stay there")
    epoch = time.time() - time.monotonic()
    ages = [at - (released / 1000 - epoch) for _, at in watchers.shown.values()]
    seconds = (released - began) / 1000
    return _Drag(ages, CHANGES / seconds, (watchers.messages - before) / WATCHERS / seconds)


async def _main() -> None:
    print(render(await measure(FULL)))


if __name__ == "__main__":
    asyncio.run(_main())
