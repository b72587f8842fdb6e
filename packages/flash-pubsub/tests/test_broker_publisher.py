"""Publishing and looking from outside of an app."""

import asyncio
import dataclasses
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import msgpack
import orjson
import pytest
from broker_worlds import until
from redis_servers import RedisServer

from flash import Flash, html
from flash_pubsub import PubSub
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.seam import Member, Retention
from flash_pubsub.channels.declaration import ChannelPattern
from flash_pubsub.channels.retention import RetentionRules
from flash_pubsub.cli import main
from flash_pubsub.errors import (
    BrokerClosed,
    BrokerUnavailable,
    InvalidChannel,
    InvalidMessage,
    UnsupportedEnvelope,
)
from flash_pubsub.publisher import AsyncPublisher, Publisher
from flash_ws.protocol.position import Position


def data(worker, channel):
    return [Envelope.unpack(payload).data for payload in worker.payloads(channel)]


@pytest.fixture
def url(redis_world):
    return f"{redis_world.deployment.url}?prefix={redis_world.prefix}"


async def test_a_script_publishes_to_the_apps_channels(redis_world, url):
    worker = await redis_world.worker()
    await worker.broker.subscribe("prices")

    def script():
        with Publisher(url) as publisher:
            publisher.publish("prices", b"\x00\xff")
            return publisher.publish("prices", {"t": 1, "p": 2.0}).number

    assert await asyncio.to_thread(script) == 2
    await until(lambda: len(data(worker, "prices")) == 2)
    assert data(worker, "prices") == [b"\x00\xff", {"t": 1, "p": 2.0}]


async def test_publishing_from_async_code_with_a_key_is_safe_to_repeat(redis_world, url):
    worker = await redis_world.worker()
    async with AsyncPublisher(url) as publisher:
        first = await publisher.publish("prices", 1, key="idempotent-7")
    async with AsyncPublisher(url) as publisher:
        assert await publisher.publish("prices", 1, key="idempotent-7") == first
    assert (await worker.broker.position("prices")).number == 1


async def test_a_publisher_may_be_used_by_many_threads(redis_world, url):
    worker = await redis_world.worker()

    def script():
        with Publisher(url) as publisher, ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: publisher.publish("many", n), range(100)))
        publisher.close()
        with pytest.raises(BrokerClosed):
            publisher.publish("many", 100)

    before = threading.active_count()
    await asyncio.to_thread(script)
    assert not [t for t in threading.enumerate() if t.name == "flash-pubsub publisher"]
    assert threading.active_count() <= before + 1
    assert (await worker.broker.position("many")).number == 100


def test_a_publisher_without_a_server_says_so_in_time(tmp_path):
    server = RedisServer(tmp_path)
    with (
        Publisher(f"{server.url}?timeout=0.3") as publisher,
        pytest.raises(
            BrokerUnavailable, match=r"publish 'prices': Redis at .* did not answer within 0.3 s"
        ),
    ):
        publisher.publish("prices", 1)


def test_names_of_flashs_own_channels_are_refused():
    with Publisher("redis://127.0.0.1:1") as publisher, pytest.raises(InvalidChannel):
        publisher.publish("live:all", 1)


async def test_the_command_line_publishes_and_looks(redis_world, url, capsys):
    worker = await redis_world.worker()
    await worker.broker.enter("prices", Member("ann"))
    await worker.broker.enter("prices", Member("bob"))

    async def said(*arguments):
        await asyncio.to_thread(main, ["--url", url, *arguments])
        return capsys.readouterr().out

    assert orjson.loads(await said("publish", "prices", '{"t": 1}'))["seq"] == 1
    assert orjson.loads(await said("publish", "other", '"text"', "--key", "7"))["seq"] == 1
    assert (await said("channels")).split() == ["other", "prices"]
    assert (await said("who", "prices")).split() == ["ann", "bob"]


async def test_tail_prints_one_message_a_line_with_its_number(redis_world, url):
    worker = await redis_world.worker()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flash_pubsub.cli", "--url", url, "tail", "prices", "-n", "3"),
        stdout=asyncio.subprocess.PIPE,
    )
    # It listens once the channel exists: subscribing begins it.
    await until(lambda: worker.broker.channels())

    async def told():
        with redis_world.deployment.client() as client:
            wire = f"{{{redis_world.prefix}:c:prices}}"
            return client.pubsub_numsub(wire)[0][1] == 1

    await until(told)
    for payload in ({"t": 1}, b"\xff", [2]):
        await worker.broker.publish("prices", Envelope.of(payload).pack())
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    lines = [orjson.loads(line) for line in out.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert [line["data"] for line in lines] == [{"t": 1}, {"base64": "/w=="}, [2]]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("url", "arguments", "reason"),
    [
        ("memory://", ["channels"], "the memory of another process"),
        ("memory://", ["publish", "c", "1"], "the memory of one process"),
        ("redis://127.0.0.1:1?timeout=0.2", ["publish", "c", "{"], "not JSON"),
        ("redis://127.0.0.1:1?timeout=0.2", ["publish", "c", "1"], "did not answer"),
        ("http://x", ["channels"], "unknown scheme"),
    ],
)
def test_the_command_line_says_in_one_line_what_is_wrong(url, arguments, reason, monkeypatch):
    monkeypatch.setenv("FLASH_BROKER_URL", url)
    with pytest.raises(SystemExit) as left:
        main(arguments)
    text = str(left.value)
    assert text.startswith("flash-pubsub: ")
    assert reason in text
    assert len(text.splitlines()) == 1


