"""The contract of `LazyCache`, and what bounds `MemoryCache`."""

import pytest

from flash_lazy import Entry, MemoryCache


@pytest.fixture(params=[MemoryCache])
def cache(request):
    return request.param()


def entry(text: str = "x", loaded_at: float = 1.0) -> Entry:
    return Entry(text.encode(), loaded_at)


async def test_what_was_put_is_returned_until_it_is_dropped(cache):
    assert await cache.get("a") is None
    await cache.put("a", entry(), 60)
    assert await cache.get("a") == entry()
    await cache.drop("a")
    assert await cache.get("a") is None


async def test_a_newer_entry_takes_the_place_of_an_older_one(cache):
    await cache.put("a", entry("old"), 60)
    await cache.put("a", entry("new", 2.0), 60)
    assert await cache.get("a") == entry("new", 2.0)


async def test_dropping_a_prefix_leaves_the_others_and_may_be_done_again(cache):
    for key in ("a\0one\0", "a\0other\0", "b\0one\0"):
        await cache.put(key, entry(), 60)
    for _ in range(2):
        await cache.drop("a\0one\0")
    assert await cache.get("a\0one\0") is None
    assert await cache.get("a\0other\0") == entry()
    await cache.drop("a\0")
    assert await cache.get("a\0other\0") is None
    assert await cache.get("b\0one\0") == entry()


async def test_beyond_max_entries_the_least_recently_used_goes():
    cache = MemoryCache(max_entries=2)
    await cache.put("a", entry(), 60)
    await cache.put("b", entry(), 60)
    await cache.get("a")
    await cache.put("c", entry(), 60)
    assert len(cache) == 2
    assert await cache.get("b") is None
    assert await cache.get("a") == entry()


async def test_beyond_max_bytes_the_least_recently_used_go():
    cache = MemoryCache(max_bytes=100)
    for key in "abcd":
        await cache.put(key, entry("x" * 30), 60)
    assert cache.size <= 100
    assert [key for key in "abcd" if await cache.get(key)] == ["b", "c", "d"]


async def test_an_entry_larger_than_the_cache_is_not_kept_and_throws_nobody_out():
    cache = MemoryCache(max_bytes=100)
    await cache.put("a", entry(), 60)
    await cache.put("b", entry("x" * 200), 60)
    assert await cache.get("b") is None
    assert await cache.get("a") == entry()


async def test_the_size_is_that_of_what_is_kept():
    cache = MemoryCache()
    await cache.put("a", entry("xxx"), 60)
    await cache.put("a", entry("x"), 60)
    assert cache.size == 2
    await cache.drop("")
    assert cache.size == len(cache) == 0
