"""The contract of `LazyCache`, for every cache there is, and what bounds `MemoryCache`."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from flash_lazy import Entry, Invalidation, Key, MemoryCache, RedisCache

SECONDS = 20
prefixes = (f"test{number}:" for number in count())


class Memory:
    """Workers that share one cache: in memory they are one."""

    def __init__(self, request):
        self._cache = MemoryCache()
        self.heard = []

    async def workers(self):
        await self._cache.open("app", self.heard.append)
        return self._cache, self._cache

    async def close(self):
        await self._cache.close("app")


class Redis:
    """Two workers, each with a cache of its own over one Redis."""

    server = "redis_server"

    def __init__(self, request):
        url, prefix = request.getfixturevalue(self.server).url, next(prefixes)
        self._caches = [RedisCache(url, prefix=prefix, lease_seconds=2) for _ in range(2)]
        self.heard = []

    async def workers(self):
        here, there = self._caches
        await here.open("app", lambda _: None)
        await there.open("app", self.heard.append)
        return here, there

    async def close(self):
        for cache in self._caches:
            await cache.close("app")


class Cluster(Redis):
    server = "redis_cluster"


class Sentinel(Redis):
    server = "redis_sentinel"


@pytest.fixture(params=[Memory, Redis, Cluster, Sentinel])
async def place(request):
    place = request.param(request)
    yield place
    async with asyncio.timeout(SECONDS):
        await place.close()


@pytest.fixture
async def workers(place):
    """A cache as two workers see it."""
    async with asyncio.timeout(SECONDS):
        return await place.workers()


KEY = Key("app", "orders", "7", "")


class Load:
    """Something to load that waits to be told to end, and counts."""

    def __init__(self, text="x", loaded_at=1.0):
        self.entry = Entry(text.encode(), loaded_at)
        self.runs = 0
        self.cancelled = 0
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self):
        self.runs += 1
        self.began.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.entry


def at_once(text="x", loaded_at=1.0):
    load = Load(text, loaded_at)
    load.may_end.set()
    return load


def loading(cache, key, run, **options):
    return asyncio.create_task(cache.load(key, run, **options))


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  any condition
            await asyncio.sleep(0.005)


async def settled():
    """Long enough for a cache that would do something to have begun."""
    await asyncio.sleep(0.1)


async def test_what_was_loaded_is_found_by_every_worker_until_it_is_forgotten(workers):
    here, there = workers
    assert await there.find(KEY) is None
    load = at_once("orders", 5.5)
    assert await here.load(KEY, load, seconds=60) == load.entry
    assert await there.find(KEY) == load.entry
    await there.forget(Invalidation("app", "orders", "7"), seconds=60)
    assert await here.find(KEY) is None


async def test_without_seconds_nothing_is_kept(workers):
    here, there = workers
    await here.load(KEY, at_once())
    assert await here.find(KEY) is None
    assert await there.find(KEY) is None


async def test_a_newer_entry_takes_the_place_of_an_older_one(workers):
    here, there = workers
    await here.load(KEY, at_once("old", 1.0), seconds=60)
    assert await there.load(KEY, at_once("new", 2.0), seconds=60, newer_than=1.0) == Entry(
        b"new", 2.0
    )
    assert await here.find(KEY) == Entry(b"new", 2.0)


async def test_one_that_was_kept_meanwhile_is_taken_in_place_of_a_run(workers):
    here, there = workers
    await here.load(KEY, at_once("kept", 2.0), seconds=60)
    unused = at_once("unused", 3.0)
    assert await there.load(KEY, unused, seconds=60, newer_than=1.0) == Entry(b"kept", 2.0)
    assert unused.runs == 0


async def test_forgetting_spares_other_calls_loaders_and_apps_and_may_be_repeated(workers):
    here, there = workers
    keys = [
        KEY,
        replace(KEY, variant="ada"),
        replace(KEY, call="8"),
        replace(KEY, loader="customers"),
        replace(KEY, scope="another"),
    ]
    for key in keys:
        await here.load(key, at_once(), seconds=60)

    async def found():
        return [await there.find(key) is not None for key in keys]

    for _ in range(2):
        await here.forget(Invalidation("app", "orders", "7"), seconds=60)
        assert await found() == [False, False, True, True, True]
    await here.forget(Invalidation("app", "orders"), seconds=60)
    assert await found() == [False, False, False, True, True]


async def test_what_is_forgotten_anywhere_is_heard_everywhere(place, workers):
    here, _ = workers
    for invalidation in (Invalidation("app", "orders", "7"), Invalidation("app", "orders")):
        await here.forget(invalidation)
        await until(lambda expected=invalidation: expected in place.heard)
    await here.forget(Invalidation("another", "orders"))
    await settled()
    assert len(place.heard) == 2


@pytest.mark.parametrize("seconds", [0, 60])
async def test_equal_loads_under_way_run_once_for_all_workers(workers, seconds):
    here, there = workers
    load = Load()
    first = loading(here, KEY, load, seconds=seconds)
    await load.began.wait()
    others = [loading(cache, KEY, load, seconds=seconds) for cache in (here, there, there)]
    await settled()
    load.may_end.set()
    assert await asyncio.gather(first, *others) == [load.entry] * 4
    assert load.runs == 1


async def test_loads_of_different_keys_run_beside_each_other(workers):
    here, there = workers
    load = Load()
    loads = [
        loading(here, KEY, load),
        loading(there, replace(KEY, call="8"), load),
        loading(there, replace(KEY, variant="ada"), load),
        loading(there, replace(KEY, scope="another"), load),
    ]
    await until(lambda: load.runs == 4)
    load.may_end.set()
    await asyncio.gather(*loads)


async def test_what_a_run_raises_is_raised_and_the_next_one_runs(workers):
    here, there = workers

    async def fail():
        raise ValueError("down")

    for cache in workers:
        with pytest.raises(ValueError, match="down"):
            await cache.load(KEY, fail, seconds=60)
    load = at_once()
    assert await there.load(KEY, load, seconds=60) == load.entry
    assert await here.find(KEY) == load.entry


async def test_when_a_run_fails_that_others_wait_for_one_of_them_runs(workers):
    here, there = workers
    began, fails = asyncio.Event(), asyncio.Event()

    async def fail():
        began.set()
        await fails.wait()
        raise ValueError("down")

    failing = loading(here, KEY, fail)
    await began.wait()
    load = at_once()
    waiting = loading(there, KEY, load)
    await settled()
    fails.set()
    with pytest.raises(ValueError, match="down"):
        await failing
    if here is there:
        with pytest.raises(ValueError, match="down"):
            await waiting
    else:
        assert await waiting == load.entry


async def test_one_caller_leaving_disturbs_no_other_and_the_last_one_ends_the_run(workers):
    here, there = workers
    load = Load()
    callers = [loading(here, KEY, load)]
    await load.began.wait()
    callers += [loading(cache, KEY, load) for cache in (here, there)]
    await settled()
    for caller in callers[:2]:
        caller.cancel()
    await asyncio.wait(callers[:2])
    await settled()
    assert load.cancelled == 0
    callers[2].cancel()
    await asyncio.wait(callers)
    await until(lambda: load.cancelled == 1)
    assert load.runs == 1


async def test_a_run_whose_own_callers_left_goes_on_for_those_elsewhere(workers):
    here, there = workers
    load = Load()
    leaving = loading(here, KEY, load, seconds=60)
    await load.began.wait()
    staying = loading(there, KEY, load, seconds=60)
    await settled()
    leaving.cancel()
    await asyncio.wait([leaving])
    await settled()
    load.may_end.set()
    assert await staying == load.entry
    assert load.runs == 1


async def test_a_run_from_before_an_invalidation_is_neither_kept_nor_joined(place, workers):
    here, there = workers
    early, late = Load("early"), at_once("late", 2.0)
    first = loading(here, KEY, early, seconds=60)
    await early.began.wait()
    joined = loading(there, KEY, early, seconds=60)
    await settled()
    await there.forget(Invalidation("app", "orders", "7"), seconds=60)
    await until(lambda: place.heard)
    await settled()
    for cache in workers:
        assert (await cache.load(KEY, late, seconds=60)).content == b"late"
    early.may_end.set()
    assert await asyncio.gather(first, joined) == [early.entry] * 2
    assert (await here.find(KEY)).content == b"late"


async def test_what_is_loaded_right_after_an_invalidation_is_new(workers):
    here, _ = workers
    await here.load(KEY, at_once("old"), seconds=60)
    forgetting = asyncio.create_task(here.forget(Invalidation("app", "orders"), seconds=60))
    await asyncio.sleep(0)
    assert await here.find(KEY) is None
    await forgetting


async def test_after_closing_nothing_is_heard(place, workers):
    here, there = workers
    await there.close("app")
    await there.close("app")
    await here.forget(Invalidation("app", "orders"))
    await settled()
    assert place.heard == []


# -- MemoryCache


async def keep(cache, call, size=1):
    await cache.load(replace(KEY, call=call), at_once("x" * size), seconds=60)


async def kept(cache, calls):
    return [call for call in calls if await cache.find(replace(KEY, call=call))]


async def test_beyond_max_entries_the_least_recently_used_goes():
    cache = MemoryCache(max_entries=2)
    await keep(cache, "a")
    await keep(cache, "b")
    await kept(cache, "a")
    await keep(cache, "c")
    assert len(cache) == 2
    assert await kept(cache, "abc") == ["a", "c"]


async def test_beyond_max_bytes_the_least_recently_used_go():
    cache = MemoryCache(max_bytes=120)
    for call in "abcd":
        await keep(cache, call, 30)
    assert cache.size <= 120
    assert await kept(cache, "abcd") == ["b", "c", "d"]


async def test_an_entry_larger_than_the_cache_is_not_kept_and_throws_nobody_out():
    cache = MemoryCache(max_bytes=100)
    await keep(cache, "a")
    await keep(cache, "b", 200)
    assert await kept(cache, "ab") == ["a"]


async def test_the_size_is_that_of_what_is_kept():
    cache = MemoryCache()
    await keep(cache, "a", 3)
    await cache.load(replace(KEY, call="a"), at_once("x", 2.0), seconds=60, newer_than=1.0)
    assert cache.size == len("orders:a:") + 1
    await cache.forget(Invalidation("app", "orders"))
    assert cache.size == len(cache) == 0
