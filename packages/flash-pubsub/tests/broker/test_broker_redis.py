"""What only a Redis can show: keys that expire, eviction, TLS, a start before Redis is there."""

import asyncio
import subprocess

import msgpack
import pytest
import redis
from broker_worlds import RedisWorld, until
from redis_servers import RedisServer, free_port

from flash.redis.connection import Connection, Connector
from flash_pubsub.broker.address import parse_url
from flash_pubsub.broker.redis import RedisBroker
from flash_pubsub.broker.seam import Member, Retention
from flash_pubsub.errors import BrokerClosed, BrokerUnavailable
from flash_ws.protocol.position import Position


def keys_of(world, end=""):
    """What a world has in Redis, and how many milliseconds each key has to live."""
    with world.deployment.client() as client:
        pattern = "{{{}:*}}*{}".format(world.prefix.replace("*", r"\*"), end)
        return {key: client.pttl(key) for key in client.scan_iter(pattern)}


async def test_every_key_expires(redis_world):
    worker = await redis_world.worker()
    lease = await worker.broker.lease("f", 60, channel="c")
    await worker.broker.lease("g", 60)
    await worker.broker.publish("c", b"1", changes={"x": b"1"}, key="k", fence=lease)
    await worker.broker.publish("c", b"2", changes={"x": None})
    await worker.broker.publish("c", b"3", changes={"y": b"1"})
    await worker.broker.enter("c", Member("ann"))
    await worker.broker.subscribe("read only")
    await worker.broker.snapshot("read too")
    ages = keys_of(redis_world)
    assert len(ages) == 14, sorted(ages)
    assert all(0 < age <= 8 * 86_400_000 for age in ages.values()), ages


async def test_an_idle_channel_is_forgotten_and_begins_anew(redis_world):
    worker = await redis_world.worker()
    retention = Retention(max_idle=0.1)
    first = await worker.broker.publish("c", b"1", changes={"x": b"1"}, retention=retention)
    with redis_world.deployment.client() as client:
        for key in keys_of(redis_world):
            # Redis keeps it for up to a minute longer than it must.
            assert client.pttl(key) <= 300_000
            client.delete(key)
    snapshot = await worker.broker.snapshot("c")
    assert snapshot.position.epoch != first.epoch
    assert snapshot.values == {}


@pytest.mark.parametrize("part", [":m", ":h", ":s"])
async def test_an_evicted_key_is_told_never_served_in_part(redis_world, part):
    worker = await redis_world.worker()
    await worker.broker.subscribe("c")
    for n in range(5):
        position = await worker.broker.publish("c", b"%d" % n, changes={f"f{n}": b"x"})
    await worker.has("c", b"0", b"1", b"2", b"3", b"4")
    with redis_world.deployment.client() as client:
        (key,) = keys_of(redis_world, part)
        client.delete(key)
    earlier = Position(position.epoch, 2)
    if part == ":h":
        assert await worker.broker.since("c", earlier) is None
        await worker.broker.publish("c", b"5")
        assert await worker.broker.since("c", earlier) is None
        assert len(await worker.broker.since("c", position)) == 1
        return
    await worker.broker.publish("c", b"5", changes={"f5": b"x"})
    await until(lambda: worker.resets)
    assert await worker.broker.since("c", position) is None
    assert (await worker.broker.snapshot("c")).values == {"f5": b"x"}


async def test_a_message_of_another_version_is_refused_in_one_line_and_told(redis_world, caplog):
    worker = await redis_world.worker()
    await worker.broker.subscribe("c")
    await worker.broker.publish("c", b"1")
    await worker.has("c", b"1")
    with redis_world.deployment.client() as client:
        wire = f"{{{redis_world.prefix}:c:c}}"
        client.publish(wire, msgpack.packb([9, "from", "the", "future"]))
        client.publish(wire, b"\xc1")
    await until(lambda: worker.broker.status.unreadable == 2)
    assert "version 9, and this worker reads version 1; run one version" in caplog.text
    await worker.broker.publish("c", b"2")
    await worker.has("c", b"1", b"2")


