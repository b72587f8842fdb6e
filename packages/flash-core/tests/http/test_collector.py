"""How start-up and serving tune the garbage collector, without a process of their own."""

import asyncio
import gc

import pytest

from flash.http import garbage_collection
from flash.http.garbage_collection import freeze_startup_objects, postpone_full_collections


@pytest.fixture(autouse=True)
def process_s_collector(monkeypatch):
    """A process in which no app was made; afterwards the collector is as it was before."""
    threshold, callbacks = gc.get_threshold(), list(gc.callbacks)
    monkeypatch.setattr(garbage_collection, "_postponement", None)
    monkeypatch.setattr(garbage_collection, "_frozen", False)
    monkeypatch.setattr(garbage_collection, "QUIET_SECONDS", 0.001)
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*threshold)
    gc.callbacks[:] = callbacks


@pytest.fixture
def done(monkeypatch):
    """What is done to all objects, without doing it."""
    calls, ended = [], asyncio.Event()

    def note(name):
        def call():
            calls.append(name)
            if calls[-3:] == ["unfreeze", "collect", "freeze"]:
                ended.set()

        return call

    for name in ("freeze", "unfreeze", "collect"):
        monkeypatch.setattr(garbage_collection.gc, name, note(name))
    return calls, ended


def test_full_collections_are_postponed_and_young_garbage_is_collected_less_often():
    callbacks = len(gc.callbacks)
    postpone_full_collections()
    young, middle, old = gc.get_threshold()
    assert (young, middle) == (garbage_collection.YOUNG_OBJECTS, 10)
    assert old >= 1_000_000_000
    # Once per process.
    gc.set_threshold(700, 10, 10)
    postpone_full_collections()
    assert gc.get_threshold() == (700, 10, 10)
    assert len(gc.callbacks) == callbacks + 1


def test_who_has_turned_the_collector_off_keeps_it():
    gc.disable()
    try:
        postpone_full_collections()
        assert gc.get_threshold() == (700, 10, 10)
    finally:
        gc.enable()


def test_full_collections_come_back_when_the_time_is_over(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(garbage_collection.time, "monotonic", lambda: now[0])
    callbacks = len(gc.callbacks)
    postpone_full_collections()
    now[0] += garbage_collection.SET_UP_SECONDS
    gc.collect(0)
    assert gc.get_threshold() != (700, 10, 10)
    now[0] += 0.5
    gc.callbacks[-1]("start", {})
    assert gc.get_threshold() != (700, 10, 10)
    gc.collect(0)
    assert gc.get_threshold() == (700, 10, 10)
    assert len(gc.callbacks) == callbacks


def test_thresholds_that_other_code_has_set_meanwhile_stay():
    postpone_full_collections()
    gc.set_threshold(7, 7, 7)
    garbage_collection._postponement.end()
    assert gc.get_threshold() == (7, 7, 7)
    gc.set_threshold(700, 10, 1_000_000_000)
    garbage_collection._postponement.end()
    assert gc.get_threshold() == (700, 10, 1_000_000_000)


async def test_at_start_up_everything_is_left_alone_and_collected_once_it_is_quiet(done):
    calls, ended = done
    postpone_full_collections()
    # One connection at the start is no reason to call the server quiet at once.
    counts = iter([1, 5, 9, 9])
    asked = []

    def connections():
        asked.append(next(counts))
        return asked[-1]

    freeze_startup_objects(connections)
    assert gc.get_threshold() == (700, 10, 10)
    assert calls == ["freeze"]
    async with asyncio.timeout(20):
        await ended.wait()
    # Twice the same number: no connection in between.
    assert asked == [1, 5, 9, 9]
    assert calls == ["freeze", "unfreeze", "collect", "freeze"]


async def test_an_app_that_starts_later_in_the_process_freezes_nothing(done):
    calls, ended = done
    freeze_startup_objects(lambda: 0)
    async with asyncio.timeout(20):
        await ended.wait()
    freeze_startup_objects(lambda: 0)
    await asyncio.sleep(0.01)
    assert calls == ["freeze", "unfreeze", "collect", "freeze"]
