"""Writing to many sockets at once."""

import asyncio

import pytest

from flash_ws.link.writer import Flusher, Writer, as_event, size_of


class Wire:
    """Takes what is sent, one message at a time while ``open`` is set."""

    def __init__(self, flusher, *, max_bytes=100):
        self.got = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False
        self.failures = []
        self.tasks = set()
        self.writer = Writer(
            self.take, max_bytes=max_bytes, flusher=flusher, on_failure=self.failures.append
        )

    async def take(self, event):
        self.tasks.add(asyncio.current_task())
        if not self.open.is_set():
            await self.open.wait()
        if self.broken:
            raise ConnectionResetError("gone")
        self.got.append(event["text"])

    def offer(self, text):
        event = as_event(text)
        return self.writer.offer(event, size_of(event))


@pytest.fixture
def flusher():
    return Flusher()


async def test_one_task_writes_to_many_while_nobody_makes_it_wait(flusher):
    wires = [Wire(flusher) for _ in range(100)]
    for wire in wires:
        assert wire.offer("x")
    await asyncio.gather(*(wire.writer.flush() for wire in wires))
    assert [wire.got for wire in wires] == [["x"]] * 100
    assert len(set.union(*(wire.tasks for wire in wires))) == 1


async def test_those_that_wait_hold_nobody_up_and_go_on_where_they_were(flusher):
    wires = [Wire(flusher) for _ in range(3 * Flusher.MAX_WRITERS)]
    stuck, free = wires[::7], [wire for number, wire in enumerate(wires) if number % 7]
    for wire in stuck:
        wire.open.clear()
    for text in "abc":
        for wire in wires:
            assert wire.offer(text)
        await asyncio.gather(*(wire.writer.flush() for wire in free))
    assert all(wire.got == ["a", "b", "c"] for wire in free)
    assert all(wire.got == [] and wire.writer.waiting == 2 for wire in stuck)
    for wire in stuck:
        wire.open.set()
    await asyncio.gather(*(wire.writer.flush() for wire in stuck))
    assert all(wire.got == ["a", "b", "c"] for wire in stuck)


async def test_a_socket_that_cannot_be_written_to_is_reported_and_the_next_is_served(flusher):
    first, second = Wire(flusher), Wire(flusher)
    first.broken = True
    first.offer("x")
    second.offer("y")
    await second.writer.flush()
    assert [str(error) for error in first.failures] == ["gone"]
    assert second.got == ["y"]


async def test_what_waits_is_bounded_and_free_again_once_it_is_written(flusher):
    wire = Wire(flusher, max_bytes=10)
    wire.open.clear()
    assert wire.offer("12345")
    await asyncio.sleep(0)
    assert wire.offer("1234567890")
    assert not wire.offer("1")
    assert wire.writer.bytes_waiting == 10
    wire.open.set()
    await wire.writer.flush()
    assert wire.writer.bytes_waiting == 0
    assert wire.offer("1234567890")
    await wire.writer.flush()


async def test_stopping_ends_the_write_under_way_and_those_that_wait_but_nobody_elses(flusher):
    wire, other = Wire(flusher), Wire(flusher)
    wire.open.clear()
    wire.offer("kept")
    await asyncio.sleep(0)
    sender = asyncio.create_task(wire.writer.send(as_event("waiting")))
    await asyncio.sleep(0)
    other.offer("well")
    await wire.writer.stop(ConnectionAbortedError("closing"))
    with pytest.raises(ConnectionAbortedError, match="closing"):
        await sender
    await other.writer.flush()
    assert other.got == ["well"]
    assert wire.got == []


async def test_a_sender_whose_own_write_fails_learns_it(flusher):
    wire = Wire(flusher)
    wire.open.clear()
    wire.offer("first")
    await asyncio.sleep(0)
    sender = asyncio.create_task(wire.writer.send(as_event("waited")))
    await asyncio.sleep(0)
    wire.open.set()
    await wire.writer.flush()
    await sender
    wire.broken = True
    with pytest.raises(ConnectionResetError, match="gone"):
        await wire.writer.send(as_event("second"))
