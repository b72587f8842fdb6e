"""The loop watch: what blocks the event loop is named."""

import asyncio
import threading
import time

import pytest
import uvloop

from flash import ConfigurationError, Flash, Input, Output, html
from flash.loop_watch import MAX_PLACES, LoopWatch, Place
from flash.testing import FlashClient

SECONDS = 0.05


def block(seconds=4 * SECONDS):
    time.sleep(seconds)


def line_of(function, offset):
    return function.__code__.co_firstlineno + offset


def reports(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "flash.loop_watch"]


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def run(request):
    def run_on(main):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main)

    return run_on


def watched(run, main, seconds=SECONDS):
    """Run ``main(watch)`` on a watched loop, and return the watch."""

    async def with_watch():
        watch = LoopWatch(seconds)
        watch.start()
        try:
            await asyncio.sleep(2 * seconds)
            await main(watch)
        finally:
            watch.stop()
        return watch

    return run(with_watch())


class TestWhatIsNamed:
    def test_the_function_of_the_app_that_blocks_with_its_line(self, run, caplog):
        async def main(watch):
            block()
            await until(lambda: watch.total)

        watch = watched(run, main)
        ((place, count),) = watch.counts.items()
        assert (place.function, place.line, count) == ("block", line_of(block, 1), 1)
        (text,) = reports(caplog)
        assert text.startswith(f"block ({place.file}:{place.line}) blocks the event loop")
        assert "0.05 s" in text

    def test_while_it_still_blocks(self, run, caplog):
        async def main(watch):
            block(10 * SECONDS)
            ended.append(time.time())

        ended = []
        watched(run, main)
        (named,) = [r.created for r in caplog.records if r.name == "flash.loop_watch"]
        assert ended[0] - named > 4 * SECONDS

    def test_each_place_once_in_the_log_and_each_time_in_the_counts(self, run, caplog):
        async def main(watch):
            for number in range(3):
                block()
                await until(lambda number=number: watch.total == number + 1)
                await asyncio.sleep(SECONDS)

        watch = watched(run, main)
        assert list(watch.counts.values()) == [3]
        assert len(reports(caplog)) == 1

    def test_places_are_bounded(self, run, caplog):
        async def main(watch):
            for number in range(MAX_PLACES):
                watch.counts[Place("full", "full.py", number)] = 1
            block()
            await until(lambda: watch.unnamed)

        watch = watched(run, main)
        assert len(watch.counts) == MAX_PLACES
        assert (watch.unnamed, reports(caplog)) == (1, [])

    def test_code_of_nobody_is_counted_without_a_name(self, run, caplog):
        async def main(watch):
            asyncio.get_running_loop().call_soon(time.sleep, 4 * SECONDS)
            await asyncio.sleep(0)
            await asyncio.sleep(2 * SECONDS)

        watch = watched(run, main)
        assert (watch.counts, reports(caplog)) == ({}, [])


class TestWhatIsNot:
    def test_an_idle_loop_and_a_busy_one(self, run, caplog):
        # Long enough for a machine that is busy with other things.
        seconds = 1.0

        async def main(watch):
            await asyncio.sleep(2 * seconds)
            end = time.monotonic() + 2 * seconds
            while time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await asyncio.to_thread(block, 2 * seconds)

        watch = watched(run, main, seconds)
        assert (watch.total, reports(caplog)) == (0, [])

    def test_a_loop_that_does_not_run(self, caplog):
        with asyncio.Runner() as runner:

            async def start():
                watch = LoopWatch(SECONDS)
                watch.start()
                return watch

            watch = runner.run(start())
            block()
        assert (watch.total, reports(caplog)) == (0, [])


class TestTheThread:
    def threads(self):
        return [t for t in threading.enumerate() if t.name == "flash-loop-watch"]

    async def test_ends_when_the_last_app_has_stopped(self):
        apps = [Flash(__name__) for _ in range(2)]
        before = self.threads()
        for app in apps:
            app.layout = html.P()
        async with FlashClient(apps[0]):
            async with FlashClient(apps[1]):
                assert apps[0].loop_watch is apps[1].loop_watch
                assert len(self.threads()) == len(before) + 1
            assert len(self.threads()) == len(before) + 1
        await until(lambda: len(self.threads()) == len(before))

    async def test_starts_again_with_the_app(self):
        app = Flash(__name__)
        app.layout = html.P()
        for _ in range(2):
            await app.start()
            assert app.loop_watch is not None
            await app.stop()
            assert app.loop_watch is None

    def test_ends_with_the_loop_of_an_app_that_nobody_stops(self):
        watch = LoopWatch(SECONDS)

        async def start():
            watch.start()
            assert watch._thread in self.threads()

        asyncio.run(start())
        watch._thread.join(10)
        assert not watch._thread.is_alive()


class TestTheSetting:
    async def test_none_turns_it_off(self):
        app = Flash(__name__, slow_callback_seconds=None)
        app.layout = html.P()
        async with FlashClient(app):
            assert app.loop_watch is None

    @pytest.mark.parametrize("wrong", [0, -1, "0.1", float("nan"), True])
    def test_a_wrong_value_is_refused(self, wrong):
        with pytest.raises(ConfigurationError, match=r"slow_callback_seconds=.*above 0"):
            Flash(__name__, slow_callback_seconds=wrong)

    async def test_the_shortest_time_of_several_apps_counts(self):
        apps = [Flash(__name__, slow_callback_seconds=seconds) for seconds in (0.5, 0.2, 0.9)]
        for app in apps:
            app.layout = html.P()
            await app.start()
        assert {app.loop_watch.seconds for app in apps} == {0.2}
        for app in apps:
            await app.stop()


def test_a_callback_that_sleeps_is_named_within_the_second(caplog):
    app = Flash(__name__)
    app.layout = html.Div([html.P(id="in"), html.P(id="out")])

    @app.callback(Output("out", "children"), Input("in", "children"))
    async def careless(value):
        time.sleep(0.5)  # noqa: ASYNC251  (the point of this test)
        return value

    async def call():
        async with FlashClient(app) as client:
            await client.call("out.children", {"in.children": "x"})
            await until(lambda: app.loop_watch.total)
            return list(app.loop_watch.counts)

    # Not an async test: these are watched for calls that block.
    (place,) = asyncio.run(call())
    assert place.function.endswith("careless")
    assert place.line == line_of(careless, 2)
    assert any("careless" in text for text in reports(caplog))
