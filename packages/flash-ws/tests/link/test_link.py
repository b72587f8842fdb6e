import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from flash_ws import CloseCode, LinkLimits
from flash_ws.link.flushing import FlushScheduler
from flash_ws.link.link import Link
from flash_ws.protocol.frames import connection_frame, event_message, props_message


class Wire:
    """A transport whose page takes messages as long as ``taking`` is set."""

    id = "wire"

    def __init__(self):
        # The frames of each message, and all of them: numbers where they have one.
        self.messages = []
        self.frames = []
        self.closed = None
        self.taking = asyncio.Event()
        self.taking.set()
        self.error = None
        self._heard = asyncio.Queue()

    def say(self, *frames):
        self._heard.put_nowait(json.dumps(frames) if frames else None)

    async def receive(self):
        return await self._heard.get()

    async def send(self, message):
        await self.taking.wait()
        if self.error is not None:
            raise self.error
        self.messages.append([frame.get("n", frame["t"]) for frame in json.loads(message)])
        self.frames += self.messages[-1]

    async def close(self, code, reason):
        self.closed = code


def event(number):
    return event_message("tick", None).numbered("all", number)


@asynccontextmanager
async def running(scheduler=None, handle=None, **limits):
    scheduler = scheduler or FlushScheduler(0.001)
    wire = Wire()
    link = Link(wire, LinkLimits(**limits), scheduler)
    task = asyncio.ensure_future(link.run(handle))
    try:
        yield link, wire, task
    finally:
        wire.taking.set()
        link.close(CloseCode.DRAINING)
        await asyncio.wait({task})


async def test_what_comes_together_leaves_in_one_message(until):
    async with running() as (link, wire, _):
        for number in (1, 2, 3):
            link.deliver(event(number))
        await until(lambda: wire.messages)
        assert wire.messages == [[1, 2, 3]]


async def test_what_comes_before_the_link_runs_is_sent_when_it_does(until):
    scheduler = FlushScheduler(0.001)
    wire = Wire()
    link = Link(wire, LinkLimits(), scheduler)
    link.deliver(connection_frame("bye", after=1))
    async with running(scheduler) as (other, others, _):
        other.deliver(event(1))
        await until(lambda: others.messages)
    assert not wire.messages
    task = asyncio.ensure_future(link.run(lambda frame: None))
    await until(lambda: wire.messages)
    wire.say()
    await asyncio.wait_for(task, 5)
    assert wire.messages == [["bye"]]


async def test_what_comes_while_the_page_is_slow_follows_once_and_in_order(until):
    scheduler = FlushScheduler(0.001)
    async with (
        running(scheduler) as (link, wire, _),
        running(scheduler) as (quick, taken, _),
    ):
        wire.taking.clear()
        for number in range(1, 50):
            for each in (link, quick):
                each.deliver(event(number))
            await until(lambda number=number: taken.messages[-1:] == [[number]])
        wire.taking.set()
        await until(lambda: wire.frames[-1:] == [49])
        assert wire.frames == list(range(1, 50))


async def test_a_full_batch_leaves_before_its_time(until):
    async with running(FlushScheduler(3600), max_batch_bytes=500) as (link, wire, _):
        for number in range(1, 21):
            link.deliver(event(number))
        await until(lambda: wire.frames[-1:] == [20])
        assert len(wire.messages) > 1


async def test_room_comes_back_when_the_page_has_taken_enough(until):
    async with running(max_outbox_bytes=2000, max_batch_bytes=100) as (link, wire, _):
        wire.taking.clear()
        number = 0
        while not link.outbox.is_half_full:
            number += 1
            link.deliver(event(number))
            await asyncio.sleep(0)
        waiting = asyncio.ensure_future(link.wait_for_room())
        await asyncio.sleep(0)
        assert not waiting.done()
        wire.taking.set()
        await asyncio.wait_for(waiting, 5)
        assert not link.outbox.is_half_full


async def test_a_page_that_takes_nothing_is_closed_as_too_slow(until):
    async with running(max_outbox_bytes=2000) as (link, wire, task):
        wire.taking.clear()
        number = 0
        while wire.closed is None:
            number += 1
            assert number < 1000
            link.deliver(event(number))
            await asyncio.sleep(0)
        await asyncio.wait_for(task, 5)
        assert wire.closed is CloseCode.TOO_SLOW


async def test_values_are_replaced_while_the_page_is_slow(until):
    async with running() as (link, wire, _):
        wire.taking.clear()
        for number in range(1, 100):
            message = props_message([("out", {"children": number})])
            link.deliver(message.numbered("all", number))
            await asyncio.sleep(0)
        wire.taking.set()
        await until(lambda: wire.frames[-1:] == [99])
        assert len(wire.frames) < 99


@pytest.mark.parametrize("error", [ConnectionResetError(), RuntimeError("sent after the end")])
async def test_a_page_that_breaks_off_during_a_write_ends_the_link(error):
    async with running() as (link, wire, task):
        wire.error = error
        link.deliver(event(1))
        await asyncio.wait_for(task, 5)
        assert wire.frames == []


async def test_a_handler_may_close_its_own_link():
    async def leave(frame):
        link.close(CloseCode.KICKED)
        await asyncio.sleep(3600)

    async with running(handle=leave) as (link, wire, task):
        wire.say({"t": "event"})
        await asyncio.wait_for(task, 5)
        assert wire.closed is CloseCode.KICKED


async def test_a_timeout_of_a_handler_is_not_taken_for_the_links_own():
    async def late(frame):
        raise TimeoutError

    async with running(handle=late) as (_, wire, task):
        wire.say({"t": "event"})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 5)


async def test_whoever_cancels_a_link_cancels_it():
    async with running() as (link, _, task):
        await asyncio.sleep(0)
        link.close(CloseCode.DRAINING)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