async def test_a_message_that_never_came_by_is_fetched(redis_world):
    worker = await redis_world.worker(probe_interval=0.1)
    epoch = (await worker.broker.subscribe("c")).epoch
    await worker.broker.publish("c", b"1")
    await worker.has("c", b"1")
    with redis_world.deployment.client() as client:
        # Appended, but not told to anybody; and nothing comes after it that would show a gap.
        names = f"{{{redis_world.prefix}:c:c}}"
        client.rpush(f"{names}:h", msgpack.packb([1, epoch, 2, b"id", 0, b"2"]))
        client.hset(f"{names}:m", mapping={"n": 2, "i": b"id"})
    await worker.has("c", b"1", b"2")
    assert worker.broker.status.refilled == 1
    assert worker.resets == []


async def test_a_broker_may_start_before_redis(tmp_path):
    server = RedisServer(tmp_path)
    broker = RedisBroker(server.url, timeout=0.3, connect_timeout=0.2)
    heard = []
    await broker.start(heard.append, lambda channel, position: None)
    try:
        assert not broker.status.ready
        with pytest.raises(BrokerUnavailable):
            await broker.publish("c", b"1")
        with pytest.raises(BrokerUnavailable):
            await broker.subscribe("c")
        with server:
            async with asyncio.timeout(30):
                await broker.ready()
            await broker.subscribe("c")
            await broker.publish("c", b"2")
            await until(lambda: heard)
            waiting = asyncio.create_task(broker.ready())
            await broker.close()
            with pytest.raises(BrokerClosed):
                await waiting
        assert [publication.payload for publication in heard] == [b"2"]
    finally:
        await broker.close()


async def test_closing_ends_whoever_waits(tmp_path):
    server = RedisServer(tmp_path)
    broker = RedisBroker(server.url)
    await broker.start(lambda publication: None, lambda channel, position: None)
    waiting = [
        asyncio.create_task(broker.publish("c", b"1")),
        asyncio.create_task(broker.subscribe("c")),
        asyncio.create_task(broker.ready()),
    ]
    await until(lambda: broker.status.retries)
    await broker.close()
    async with asyncio.timeout(30):
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, BrokerClosed)


@pytest.fixture
def tls_server(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    plain = RedisServer(tmp_path)
    tls_port = free_port()
    plain.options = ("--tls-port", tls_port, "--tls-cert-file", certificate)
    plain.options += ("--tls-key-file", key, "--tls-auth-clients", "no")
    with plain:
        plain.tls_url = f"rediss://127.0.0.1:{tls_port}/0"
        plain.certificate = certificate
        yield plain


async def test_tls_is_spoken_and_the_certificate_checked(tls_server):
    async with RedisWorld(tls_server) as world:
        trusting = f"{tls_server.tls_url}?ssl_ca_certs={tls_server.certificate}"
        worker = await world.worker(url=trusting)
        await worker.broker.subscribe("c")
        await worker.broker.publish("c", b"1")
        await worker.has("c", b"1")
        stranger = await world.worker(url=tls_server.tls_url, wait=False, timeout=1.0)
        with pytest.raises(BrokerUnavailable, match=r"(?i)certificate"):
            await stranger.broker.publish("c", b"2")
        assert not stranger.broker.status.ready


async def test_a_connection_that_broke_is_never_opened_again_by_a_command(redis_server):
    address = parse_url(redis_server.url)
    (node,) = address.nodes
    raw = await Connector(address).connect(node)
    connection = Connection(raw)
    assert await connection.call(["ECHO", "here"]) == b"here"
    # What redis-py does when a command cannot be written, before the reader hears of it.
    await raw.disconnect(nowait=True)
    assert not connection.dead
    with pytest.raises(redis.ConnectionError, match="the connection is closed"):
        await connection.call(["ECHO", "anew"])
    assert not raw.is_connected
    await connection.closed()
    assert connection.dead
