"""Delivery goes on after a listener, or Redis's client, meets a `BaseException`."""

import asyncio

import pytest
from broker_worlds import until

from flash.redis import topology
from flash_pubsub import MemoryBroker
from flash_pubsub.broker.listeners import Listeners
from flash_pubsub.broker.redis.servers import Servers
from flash_pubsub.broker.redis.store import Store


class PanicException(BaseException):
    """What pydantic and polars raise when their native code panics."""


def panic(*_, **__):
    raise PanicException("native code")


def cancelled(*_, **__):
    raise asyncio.CancelledError


def interrupted(*_, **__):
    raise KeyboardInterrupt


FAULTS = [panic, cancelled, interrupted]


@pytest.fixture(params=["memory", "redis"])
def world(request):
    return request.getfixturevalue(f"{request.param}_world")


@pytest.mark.parametrize("fault", FAULTS)
async def test_11_7_a_receiver_that_panics_gets_the_next_message(world, fault, caplog):
    def on_delivery(publication):
        if publication.payload == b"0":
            fault()

    worker = await world.worker(on_delivery=on_delivery)
    await worker.broker.subscribe("c")
    for number in range(3):
        await worker.broker.publish("c", b"%d" % number)
    await worker.has("c", b"0", b"1", b"2")
    assert "delivering a message of 'c' failed" in caplog.text


class Recording:
    """A listener that panics first, or never."""

    def __init__(self, fault=None):
        self.fault = fault
        self.got = []

    def deliver(self, publication):
        if self.fault is not None:
            self.fault()
        self.got.append(publication.payload)

    def reset(self, channel, position):
        if self.fault is not None:
            self.fault()
        self.got.append("reset")


@pytest.mark.parametrize("fault", FAULTS)
async def test_11_7_a_listener_that_panics_keeps_nothing_from_the_others(fault, caplog):
    listeners = Listeners(MemoryBroker())
    await listeners.start()
    broken, other = Recording(fault), Recording()
    for each in (broken, other):
        await listeners.listen("c", each)
    await listeners.broker.publish("c", b"1")
    listeners.broker.store.flush()
    await listeners.broker.publish("c", b"2")
    await until(lambda: other.got == [b"1", "reset", b"2"])
    assert caplog.text.count("failed on channel 'c'") == 3
    await listeners.close()


def once(monkeypatch, kind, name, fault):
    """Let a method fail the first time; returns how often it was called."""
    calls = []
    method = getattr(kind, name)

    async def called(*arguments, **options):
        calls.append(name)
        if len(calls) == 1:
            fault()
        return await method(*arguments, **options)

    monkeypatch.setattr(kind, name, called)
    return calls


@pytest.mark.parametrize("fault", [panic, cancelled])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(Store, "touch"), (Store, "connect"), (topology.Single, "owner"), (Servers, "_listen")],
)
async def test_11_7_the_listener_of_redis_goes_on(redis_world, monkeypatch, kind, name, fault):
    calls = once(monkeypatch, kind, name, fault)
    worker = await redis_world.worker()
    async with asyncio.timeout(20):
        await worker.broker.subscribe("c")
        await worker.broker.publish("c", b"1")
        await worker.has("c", b"1")
    assert len(calls) > 1


@pytest.mark.parametrize("fault", [panic, cancelled])
async def test_11_7_a_channel_is_placed_after_a_fault(redis_world, monkeypatch, fault):
    worker = await redis_world.worker()
    calls = once(monkeypatch, topology.Single, "owner", fault)
    async with asyncio.timeout(20):
        await worker.broker.subscribe("c")
        await worker.broker.publish("c", b"1")
        await worker.has("c", b"1")
    assert len(calls) > 1
