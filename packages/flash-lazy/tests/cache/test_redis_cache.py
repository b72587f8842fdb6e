"""`RedisCache`: what bounds it, and what happens while Redis or a worker is gone."""

import asyncio
import logging
import sys
from dataclasses import replace
from itertools import count

import pytest
import redis

import flash_lazy
from flash import ConfigurationError, Flash, html
from flash.redis.address import parse_url
from flash.redis.client import RedisClient
from flash_lazy import Entry, Invalidation, Key, MemoryCache, RedisCache, configure
from flash_lazy.cache.redis_scripts import BEGIN
from flash_lazy.panels import panels_of
from flash_lazy.tokens.token import LoaderCall, Signer

SECONDS = 30
KEY = Key("app", "orders", "7", "")
prefixes = (f"own{number}:" for number in count())


@pytest.fixture
async def make(redis_server):
    """Makes caches, of one deployment unless said otherwise."""
    prefix, made = next(prefixes), []

    async def make(url=redis_server.url, hear=lambda _: None, **options):
        cache = RedisCache(url, **{"prefix": prefix, **options})
        made.append(cache)
        await cache.open("app", hear)
        return cache

    yield make
    async with asyncio.timeout(SECONDS):
        for cache in made:
            await cache.close("app")


@pytest.fixture
def store(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  any condition
            await asyncio.sleep(0.01)


def run_of(text="x", loaded_at=1.0):
    async def run():
        return Entry(text.encode(), loaded_at)

    return run


async def keep(cache, call, size=1, seconds=60):
    await cache.load(replace(KEY, call=call), run_of("x" * size), seconds=seconds)


async def kept(cache, calls):
    return [call for call in calls if await cache.find(replace(KEY, call=call))]


# -- bounds


async def test_beyond_max_entries_those_go_that_would_end_first(make):
    cache = await make(max_entries=2)
    await keep(cache, "a", seconds=90)
    await keep(cache, "b", seconds=60)
    await keep(cache, "c", seconds=70)
    assert await kept(cache, "abc") == ["a", "c"]


async def test_beyond_max_bytes_those_go_that_would_end_first_and_larger_ones_are_not_kept(make):
    cache = await make(max_bytes=120)
    for seconds, call in enumerate("abcd", 60):
        await keep(cache, call, 30, seconds)
    assert await kept(cache, "abcd") == ["b", "c", "d"]
    await keep(cache, "e", 200)
    assert await kept(cache, "bcde") == ["b", "c", "d"]


async def test_an_entry_ends_with_its_seconds_and_no_longer_counts(make):
    cache = await make(max_entries=2)
    await keep(cache, "a", seconds=0.05)
    await keep(cache, "b", seconds=60)
    async with asyncio.timeout(SECONDS):
        while await kept(cache, "a"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await keep(cache, "c", seconds=60)
    assert await kept(cache, "abc") == ["b", "c"]


async def test_nothing_stays_in_redis_for_ever(make, store):
    cache = await make()
    await keep(cache, "a")
    await cache.forget(Invalidation("app", "orders", "a"), seconds=60)
    names = list(store.scan_iter(f"{cache.prefix}*"))
    # The list of apps among them.
    assert len(names) == 5
    assert all(store.ttl(name) > 0 for name in names)


async def test_an_epoch_that_redis_has_dropped_brings_nothing_back(make, store):
    cache = await make()
    await keep(cache, "a")
    await cache.forget(Invalidation("app", "orders", "a"), seconds=60)
    await keep(cache, "a")
    for name in store.scan_iter(f"{cache.prefix}*gen:*"):
        store.delete(name)
    assert await kept(cache, "a") == []


@pytest.mark.parametrize("option", ["lease_seconds", "timeout"])
def test_times_of_nothing_are_refused(option):
    with pytest.raises(ConfigurationError, match="above 0"):
        RedisCache("redis://127.0.0.1:1", **{option: 0})


# -- leases


async def test_a_lease_is_renewed_for_as_long_as_its_run_takes(make, store):
    here, there = await make(lease_seconds=0.3), await make(lease_seconds=0.3)
    began, may_end, runs = asyncio.Event(), asyncio.Event(), []

    async def run():
        runs.append(1)
        began.set()
        await may_end.wait()
        return Entry(b"x", 1.0)

    first = asyncio.create_task(here.load(KEY, run))
    await began.wait()
    second = asyncio.create_task(there.load(KEY, run))
    [lease] = store.scan_iter(f"{here.prefix}*lease:*")
    left, renewals = store.pttl(lease), 0
    async with asyncio.timeout(SECONDS):
        while renewals < 4:
            await asyncio.sleep(0.01)
            before, left = left, store.pttl(lease)
            renewals += left > before
    may_end.set()
    assert await first == await second
    assert runs == [1]


async def test_the_lease_of_a_worker_that_is_gone_ends(make, store):
    gone, here = await make(lease_seconds=0.5), await make(lease_seconds=0.5)
    began = asyncio.Event()

    async def never():
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    abandoned = asyncio.create_task(gone.load(KEY, never))
    await began.wait()
    # As a killed process would leave it: with its lease, which nobody renews.
    [lease] = store.scan_iter(f"{here.prefix}*lease:*")
    left = store.dump(lease)
    abandoned.cancel()
    await until(lambda: not store.exists(lease))
    store.restore(lease, 500, left)
    assert await here.load(KEY, run_of("here")) == Entry(b"here", 1.0)


async def test_a_second_attempt_at_the_same_lease_gets_it_again(redis_server):
    client = RedisClient(parse_url(redis_server.url))
    root = f"{next(prefixes)}{{app}}:"

    async def begin(token):
        return (await client.run(BEGIN, [root], str(KEY), "orders", "7", token, 5000, ""))[0]

    # As when Redis has executed a script whose answer was lost.
    assert [await begin(token) for token in ("one", "one", "two")] == [b"run", b"run", b"wait"]
    await client.close()


# -- Redis is gone


async def test_panels_load_uncached_while_redis_is_down_and_that_is_said_once(
    make, own_redis, caplog
):
    heard = []
    cache = await make(own_redis.url, heard.append, timeout=0.5)
    await keep(cache, "a")
    own_redis.stop()
    with caplog.at_level(logging.INFO, "flash_lazy"):
        for number in range(3):
            text = f"run {number}"
            entry = await cache.load(KEY, run_of(text), seconds=60)
            assert entry.content == text.encode()
            assert await cache.find(KEY) is None
        statistics = cache.statistics()
        assert not statistics.connected
        assert statistics.outages == 1
        await cache.forget(Invalidation("app", "orders", "7"), seconds=60)
        assert heard == [Invalidation("app", "orders", "7")]
        own_redis.start()
        await until(lambda: cache.statistics().connected)
    # News may have been lost meanwhile.
    assert Invalidation("app") in heard
    await keep(cache, "b")
    assert await kept(cache, "ab") == ["b"]
    assert caplog.text.count("cannot be used") == 1
    assert caplog.text.count("is used again") == 1


async def test_equal_loads_of_one_worker_run_once_without_redis(make, own_redis):
    cache = await make(own_redis.url, timeout=0.5)
    own_redis.stop()
    runs, may_end = [], asyncio.Event()

    async def run():
        runs.append(1)
        await may_end.wait()
        return Entry(b"x", 1.0)

    loads = [asyncio.create_task(cache.load(KEY, run)) for _ in range(5)]
    await until(lambda: runs)
    may_end.set()
    await asyncio.gather(*loads)
    assert runs == [1]


async def test_a_frozen_redis_costs_its_time_out_and_then_nothing(make, own_redis):
    cache = await make(own_redis.url, timeout=0.3)
    own_redis.freeze()
    try:
        async with asyncio.timeout(SECONDS):
            assert await cache.load(KEY, run_of(), seconds=60) == Entry(b"x", 1.0)
        assert not cache.statistics().connected
        failures = cache.statistics().failures
        for _ in range(50):
            await cache.load(KEY, run_of(), seconds=60)
        assert cache.statistics().failures == failures
    finally:
        own_redis.thaw()
    await until(lambda: cache.statistics().connected)
    await keep(cache, "a")
    assert await kept(cache, "a") == ["a"]


async def test_what_was_invalidated_while_redis_was_frozen_is_told_when_it_is_back(make, own_redis):
    cache = await make(own_redis.url, timeout=0.3)
    other = await make(own_redis.url, timeout=0.3)
    await keep(cache, "a")
    own_redis.freeze()
    try:
        await cache.forget(Invalidation("app", "orders", "a"), seconds=60)
    finally:
        own_redis.thaw()
    await until(lambda: cache.statistics().connected)
    assert await kept(other, "a") == []


async def test_a_run_that_outlives_redis_brings_its_result(make, own_redis):
    here = await make(own_redis.url, timeout=0.3, lease_seconds=0.6)
    there = await make(own_redis.url, timeout=0.3, lease_seconds=0.6)
    began, may_end = asyncio.Event(), asyncio.Event()

    async def run():
        began.set()
        await may_end.wait()
        return Entry(b"x", 1.0)

    first = asyncio.create_task(here.load(KEY, run))
    await began.wait()
    second = asyncio.create_task(there.load(KEY, run_of("own")))
    await asyncio.sleep(0.1)
    own_redis.stop()
    # The one that waited runs by itself.
    assert await second == Entry(b"own", 1.0)
    may_end.set()
    assert await first == Entry(b"x", 1.0)


async def test_a_redis_without_memory_is_done_without_and_that_is_said_once(
    make, own_redis, caplog
):
    cache = await make(own_redis.url)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", "1")
    for number in range(3):
        text = f"run {number}"
        assert (await cache.load(KEY, run_of(text), seconds=60)).content == text.encode()
    assert caplog.text.count("refuses to be a cache") == 1
    assert cache.statistics().failures >= 3
    assert cache.statistics().connected


async def test_a_connection_that_is_killed_is_noticed_and_made_anew(make, store):
    heard = []
    cache = await make(hear=heard.append)
    for client in store.client_list(_type="pubsub"):
        store.client_kill_filter(_id=client["id"])
    await until(lambda: heard == [Invalidation("app")])
    other = await make()
    await other.forget(Invalidation("app", "orders"))
    await until(lambda: heard[-1] == Invalidation("app", "orders"))
    assert cache.statistics().connected


@pytest.mark.parametrize("message", ["{", "\xff", '["end", []]', '["forget", "orders", {}]', "7"])
async def test_a_message_that_is_no_news_ends_nothing(make, store, message):
    heard = []
    cache = await make(hear=heard.append)
    (channel,) = (
        each for each in store.pubsub_channels() if each.startswith(cache.prefix.encode())
    )
    store.publish(channel, message)
    other = await make()
    await other.forget(Invalidation("app", "orders"))
    await until(lambda: heard == [Invalidation("app", "orders")])
    assert cache.statistics().connected


async def test_news_are_heard_again_after_whatever_ended_the_task_that_hears_them(make, caplog):
    heard = []

    def hear(invalidation):
        if not heard:
            heard.append("failed")
            raise ZeroDivisionError
        heard.append(invalidation)

    await make(hear=hear)
    other = await make()
    await other.forget(Invalidation("app", "orders"))
    await until(lambda: heard == ["failed", Invalidation("app")])
    assert "flash-lazy's news from Redis ended and restarts" in caplog.text
    await other.forget(Invalidation("app", "orders"))
    await until(lambda: heard[-1] == Invalidation("app", "orders"))


async def test_a_cache_can_be_opened_again(make):
    cache = await make()
    await cache.close("app")
    await cache.open("app", lambda _: None)
    await keep(cache, "a")
    assert await kept(cache, "a") == ["a"]


async def test_a_cache_whose_redis_never_was_there_opens(make):
    cache = await make("redis://127.0.0.1:1/0", timeout=0.2)
    assert await cache.load(KEY, run_of(), seconds=60) == Entry(b"x", 1.0)


def test_the_old_name_of_the_statistics_warns():
    with pytest.warns(DeprecationWarning, match=r"LineStatistics is now .*CacheStatistics"):
        assert flash_lazy.LineStatistics is flash_lazy.CacheStatistics


# -- configure


def test_a_cache_in_redis_asks_for_redis_py(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r'pip install "flash-lazy\[redis\]"'):
        RedisCache("redis://127.0.0.1:1")


def test_an_address_is_a_cache_in_redis():
    app = Flash(__name__)
    configure(app, cache="redis://127.0.0.1:1/0")
    assert isinstance(panels_of(app).cache, RedisCache)


def test_what_knows_a_cache_can_be_given_in_its_place():
    class Broker:
        lazy_cache = "redis://127.0.0.1:1/0"

    app = Flash(__name__)
    configure(app, cache=Broker())
    assert isinstance(panels_of(app).cache, RedisCache)


def test_something_else_is_refused():
    with pytest.raises(ConfigurationError, match="'memory': give the address of a Redis"):
        configure(Flash(__name__), cache="memory")


async def opened(app):
    app.layout = html.Div()
    await app.server.startup()
    try:
        return panels_of(app).cache
    finally:
        await app.server.shutdown()


async def test_a_store_that_the_app_knows_is_used_unless_another_cache_is_given(redis_server):
    app, other, alone = Flash("app"), Flash("other"), Flash("alone")
    app.common_store = other.common_store = redis_server.url
    configure(app, max_concurrency=1)
    configure(other, cache=MemoryCache())
    assert isinstance(await opened(app), RedisCache)
    assert isinstance(await opened(other), MemoryCache)
    assert isinstance(await opened(alone), MemoryCache)


async def test_11_13_tokens_are_signed_with_a_key_that_workers_agree_on_later(redis_server):
    app = Flash("app")
    app.layout = html.Div()
    app.common_store = redis_server.url
    await app.server.startup()
    call = LoaderCall.of("orders", {"customer_id": 7})
    for secret in (b"one", b"another"):
        await asyncio.to_thread(app.share_signing_secret, secret)
        agreed = Signer(secret, app.config.routes_pathname_prefix).sign(call, "")
        await until(lambda expected=agreed: panels_of(app).signer.sign(call, "") == expected)
    await app.server.shutdown()


async def test_tokens_are_signed_with_the_key_that_workers_agree_on_while_they_start(redis_server):
    app = Flash("app")
    app.layout = html.Div()
    app.common_store = redis_server.url

    @app.server.before_serving
    async def agree():
        assert app.has_started
        app.share_signing_secret(b"what all workers sign with")

    await app.server.startup()
    agreed = Signer(b"what all workers sign with", app.config.routes_pathname_prefix)
    call = LoaderCall.of("orders", {"customer_id": 7})
    assert panels_of(app).signer.sign(call, "") == agreed.sign(call, "")
    await app.server.shutdown()
