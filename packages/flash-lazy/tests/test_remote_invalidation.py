"""Invalidating where no panel was placed yet, before the start, and from a script."""

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
from itertools import count

import pytest
import redis

from flash import ConfigurationError, Flash, html
from flash.redis.errors import RedisUnavailable
from flash.testing import FlashClient
from flash_lazy import (
    ArgumentError,
    MemoryCache,
    RedisCache,
    configure,
    invalidate_at,
    invalidate_at_async,
    lazy,
)
from flash_lazy.cache import redis as redis_cache
from flash_lazy.loader import LOADERS

SECONDS = 30
numbers = count()


@pytest.fixture
def address(redis_server):
    return f"{redis_server.url}?prefix=remote{next(numbers)}"


@pytest.fixture
def store(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def app_of(cache, secret="one secret"):
    app = Flash(__name__)
    app.server.secret_key = secret
    app.layout = html.Div()
    configure(app, cache=cache)
    return app


@contextlib.asynccontextmanager
async def serving(*apps):
    async with asyncio.timeout(SECONDS), contextlib.AsyncExitStack() as stack:
        for app in apps:
            await stack.enter_async_context(FlashClient(app))
        yield


class Recorder(MemoryCache):
    """Notes what it is told to drop."""

    def __init__(self):
        super().__init__()
        self.dropped = []

    async def forget(self, invalidation, *, seconds=0):
        self.dropped.append((invalidation.loader is not None, invalidation.call is not None))
        await super().forget(invalidation, seconds=seconds)


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  any condition
            await asyncio.sleep(0.01)


# -- in a worker of the app


async def test_11_2_a_worker_that_has_placed_no_panel_invalidates():
    @lazy(cache=60)
    async def orders(customer):
        return customer

    cache = Recorder()
    async with serving(app_of(cache)):
        orders.invalidate(7)
        await until(lambda: cache.dropped)
    assert cache.dropped == [(True, True)]


async def test_11_2_a_loader_made_after_the_start_invalidates():
    cache = Recorder()
    async with serving(app_of(cache)):

        @lazy(cache=60)
        async def orders(customer):
            return customer

        orders.invalidate()
        await until(lambda: cache.dropped)
    assert cache.dropped == [(True, False)]


async def test_11_2_what_was_invalidated_before_the_start_is_at_the_start(caplog):
    @lazy(cache=60)
    async def orders(customer):
        return customer

    orders.invalidate(7)
    orders.invalidate(7)
    [first, _] = caplog.records
    assert "invalidate_at" in first.message
    assert "flash-lazy invalidate" in first.message
    cache = Recorder()
    async with serving(app_of(cache)):
        await until(lambda: cache.dropped)
    assert cache.dropped == [(True, True)]


async def test_11_2_many_invalidations_before_the_start_become_one_of_all_results():
    @lazy(cache=60)
    async def orders(customer):
        return customer

    for customer in range(1001):
        orders.invalidate(customer)
    cache = Recorder()
    async with serving(app_of(cache)):
        await until(lambda: cache.dropped)
    assert cache.dropped == [(True, False)]


async def test_11_2_after_a_restart_in_the_same_process_it_invalidates_once():
    @lazy(cache=60)
    async def orders(customer):
        return customer

    cache = Recorder()
    app = app_of(cache)
    for _ in range(2):
        async with serving(app):
            orders.invalidate(7)
            await until(lambda: cache.dropped)
            assert cache.dropped.pop() == (True, True)
    assert not cache.dropped


async def test_11_2_a_loader_that_was_made_beside_another_app_invalidates_too():
    first = app_of(Recorder())

    @lazy(cache=60)
    async def orders(customer):
        return customer

    cache = Recorder()
    second = app_of(cache)
    assert first is not second
    async with serving(second):
        orders.invalidate(7)
        await until(lambda: cache.dropped)


# -- from a process that serves no app


async def entry_of(cache_address, loader, app, call):
    """What another worker of the app would find."""
    key = panels_key(loader, app, call)
    cache = RedisCache(cache_address)
    await cache.open(key.scope, lambda _: None)
    try:
        return await cache.find(key)
    finally:
        await cache.close(key.scope)


def panels_key(loader, app, call):
    from flash_lazy.panels import panels_of

    return panels_of(app)._key(loader, loader.call_of(*call), "")


async def keep(app, loader, *call):
    from flash_lazy.panels import panels_of

    await panels_of(app)._load(loader, loader.call_of(*call), "")


async def test_11_2_a_script_invalidates_by_the_address_alone(address):
    @lazy(cache=3600, stale=60, name="orders by address")
    async def orders(customer, *, limit=5):
        return f"{customer} {limit}"

    one, two = app_of(address), app_of(address, "another secret")
    async with serving(one, two):
        for app in (one, two):
            for customer in (7, 8):
                await keep(app, orders, customer)
                assert await entry_of(address, orders, app, [customer])
        assert await asyncio.to_thread(invalidate_at, address, orders, 7, limit=5) == 2
        for app in (one, two):
            assert await entry_of(address, orders, app, [7]) is None
            assert await entry_of(address, orders, app, [8])
    # All, while no worker runs; the next one finds nothing.
    assert await invalidate_at_async(address, orders) == 2
    async with serving(one):
        assert await entry_of(address, orders, one, [8]) is None


async def test_11_2_a_script_reaches_the_prefix_of_a_cache(redis_server):
    @lazy(cache=3600, name="orders of a prefix")
    async def orders():
        return 1

    def cache():
        return RedisCache(redis_server.url, prefix="mine:")

    app = app_of(cache())
    async with serving(app):
        assert await invalidate_at_async(redis_server.url, orders) != await invalidate_at_async(
            cache(), orders
        )
        assert await invalidate_at_async(cache(), orders) == 1


async def test_11_2_an_app_is_listed_for_longer_than_its_results_are_kept(address, store):
    month = 30 * 86400

    @lazy(cache=month, name="orders of a month")
    async def orders():
        return 1

    app = app_of(address)
    async with serving(app):
        [apps] = store.keys(f"{address.partition('prefix=')[2]}:lazy:apps")
        assert 0 < store.pttl(apps) <= 7 * 86400 * 1000
        await keep(app, orders)
        await until(lambda: store.pttl(apps) > month * 1000)
        [(_, till)] = store.zrange(apps, 0, -1, withscores=True)
        assert till > month * 1000


async def test_11_2_the_list_of_apps_is_bounded(address, store, monkeypatch):
    monkeypatch.setattr(redis_cache, "_MAX_LISTED", 2)
    apps = [app_of(address, secret) for secret in "abc"]
    async with serving(*apps):
        [name] = store.keys(f"{address.partition('prefix=')[2]}:lazy:apps")
        assert store.zcard(name) == 2


async def test_11_2_a_script_is_told_what_is_wrong(own_redis, monkeypatch):
    @lazy(name="orders told")
    async def orders(customer):
        return customer

    for name in ("FLASH_BROKER_URL", "FLASH_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="FLASH_REDIS_URL"):
        await invalidate_at_async(None, orders)
    with pytest.raises(ConfigurationError, match="redis://"):
        await invalidate_at_async("memory://", orders)
    with pytest.raises(TypeError, match="positional"):
        await invalidate_at_async(own_redis.url, orders, 1, 2)
    with pytest.raises(ArgumentError, match="object"):
        await invalidate_at_async(own_redis.url, orders, object())
    with pytest.raises(ConfigurationError, match="await invalidate_at_async"):
        invalidate_at(own_redis.url, orders)
    monkeypatch.setenv("FLASH_BROKER_URL", own_redis.url)
    assert await invalidate_at_async(None, orders) == 0
    own_redis.stop()
    with pytest.raises(RedisUnavailable, match="did not answer"):
        await invalidate_at_async(None, orders)


# -- the command line

SHOP = """
    from flash_lazy import lazy

    @lazy(cache=3600)
    async def orders(customer, *, limit=5):
        return "never"

    by_factory = [lazy(name=f"orders of {shop}")(orders.function) for shop in ("tea", "rice")]
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "lazy_shop.py").write_text(textwrap.dedent(SHOP))

    async def run(*arguments, **env):
        finished = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "flash_lazy.cli", "invalidate", *arguments],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return finished.returncode, finished.stdout + finished.stderr

    return run


@pytest.fixture
async def shop(address, tmp_path, monkeypatch, run):
    """An app that serves the loaders of the module, and its cache's invalidations."""
    monkeypatch.syspath_prepend(tmp_path)
    import lazy_shop

    app, heard = app_of(address), []
    async with serving(app):
        key = panels_key(lazy_shop.orders, app, (7,))
        cache = RedisCache(address)
        await cache.open(key.scope, heard.append)
        try:
            yield app, lazy_shop, heard
        finally:
            await cache.close(key.scope)
            del sys.modules["lazy_shop"]


async def test_11_2_the_command_invalidates_one_call_or_all(address, shop, run):
    app, module, heard = shop
    one = panels_key(module.orders, app, (7,))
    for arguments in (["7"], ["customer=7"], ["7", "limit=5"]):
        assert await run("lazy_shop:orders", *arguments, "--url", address) == (
            0,
            "lazy_shop:orders invalidated in 1 app\n",
        )
        await until(lambda: len(heard) == 2)
        # The second is the name of an app that was started as a script.
        assert (heard[0].loader, heard[0].call) == (one.loader, one.call)
        heard.clear()
    assert (await run("lazy_shop:orders", "seven", FLASH_BROKER_URL=address))[0] == 0
    await until(lambda: len(heard) == 2)
    assert heard[0].call == panels_key(module.orders, app, ("seven",)).call
    heard.clear()
    assert (await run("lazy_shop:orders of tea", "--url", address))[0] == 0
    await until(lambda: heard)
    [found] = heard
    assert found.call is None
    assert found.loader == panels_key(module.by_factory[0], app, (7,)).loader


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["lazy_shop:orders", "7"], "set FLASH_REDIS_URL"),
        (["lazy_shop:orders", "7", "--url", "memory://"], "needs the address of a Redis"),
        (["lazy_shop:orders", "7", "--url", "http://x"], "unknown scheme"),
        (["lazy_shop:orders", "1", "2", "--url", "redis://127.0.0.1:1"], "positional"),
        (["lazy_shop:orders", "7", "--url", "redis://127.0.0.1:1"], "did not answer"),
        (["lazy_shop:nothing"], "lazy_shop:nothing is no loader"),
        (["lazy_shop:by_factory"], "is a list, which is no loader"),
        (["lazy_shop"], "write module:loader"),
        (["no_shop:orders"], "no module named 'no_shop'"),
    ],
)
async def test_11_2_a_command_that_invalidates_nothing_says_why_in_one_line(
    run, arguments, expected
):
    code, output = await run(*arguments, FLASH_BROKER_URL="", FLASH_REDIS_URL="")
    assert code == 1
    assert expected in output
    assert output.count("\n") == 1


async def test_11_2_a_command_to_an_address_without_apps_fails(run, address):
    code, output = await run("lazy_shop:orders", "--url", address)
    assert code == 1
    assert "no app has used a cache" in output


def test_11_2_a_listener_is_held_weakly():
    class Listener:
        def invalidated(self, loader, call):
            return True

    before = len(LOADERS._followers)
    LOADERS.follow(Listener())
    assert len(LOADERS._followers) == before
