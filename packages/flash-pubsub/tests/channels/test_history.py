"""Reading the messages that a channel keeps, from the app and from other processes."""

import asyncio
import secrets
from dataclasses import FrozenInstanceError

import pytest
from pubsub_worlds import World

from flash import ConfigurationError
from flash_pubsub import (
    AsyncPublisher,
    BrokerClosed,
    BrokerUnavailable,
    History,
    InvalidChannel,
    Message,
    Position,
    Publisher,
    Subscription,
)
from flash_pubsub.errors import PublisherClosed


@pytest.fixture(params=["memory", "redis"])
def url(request):
    """None for workers around one store in memory."""
    if request.param == "memory":
        return None
    server = request.getfixturevalue("redis_server")
    return f"{server.url}?prefix=history{secrets.token_hex(4)}"


def short(pubsub):
    pubsub.channel("short", history=3)


async def test_14_7_history_gives_messages_with_their_positions_on_every_worker(url):
    async with World(url=url) as world:
        one, other = world.pubsubs
        sent = [await one.publish("prices", {"t": number}) for number in range(5)]
        found = await other.history("prices", limit=3)
        assert isinstance(found, History)
        assert isinstance(found, list)
        assert [(each.data, each.position) for each in found] == [
            ({"t": number}, sent[number]) for number in (2, 3, 4)
        ]
        assert found.position == sent[-1]
        assert found[0].time <= found[-1].time
        assert len(await other.history("prices")) == 5
        with pytest.raises(FrozenInstanceError):
            found[0].data = 1


async def test_messages_are_decoded_as_callbacks_get_them(url):
    async with World(workers=1, url=url) as world:
        (pubsub,) = world.pubsubs
        for each in ("ä", b"\x00\xff", None, [1, {"a": 2.5}]):
            await pubsub.publish("any", each)
        assert [each.data for each in await pubsub.history("any")] == [
            *("ä", b"\x00\xff", None, [1, {"a": 2.5}])
        ]


async def test_a_channel_without_messages_has_a_position_to_go_on_from(url):
    async with World(workers=1, url=url) as world:
        (pubsub,) = world.pubsubs
        found = await pubsub.history("quiet")
        assert found == []
        assert found.position.number == 0
        position = await pubsub.publish("quiet", 1)
        assert position == Position(found.position.epoch, 1)


async def test_history_ends_where_the_channel_keeps_no_more(url):
    async with World(short, workers=1, url=url) as world:
        (pubsub,) = world.pubsubs
        for number in range(1, 8):
            position = await pubsub.publish("short", number)
        found = await pubsub.history("short", limit=100)
        assert [each.data for each in found] == [5, 6, 7]
        assert [each.position.number for each in found] == [5, 6, 7]
        assert found.position == position


async def test_messages_of_another_program_are_left_out_and_named_in_the_log(url, caplog):
    async with World(workers=1, url=url) as world:
        (pubsub,) = world.pubsubs
        await pubsub.publish("mixed", 1)
        await pubsub.broker.publish("mixed", b"no envelope")
        position = await pubsub.publish("mixed", 3)
        found = await pubsub.history("mixed")
        assert [each.data for each in found] == [1, 3]
        assert found.position == position
        assert "channel 'mixed': unreadable message" in caplog.text


async def test_history_while_messages_come_is_without_gaps(url):
    async with World(workers=2, url=url) as world:
        one, other = world.pubsubs

        async def publish():
            for number in range(1, 201):
                await one.publish("prices", number)

        publishing = asyncio.ensure_future(publish())
        while not publishing.done():
            found = await other.history("prices", limit=50)
            numbers = [each.data for each in found]
            assert (
                numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
            )
            assert found.position.number == (numbers[-1] if numbers else found.position.number)
            await asyncio.sleep(0)
        await publishing


@pytest.mark.parametrize("limit", [0, -1, 2.5, None, "500", True])
async def test_the_limit_is_a_number_of_messages(limit):
    async with World(workers=1) as world:
        with pytest.raises(ConfigurationError, match=r"limit=.*must be a whole number, 1 or more"):
            await world.pubsubs[0].history("prices", limit=limit)


@pytest.mark.parametrize("channel", ["", "live:all", "who:prices", "a\nb", "x" * 500])
async def test_channels_of_flash_s_own_are_not_read(channel):
    async with World(workers=1) as world:
        with pytest.raises(InvalidChannel):
            await world.pubsubs[0].history(channel)


async def test_a_broker_of_the_application_s_own_needs_no_method_for_it():
    async with World(short, workers=1) as world:
        (pubsub,) = world.pubsubs
        for number in range(1, 4):
            await pubsub.publish("short", number)
        pubsub.broker.kept = None
        assert [each.data for each in await pubsub.history("short", limit=2)] == [2, 3]
        for number in range(4, 9):
            await pubsub.publish("short", number)
        # Without the method the history is read whole or not at all.
        assert await pubsub.history("short", limit=5) == []


async def test_a_plain_function_reads_it_from_its_thread():
    async with World(workers=1) as world:
        (pubsub,) = world.pubsubs
        await pubsub.publish("prices", 1)
        found = await asyncio.to_thread(lambda: pubsub.app.wait_for(pubsub.history("prices")))
        assert [each.data for each in found] == [1]


async def test_a_layout_reads_it_also_when_it_is_called_at_the_start(caplog):
    seen = []

    def define(pubsub):
        async def layout():
            found = await pubsub.history("prices")
            seen.append([each.data for each in found])
            return Subscription("prices", since=found.position)

        pubsub.app.layout = layout

    async with World(define, workers=1) as world:
        await world.pubsubs[0].publish("prices", 1)
        assert (await world.apps[0].render_layout()).since[1] == 1
        assert seen == [[], [1]]
        assert "failed when it was called" not in caplog.text


async def test_without_a_served_app_there_is_no_history():
    with pytest.raises(BrokerClosed):
        await World(workers=1).pubsubs[0].history("prices")


# -- from other processes --------------------------------------------------------------------------


async def test_publishers_read_it_too(redis_server):
    url = f"{redis_server.url}?prefix=history{secrets.token_hex(4)}"
    async with World(short, workers=1, url=url) as world:
        await world.pubsubs[0].publish("short", 1)
        async with AsyncPublisher(url) as publisher:
            position = await publisher.publish("short", 2)
            found = await publisher.history("short")
            assert [each.data for each in found] == [1, 2]
            assert found.position == position
            with pytest.raises(ConfigurationError):
                await publisher.history("short", limit=0)
            with pytest.raises(InvalidChannel):
                await publisher.history("live:all")
        with pytest.raises(PublisherClosed):
            await publisher.history("short")

    def read():
        with Publisher(url) as publisher:
            return publisher.history("short", limit=1)

    (last,) = await asyncio.to_thread(read)
    assert last == Message(2, position, last.time)


async def test_without_redis_reading_fails_with_its_address():
    async with AsyncPublisher("redis://127.0.0.1:1/0?timeout=0.3") as publisher:
        with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
            await publisher.history("prices")
