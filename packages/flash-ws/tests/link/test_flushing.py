import asyncio

import pytest

from flash_ws.link.flushing import FlushScheduler


class RecordingWriter:
    """Remembers each call of the flusher, and the loop's turn it came in."""

    def __init__(self, turns):
        self.calls = []
        self._turns = turns

    async def write_waiting(self, task):
        self.calls.append((task, self._turns()))


@pytest.fixture
async def turns():
    """Count the loop's turns, as long as the test lasts."""
    count = 0
    loop = asyncio.get_running_loop()

    def turn():
        nonlocal count, handle
        count += 1
        handle = loop.call_soon(turn)

    handle = loop.call_soon(turn)
    yield lambda: count
    handle.cancel()


async def test_all_that_wait_are_called_at_in_one_task(turns, until):
    scheduler = FlushScheduler(0.001)
    writers = [RecordingWriter(turns) for _ in range(10)]
    for writer in writers:
        scheduler.schedule(writer)
    await until(lambda: writers[-1].calls)
    assert len({writer.calls[0] for writer in writers}) == 1


async def test_who_waits_already_is_called_at_once_only(turns, until):
    scheduler = FlushScheduler(0.001)
    writer, last = RecordingWriter(turns), RecordingWriter(turns)
    for _ in range(3):
        scheduler.schedule(writer)
    scheduler.schedule(last)
    await until(lambda: last.calls)
    assert len(writer.calls) == 1


async def test_who_comes_after_a_departure_gets_another(turns, until):
    scheduler = FlushScheduler(0.001)
    writer = RecordingWriter(turns)
    for number in range(1, 4):
        scheduler.schedule(writer)
        await until(lambda number=number: len(writer.calls) == number)


async def test_who_comes_after_a_rest_waits_for_nobody(turns, until):
    scheduler, clock = FlushScheduler(0.05), FlushScheduler(0.1)
    writer, rested = RecordingWriter(turns), RecordingWriter(turns)
    clock.schedule(rested)
    await until(lambda: rested.calls)
    scheduler.schedule(writer)
    added_in = turns()
    await until(lambda: writer.calls)
    assert writer.calls[0][1] - added_in < 10


async def test_who_is_in_a_hurry_waits_for_no_timer(turns, until):
    scheduler = FlushScheduler(3600)
    patient, hurried = RecordingWriter(turns), RecordingWriter(turns)
    scheduler.schedule(patient)
    scheduler.schedule(hurried)
    scheduler.flush_now(hurried)
    await until(lambda: hurried.calls)
    assert not patient.calls
    scheduler.close()


async def test_who_is_removed_is_not_called_at(turns, until):
    scheduler = FlushScheduler(0.001)
    gone, other = RecordingWriter(turns), RecordingWriter(turns)
    scheduler.schedule(gone)
    scheduler.schedule(other)
    scheduler.cancel(gone)
    scheduler.cancel(gone)
    await until(lambda: other.calls)
    assert not gone.calls


async def test_closing_forgets_who_waits(turns, until):
    scheduler = FlushScheduler(0.001)
    writer = RecordingWriter(turns)
    scheduler.schedule(writer)
    scheduler.close()
    other = FlushScheduler(0.002)
    witness = RecordingWriter(turns)
    other.schedule(witness)
    await until(lambda: witness.calls)
    assert not writer.calls
