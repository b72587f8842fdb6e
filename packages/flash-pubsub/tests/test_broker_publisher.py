"""Publishing and looking from outside of an app."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from broker_worlds import RedisServer, until

from flash_pubsub.broker import Member
from flash_pubsub.cli import main
from flash_pubsub.envelope import Envelope
from flash_pubsub.errors import BrokerClosed, BrokerUnavailable, InvalidChannel
from flash_pubsub.publisher import AsyncPublisher, Publisher


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
        pytest.raises(BrokerUnavailable, match=r"publish 'prices': .*does not answer"),
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
        ("memory://", ["channels"], "another process's own"),
        ("memory://", ["publish", "c", "1"], "the memory of one process"),
        ("redis://127.0.0.1:1?timeout=0.2", ["publish", "c", "{"], "not JSON"),
        ("redis://127.0.0.1:1?timeout=0.2", ["publish", "c", "1"], "does not answer"),
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
