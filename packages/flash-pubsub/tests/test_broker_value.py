"""One value of a channel's state, asked of every broker."""

import pytest

from flash_pubsub.broker import Retention


@pytest.fixture(params=["memory", "redis", "cluster", "sentinel"])
def world(request):
    return request.getfixturevalue(f"{request.param}_world")


async def test_one_value_is_read_as_it_was_set_last(world):
    broker = (await world.worker()).broker
    await broker.publish("room", b"", changes={"a": b"1:2", "b": b"\x00\xff"})
    assert await broker.value("room", "a") == b"1:2"
    assert await broker.value("room", "b") == b"\x00\xff"
    assert await broker.value("room", "c") is None
    await broker.publish("room", b"", changes={"a": None, "b": b""})
    assert await broker.value("room", "a") is None
    assert await broker.value("room", "b") == b""


async def test_looking_for_what_was_never_set_begins_no_channel(world):
    broker = (await world.worker()).broker
    assert await broker.value("room", "a") is None
    assert await broker.channels() == []


async def test_a_value_goes_with_its_channel(world):
    broker = (await world.worker()).broker
    await broker.publish("room", b"", changes={"a": b"1"}, retention=Retention(max_idle=3600))
    await world.flush()
    assert await broker.value("room", "a") is None
