import asyncio

import pytest

from flash_ws.link.flushing import Departures


class Stop:
    """Remembers each call of the courier, and the loop's turn it came in."""

    def __init__(self, turns):
        self.calls = []
        self._turns = turns

    async def drain(self, task):
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
    departures = Departures(0.001)
    stops = [Stop(turns) for _ in range(10)]
    for stop in stops:
        departures.add(stop)
    await until(lambda: stops[-1].calls)
    assert len({stop.calls[0] for stop in stops}) == 1


async def test_who_waits_already_is_called_at_once_only(turns, until):
    departures = Departures(0.001)
    stop, last = Stop(turns), Stop(turns)
    for _ in range(3):
        departures.add(stop)
    departures.add(last)
    await until(lambda: last.calls)
    assert len(stop.calls) == 1


async def test_who_comes_after_a_departure_gets_another(turns, until):
    departures = Departures(0.001)
    stop = Stop(turns)
    for number in range(1, 4):
        departures.add(stop)
        await until(lambda number=number: len(stop.calls) == number)


async def test_who_comes_after_a_rest_waits_for_nobody(turns, until):
    departures, clock = Departures(0.05), Departures(0.1)
    stop, rested = Stop(turns), Stop(turns)
    clock.add(rested)
    await until(lambda: rested.calls)
    departures.add(stop)
    added_in = turns()
    await until(lambda: stop.calls)
    assert stop.calls[0][1] - added_in < 10


async def test_who_is_in_a_hurry_waits_for_no_timer(turns, until):
    departures = Departures(3600)
    patient, hurried = Stop(turns), Stop(turns)
    departures.add(patient)
    departures.add(hurried)
    departures.hurry(hurried)
    await until(lambda: hurried.calls)
    assert not patient.calls
    departures.close()


async def test_who_is_removed_is_not_called_at(turns, until):
    departures = Departures(0.001)
    gone, other = Stop(turns), Stop(turns)
    departures.add(gone)
    departures.add(other)
    departures.remove(gone)
    departures.remove(gone)
    await until(lambda: other.calls)
    assert not gone.calls


async def test_closing_forgets_who_waits(turns, until):
    departures = Departures(0.001)
    stop = Stop(turns)
    departures.add(stop)
    departures.close()
    other = Departures(0.002)
    witness = Stop(turns)
    other.add(witness)
    await until(lambda: witness.calls)
    assert not stop.calls
