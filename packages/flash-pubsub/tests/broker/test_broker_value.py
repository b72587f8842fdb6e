"""One value of a channel's state, asked of every broker."""

import pytest

from flash_pubsub.broker.seam import Retention


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


async def test_how_long_a_channel_is_kept_is_said_by_the_newest_publication(redis_world):
    broker = (await redis_world.worker()).broker
    for seconds in (3600, 1, 3600):
        retention = Retention(max_idle=seconds, max_age=seconds)
        await broker.publish("room", b"x", changes={"a": b"1"}, retention=retention)
        with redis_world.deployment.client() as client:
            left = [client.ttl(name) for name in client.keys("*:c:room}:[mhs]")]
        assert len(left) == 3
        assert all(seconds - 60 <= each <= seconds + 180 for each in left)