def remembering(url, **settings):
    """An app whose channels of prices remember what is said here."""
    app = Flash("remembering")
    app.layout = html.Div()
    pubsub = PubSub(app, broker=url)
    pubsub.channel("prices/{symbol}", **settings)
    return app, pubsub


async def test_a_publisher_keeps_as_much_of_a_channel_as_the_app_says(redis_world, url):
    worker = await redis_world.worker()

    async def kept(channel):
        start = Position((await worker.broker.position(channel)).epoch, 0)
        return await worker.broker.since(channel, start)

    app, pubsub = remembering(url, history=3)
    await app.server.startup()
    try:
        async with AsyncPublisher(url) as publisher:
            await publisher.publish("prices/A", 0)
            for number in range(1, 4):
                await pubsub.publish("prices/A", number)
                await publisher.publish("news", number)
            assert await kept("prices/A") is None
            await publisher.publish("prices/A", 4)
            # One more than is remembered.
            here = await worker.broker.position("prices/A")
            before = Position(here.epoch, here.number - 4)
            assert await worker.broker.since("prices/A", before) is None
            assert len(await kept("news")) == 3
        async with AsyncPublisher(url, retention=Retention(max_messages=0)) as publisher:
            await publisher.publish("news", 4)
        assert await kept("news") is None
    finally:
        await app.server.shutdown()


@dataclasses.dataclass
class Price:
    p: float
    t: int = 0


@pytest.fixture
def strict(url):
    """Made before there is a loop, as a program makes it."""
    return AsyncPublisher(url, schemas={"prices/{symbol}": Price})


async def test_a_publisher_refuses_what_does_not_fit_the_schema_that_it_was_given(
    redis_world, strict
):
    worker = await redis_world.worker()
    await worker.broker.subscribe("prices/A")
    async with strict as publisher:
        with pytest.raises(InvalidMessage, match=r"prices/A.*Price: p: "):
            await publisher.publish("prices/A", {"p": "much"})
        await publisher.publish("prices/A", {"p": 1})
        await publisher.publish("prices/A", Price(2, 3))
        await publisher.publish("other", {"p": "much"})
    await until(lambda: len(data(worker, "prices/A")) == 2)
    assert data(worker, "prices/A") == [{"p": 1.0, "t": 0}, {"p": 2.0, "t": 3}]


async def test_rules_are_those_of_the_app_that_came_last_and_outlive_an_emptied_store(
    redis_world, url
):
    async def rule():
        async with AsyncPublisher(url) as publisher:
            await publisher.publish("prices/A", 1)
            for _ in range(4):
                last = await publisher.publish("prices/A", 2)
        for count in range(5, 0, -1):
            before = Position(last.epoch, last.number - count)
            if await worker.broker.since("prices/A", before) is not None:
                return count
        return 0

    worker = await redis_world.worker()
    for history in (2, 3):
        app, _ = remembering(f"{url}&probe_interval=0.2", history=history)
        await app.server.startup()
        try:
            assert await rule() == history
            await redis_world.flush()

            async def is_back(history=history):
                return await rule() == history

            await until(is_back)
        finally:
            await app.server.shutdown()
    async with AsyncPublisher(url) as publisher:
        await worker.broker.publish("live:rules", b"", changes={"rules": b"something else"})
        assert await publisher.publish("prices/A", 1)


def test_rules_are_read_as_they_were_written_and_nothing_else_is():
    rules = RetentionRules(
        (
            (ChannelPattern("a"), Retention(max_messages=5, max_age=1.5)),
            (ChannelPattern("{any}"), Retention(max_messages=0)),
        )
    )
    assert RetentionRules.unpack(rules.pack()) == rules
    assert rules.retention("a").max_age == 1.5
    assert rules.retention("b").max_messages == 0
    assert rules.retention("a/b") == Retention()
    for wrong in (b"", b"\xc1", msgpack.packb([2, []]), msgpack.packb([1, [["a", 1]]])):
        with pytest.raises(UnsupportedEnvelope):
            RetentionRules.unpack(wrong)
