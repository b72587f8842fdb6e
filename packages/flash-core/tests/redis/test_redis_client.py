"""The one way to Redis: shared connections, scripts, attempts and their errors."""

import asyncio

import pytest
import redis

from flash.redis import connection as connections
from flash.redis.address import InvalidAddress, Kind, Node, parse_url
from flash.redis.backoff import Backoff
from flash.redis.client import RedisClient
from flash.redis.connection import Connection, Connector
from flash.redis.errors import RedisClosed, RedisRefused, RedisUnavailable
from flash.redis.scripts import Script

SECONDS = 30
ECHO = Script("return {KEYS[1], ARGV[1]}")
# Reads a hash and a list of one owner.
COUNT = Script(
    "redis.call('HINCRBY', KEYS[1], 'n', 1) redis.call('RPUSH', KEYS[2], ARGV[1]) "
    "return {redis.call('HGET', KEYS[1], 'n'), redis.call('LLEN', KEYS[2])}"
)


def ids(server, **which):
    """The connections that a server has, but for the one that asks."""
    with server.client() as client:
        own = client.client_id()
        return {each["id"] for each in client.client_list(**which)} - {str(own)}


async def become(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  any condition
            await asyncio.sleep(0.01)


@pytest.fixture
async def make(redis_server):
    made = []

    def make(url=redis_server.url, **options):
        made.append(RedisClient(parse_url(url), **options))
        return made[-1]

    yield make
    for client in made:
        await client.close()


# -- connections


async def test_the_clients_of_one_address_share_their_connections(make, redis_server):
    before = ids(redis_server)
    clients = [make(), make(f"{redis_server.url}?prefix=other&timeout=9"), make(timeout=1)]
    await asyncio.gather(*(client.call(["ECHO", "x"]) for client in clients for _ in range(20)))
    (shared,) = ids(redis_server) - before
    for client in clients[:-1]:
        await client.close()
    assert await clients[-1].call(["ECHO", "still"]) == b"still"
    assert shared in ids(redis_server)
    await clients[-1].close()
    await become(lambda: shared not in ids(redis_server))


async def test_another_database_or_user_has_connections_of_its_own(make, redis_server):
    one, other = make(), make(redis_server.url.replace("/0", "/1"))
    await one.call(["SET", "database", "0"])
    assert await other.call(["GET", "database"]) is None
    assert one.pool is not other.pool


async def test_large_values_and_blocking_commands_do_not_delay_messages(make, redis_server):
    before = ids(redis_server)
    messages, values = make(), make(values=True)
    blocked = asyncio.create_task(values.call(["BLPOP", "nothing", "30"], blocks=30))
    await values.call(["SET", "large", b"x" * 1_000_000])
    assert await messages.call(["ECHO", "x"]) == b"x"
    assert not blocked.done()
    await become(lambda: len(ids(redis_server) - before) == 3)
    await values.close()
    with pytest.raises(RedisClosed):
        await blocked


async def test_a_call_that_is_cancelled_while_it_sends_ends_no_other_call(make, own_redis):
    client = make(own_redis.url, values=True)
    await client.call(["ECHO", "open"])
    own_redis.freeze()
    try:
        waiting = asyncio.create_task(client.call(["ECHO", "waits"]))
        # More than the socket takes, so that it is not sent at once.
        leaving = asyncio.create_task(client.call(["SET", "large", b"x" * 50_000_000]))
        await asyncio.sleep(0.1)
        leaving.cancel()
        await asyncio.wait([leaving])
    finally:
        own_redis.thaw()
    assert await waiting == b"waits"
    assert client.retries == 0


async def test_commands_beyond_the_bound_are_tried_again_and_then_refused(
    make, own_redis, monkeypatch
):
    monkeypatch.setattr(connections, "MAX_COMMANDS", 3)
    client = make(own_redis.url, timeout=1)
    await client.call(["ECHO", "open"])
    own_redis.freeze()
    waiting = [asyncio.create_task(client.call(["ECHO", str(n)])) for n in range(3)]
    await asyncio.sleep(0.05)
    with pytest.raises(RedisUnavailable, match="within 1 s: 3 commands wait for their answers"):
        await client.call(["ECHO", "one more"])
    own_redis.thaw()
    await asyncio.wait(waiting)
    assert await client.call(["ECHO", "again"]) == b"again"


WRONG = {
    "a string": ["SET", "x"],
    "a set": ["SADD", "x"],
    "a sorted set": ["ZADD", "1", "x"],
    "a stream": ["XADD", "*", "a", "b"],
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("place", [0, 1])
async def test_13_g_a_key_of_the_wrong_type_counts_as_lost(make, redis_server, caplog, kind, place):
    client = make()
    keys = ["poisoned:{a}:hash", "poisoned:{a}:list"]
    await client.call(["UNLINK", *keys])
    assert await client.run(COUNT, keys, "x") == [b"1", 1]
    name, *arguments = WRONG[kind]
    await client.call(["UNLINK", keys[place]])
    await client.call([name, keys[place], *arguments])
    assert await client.run(COUNT, keys, "x") == [b"1", 1]
    assert await client.run(COUNT, keys, "x") == [b"2", 2]
    assert caplog.text.count("has the wrong type; deleted it and what belongs to it") == 1


async def test_a_thread_may_ask_while_the_loop_runs_and_without_it(make, redis_server):
    client = make()

    def ask():
        return client.call_from_thread(lambda each: each.call(["ECHO", "x"]))

    assert await asyncio.to_thread(ask) == b"x"
    await client.call(["ECHO", "joined"])
    before = ids(redis_server)
    assert await asyncio.to_thread(ask) == b"x"
    assert ids(redis_server) == before


# -- scripts


@pytest.mark.parametrize("kind", ["redis_server", "redis_cluster", "redis_sentinel"])
async def test_a_script_is_loaded_again_where_a_server_has_lost_it(make, request, kind):
    deployment = request.getfixturevalue(kind)
    client = make(deployment.url)
    for _ in range(2):
        for number in range(20):
            key = f"key{number}"
            assert await client.run(ECHO, [key], "x") == [key.encode(), b"x"]
        servers = getattr(deployment, "nodes", [getattr(deployment, "master", deployment)])
        for server in servers:
            with server.client() as admin:
                admin.script_flush()
    assert client.retries == 0


async def test_a_failing_script_is_refused_with_the_address_and_without_the_password(make):
    client = make()
    with pytest.raises(RedisRefused, match=r"^Redis at redis://127.0.0.1:\d+/0 refused .*oops"):
        await client.run(Script("return redis.error_reply('oops')"), ["key"])


# -- attempts


async def test_an_answer_that_does_not_come_names_the_address_the_time_and_the_cause(own_redis):
    own_redis.kill()
    url = own_redis.url.replace("redis://", "redis://ann:topsecret@")
    client = RedisClient(parse_url(url), timeout=0.3)
    with pytest.raises(RedisUnavailable) as failed:
        await client.call(["PING"])
    text = str(failed.value)
    assert text.startswith(f"Redis at redis://ann:***@127.0.0.1:{own_redis.port}/0 did not answer")
    assert "within 0.3 s" in text
    assert "refused" in text or "Connect call failed" in text
    assert "topsecret" not in text
    assert isinstance(failed.value, redis.ConnectionError)
    await client.close()


async def test_a_client_with_few_attempts_gives_up_at_once(own_redis):
    own_redis.kill()
    client = RedisClient(parse_url(own_redis.url), timeout=60, max_attempts=2)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(RedisUnavailable, match="in 2 attempts"):
            await client.call(["PING"])
    await client.close()


async def test_a_restart_passes_unnoticed_and_a_connection_is_opened_again(make, own_redis):
    client = make(own_redis.url)
    await client.call(["ECHO", "before"])
    own_redis.restart()
    assert await client.call(["ECHO", "after"]) == b"after"


async def test_a_closed_client_can_be_used_again(make):
    client = make()
    for _ in range(2):
        assert await client.call(["ECHO", "x"]) == b"x"
        await client.close()
        await client.close()


# -- addresses


async def test_a_unix_socket_is_an_address(make, tmp_path_factory, own_redis):
    path = tmp_path_factory.mktemp("s") / "r"
    with own_redis.client() as admin:
        assert admin.ping()
    own_redis.options += ("--unixsocket", path)
    own_redis.restart()
    client = make(f"unix://{path}?db=3")
    assert await client.call(["SET", "here", "1"]) == b"OK"
    with own_redis.client(db=3) as admin:
        assert admin.get("here") == b"1"
    assert str(client.address) == f"unix://{path}?db=3"


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:7000/3?prefix=mine&timeout=2.0",
        "rediss://ada:p%2Fss@[::1]:7000/0?ssl_check_hostname=False",
        "redis+cluster://a:1,b:2/0",
        "redis+sentinel://a:1/my%20master/1?sentinel_password=x",
        "unix:///tmp/redis.sock?db=1",
        "memory://",
    ],
)
def test_an_address_can_be_written_and_read_back(url):
    address = parse_url(url)
    assert parse_url(address.url) == address


def test_options_of_redis_pys_urls_are_taken_too():
    address = parse_url("redis://host?db=2&socket_timeout=3&socket_connect_timeout=1")
    assert (address.db, address.timeout, address.connect_timeout) == (2, 3.0, 1.0)
    with pytest.warns(DeprecationWarning, match="max_connections= .* has no effect"):
        assert parse_url("unix:///s?max_connections=3").kind is Kind.UNIX
    with pytest.raises(InvalidAddress, match="db='one' is not a whole number"):
        parse_url("redis://host?db=one")
    assert parse_url("unix:///a%20b").nodes == (Node("/a b", 0),)


def test_the_old_names_warn():
    with pytest.warns(DeprecationWarning, match=r"Line is now .*Connection"):
        assert connections.Line is Connection
    with pytest.warns(DeprecationWarning, match=r"Dialer is now .*Connector"):
        assert connections.Dialer is Connector


def test_waits_grow_to_their_cap():
    backoff = Backoff(first=0.1, cap=0.3)
    assert [backoff.wait() <= longest for longest in (0.1, 0.2, 0.3, 0.3)] == [True] * 4
