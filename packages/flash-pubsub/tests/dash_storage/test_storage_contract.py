"""What Dash's shared storage promises, asked of ours; on Dash 4.5 and later."""

import asyncio
import itertools
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dash
import pytest
import redis
from dash import SharedStorageError, SharedStorageGap

from flash import ConfigurationError, Flash, Input, Output, ctx, html
from flash.testing import FlashClient
from flash_pubsub import FlashSharedStorage
from flash_pubsub.broker.address import parse_url

SECONDS = 20
_prefixes = itertools.count()


@pytest.fixture
def address(request):
    """Where the storages of a test are: one process's memory, or a real Redis."""
    if request.param == "memory":
        return "memory://"
    server = request.getfixturevalue("redis_server")
    return f"{server.url}?prefix=storage{next(_prefixes)}&probe_interval=0.2"


@pytest.fixture
def make(address):
    """Make the storage of one more worker; all are closed in the end."""
    made = []

    def one_more(**settings):
        made.append(FlashSharedStorage(address, **settings))
        return made[-1]

    yield one_more
    for storage in made:
        storage.close()
        storage.close()


@pytest.fixture
def storage(make):
    return make()


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return result


def read(subscription, count):
    """The next messages with their numbers."""
    return list(itertools.islice(subscription.iter_with_seq(), count))


async def aread(subscription, count):
    found = []
    async with asyncio.timeout(SECONDS):
        async for pair in subscription.aiter_with_seq():
            found.append(pair)
            if len(found) == count:
                break
    return found


everywhere = pytest.mark.parametrize("address", ["memory", "redis"], indirect=True)
among_workers = pytest.mark.parametrize("address", ["redis"], indirect=True)


# -- values ----------------------------------------------------------------------------------------


@everywhere
def test_it_is_what_dash_calls_a_shared_storage(storage):
    assert isinstance(storage, dash.BaseSharedStorage)
    storage.start()
    storage.start()


@everywhere
@pytest.mark.parametrize(
    "value",
    [None, True, 0, -7, 1.5, "", "ä\x00", [], [1, [2, None]], {}, {"a": {"b": [1, "x"]}}, b"\x00"],
)
def test_a_value_comes_back_as_it_was_set(storage, value):
    storage.set("key", value)
    assert storage.get("key", "default") == value


@everywhere
def test_a_key_without_a_value_has_the_default(storage):
    assert storage.get("never set") is None
    assert storage.get("never set", 7) == 7
    storage.set("key", 1)
    storage.delete("key")
    storage.delete("key")
    storage.delete("never set")
    assert storage.get("key", "gone") == "gone"


@everywhere
def test_the_last_value_counts(storage):
    for value in range(20):
        storage.set("key", value)
    assert storage.get("key") == 19


@everywhere
def test_names_of_any_kind_and_length_are_apart(storage):
    names = ["a", "A", "a:b", "{a}", "ä", "#", "x" * 300, "x" * 301, "x" * 5000, "ä" * 400]
    for number, name in enumerate(names):
        storage.set(name, number)
    assert [storage.get(name) for name in names] == list(range(len(names)))


@everywhere
def test_a_value_with_a_lifetime_is_gone_after_it(storage):
    storage.set("short", 1, ttl=0.05)
    storage.set("long", 2, ttl=3600)
    storage.set("changed", 3, ttl=0.05)
    storage.set("changed", 4)
    until(lambda: storage.get("short") is None)
    assert storage.get("long") == 2
    assert storage.get("changed") == 4


@among_workers
def test_what_is_kept_ends_by_itself_and_looking_leaves_nothing(storage, redis_server):
    for _ in range(3):
        assert storage.get("never set") is None
    storage.set("short", 1, ttl=30)
    storage.set("deleted", 1)
    storage.delete("deleted")
    storage.publish("topic", 1, ttl=30)
    with redis.Redis(port=redis_server.port) as client:
        names = client.keys(f"{{{parse_url(storage._address).prefix}:*")
        assert names
        assert not [name for name in names if b"never" in name]
        for name in names:
            assert 0 < client.pttl(name) < 200_000, name


@everywhere
def test_what_is_no_json_or_too_large_is_refused(storage):
    with pytest.raises(TypeError):
        storage.set("key", object())
    with pytest.raises(SharedStorageError, match=r"key 'key': .* are more than"):
        storage.set("key", "x" * (9 << 20))
    with pytest.raises(SharedStorageError, match=r"topic 'topic': .* are more than"):
        storage.publish("topic", "x" * (9 << 20))
    storage.set("key", "x" * (7 << 20))
    assert len(storage.get("key")) == 7 << 20


@among_workers
def test_workers_see_each_others_values(make):
    one, other = make(), make()
    one.set("key", {"a": 1})
    assert other.get("key") == {"a": 1}
    other.delete("key")
    assert one.get("key") is None


# -- topics ----------------------------------------------------------------------------------------


@everywhere
def test_a_reader_gets_what_is_published_after_it_subscribed_numbered_and_in_order(storage):
    storage.publish("topic", "before")
    with storage.subscribe("topic") as reader:
        for number in range(5):
            storage.publish("topic", {"n": number})
        assert read(reader, 5) == [(number + 2, {"n": number}) for number in range(5)]


@everywhere
def test_readers_may_iterate_messages_alone(storage):
    with storage.subscribe("topic") as reader:
        storage.publish("topic", 1)
        storage.publish("topic", 2)
        assert list(itertools.islice(reader, 2)) == [1, 2]


@everywhere
def test_a_reader_that_comes_back_goes_on_after_what_it_has_seen(storage):
    for number in range(1, 7):
        storage.publish("topic", number)
    assert read(storage.subscribe("topic", replay_from=3), 3) == [(4, 4), (5, 5), (6, 6)]
    assert read(storage.subscribe("topic", replay_from=0), 6) == [(n, n) for n in range(1, 7)]
    again = storage.subscribe("topic", replay_from=6)
    storage.publish("topic", 7)
    assert read(again, 1) == [(7, 7)]


@everywhere
def test_polling_returns_at_once_all_that_there_is(make):
    here = make()
    there = here if here._address == "memory://" else make()
    with here.subscribe("topic") as reader:
        assert reader.poll() == []
        for message in "abc":
            there.publish("topic", message)
        assert reader.poll() == [(1, "a"), (2, "b"), (3, "c")]
        assert reader.poll() == []
        there.publish("topic", "d")
        assert reader.poll(timeout=SECONDS) == [(4, "d")]
    assert reader.poll() == []


@everywhere
def test_polling_waits_for_the_next_message(storage):
    reader = storage.subscribe("topic")
    with ThreadPoolExecutor(1) as thread:
        polled = thread.submit(reader.poll, SECONDS)
        storage.publish("topic", 1)
        assert polled.result(SECONDS) == [(1, 1)]


@everywhere
def test_a_reader_that_has_missed_more_than_is_kept_is_told_so(make):
    storage = make(buffer_size=4)
    behind = storage.subscribe("topic")
    for number in range(1, 11):
        storage.publish("topic", number)
    with pytest.raises(SharedStorageGap):
        storage.subscribe("topic", replay_from=1).poll()
    with pytest.raises(SharedStorageGap):
        read(storage.subscribe("topic", replay_from=5), 1)
    assert [number for number, _ in read(storage.subscribe("topic", replay_from=6), 4)] == [
        *range(7, 11)
    ]
    # All that had come before it fell behind.
    with pytest.raises(SharedStorageGap):
        read(behind, 5)


@everywhere
def test_a_number_that_was_never_given_out_is_a_gap(storage):
    storage.publish("topic", 1)
    with pytest.raises(SharedStorageGap):
        storage.subscribe("topic", replay_from=9).poll()
    with pytest.raises(SharedStorageGap):
        read(storage.subscribe("nothing", replay_from=1), 1)


@among_workers
def test_readers_of_a_topic_that_has_begun_anew_are_told_so(make, redis_server):
    here, there = make(), make()
    for number in range(5):
        here.publish("topic", number)
    reader, same = here.subscribe("topic"), there.subscribe("topic")
    redis_server.flush()
    for number in range(10):
        there.publish("topic", number)
    for each in (reader, same):
        with pytest.raises(SharedStorageGap):
            read(each, 1)
    # Its number exists again, but stands for another message: no other storage of Dash's says so.
    with pytest.raises(SharedStorageGap):
        read(here.subscribe("topic", replay_from=5), 1)
    # One that begins with the new life knows its numbers.
    here.subscribe("topic").close()
    assert read(here.subscribe("topic", replay_from=5), 5) == [(n, n - 1) for n in range(6, 11)]


@pytest.mark.parametrize("address", ["memory"], indirect=True)
def test_a_topic_that_nobody_uses_begins_anew_after_its_lifetime(storage):
    storage.publish("topic", 1, ttl=5)
    storage.publish("for ever", 1, ttl=5)
    storage.publish("for ever", 2)
    store = storage._broker_loop.broker.store
    store.clock = lambda: time.monotonic() + 60
    storage.publish("topic", 2, ttl=5)
    assert read(storage.subscribe("topic", replay_from=0), 1) == [(1, 2)]
    assert read(storage.subscribe("for ever", replay_from=1), 1) == [(2, 2)]


@everywhere
@pytest.mark.parametrize("ttl", [0, 0.99, -1, math.inf, math.nan])
def test_a_lifetime_that_is_too_short_or_none_is_refused(storage, ttl):
    with pytest.raises(SharedStorageError, match="a topic is kept for 1 s or longer"):
        storage.publish("topic", 1, ttl=ttl)


@everywhere
def test_many_threads_publish_and_every_reader_sees_one_order(make):
    here = make()
    workers = [here] if here._address == "memory://" else [here, make()]
    readers = [worker.subscribe("topic") for worker in workers]
    with ThreadPoolExecutor(10) as threads:
        reading = [threads.submit(read, reader, 200) for reader in readers]
        for writer, worker in zip(range(8), itertools.cycle(workers), strict=False):
            threads.submit(
                lambda writer=writer, worker=worker: [
                    worker.publish("topic", [writer, n]) for n in range(25)
                ]
            )
        seen = [each.result(SECONDS) for each in reading]
    assert all(each == seen[0] for each in seen)
    assert [number for number, _ in seen[0]] == [*range(1, 201)]
    for writer in range(8):
        assert [n for _, (by, n) in seen[0] if by == writer] == [*range(25)]


@everywhere
def test_closing_a_reader_ends_its_iteration_in_another_thread(storage):
    reader = storage.subscribe("topic")
    ended = threading.Event()

    def iterate():
        assert list(reader) == []
        ended.set()

    threading.Thread(target=iterate, daemon=True).start()
    reader.close()
    reader.close()
    assert ended.wait(SECONDS)


@everywhere
def test_a_closed_storage_ends_its_readers_and_can_be_used_again(storage):
    reader = storage.subscribe("topic")
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(list, reader)
        storage.close()
        assert reading.result(SECONDS) == []
    storage.set("key", 1)
    assert storage.get("key") == 1


# -- on event loops --------------------------------------------------------------------------------


@everywhere
async def test_on_a_loop_nothing_blocks(storage):
    await storage.aset("key", [1])
    assert await storage.aget("key") == [1]
    await storage.adelete("key")
    assert await storage.aget("key", "default") == "default"
    reader = storage.subscribe("topic")
    for number in range(3):
        await storage.apublish("topic", number)
    assert await aread(reader, 3) == [(1, 0), (2, 1), (3, 2)]


@everywhere
async def test_on_a_loop_calls_that_do_not_wait_are_done_in_order(storage):
    reader = storage.subscribe("topic")
    for number in range(20):
        storage.set("key", number)
        storage.publish("topic", number)
    assert await storage.aget("key") == 19
    assert await aread(reader, 20) == [(n + 1, n) for n in range(20)]
    storage.delete("key")
    assert await storage.aget("key") is None


@everywhere
async def test_many_readers_on_a_loop_hold_no_thread_each(storage):
    before = threading.active_count()
    readers = [storage.subscribe(f"topic {n}") for n in range(50)]
    reading = [asyncio.ensure_future(aread(reader, 1)) for reader in readers]
    for n in range(50):
        await storage.apublish(f"topic {n}", n)
    assert [await each for each in reading] == [[(1, n)] for n in range(50)]
    assert threading.active_count() < before + 10


@everywhere
async def test_a_reader_on_a_loop_is_let_go_when_it_is_closed_or_its_task_cancelled(storage):
    reader = storage.subscribe("topic")
    reading = asyncio.ensure_future(aread(reader, 1))
    await asyncio.sleep(0)
    reader.close()
    assert await reading == []
    cancelled = asyncio.ensure_future(aread(storage.subscribe("topic"), 1))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled


@everywhere
async def test_a_reader_on_a_loop_is_told_of_a_gap(make):
    storage = make(buffer_size=2)
    for number in range(5):
        await storage.apublish("topic", number)
    with pytest.raises(SharedStorageGap):
        await aread(storage.subscribe("topic", replay_from=1), 1)


# -- trouble ---------------------------------------------------------------------------------------


def test_a_store_that_is_not_there_is_an_error_within_the_time_limit():
    storage = FlashSharedStorage("redis://127.0.0.1:1/0?timeout=0.3&connect_timeout=0.1")
    with pytest.raises(SharedStorageError, match=r"Redis at .* did not answer"):
        storage.get("key")
    with pytest.raises(SharedStorageError):
        storage.publish("topic", 1)
    with pytest.raises(SharedStorageError):
        storage.subscribe("topic")
    storage.close()


async def test_what_fails_on_a_loop_is_logged_and_said_by_the_reader(caplog):
    storage = FlashSharedStorage("redis://127.0.0.1:1/0?timeout=0.3&connect_timeout=0.1")
    storage.set("key", 1)
    reader = storage.subscribe("topic")
    with pytest.raises(SharedStorageError):
        await storage.aget("key")
    with pytest.raises(SharedStorageError):
        await aread(reader, 1)
    assert "a call to the shared storage failed that nobody waited for" in caplog.text
    await asyncio.to_thread(storage.close)


async def test_calls_that_do_not_wait_are_refused_when_too_many_do(monkeypatch):
    monkeypatch.setattr("flash_pubsub.dash_storage.background_loop._MAX_UNAWAITED", 3)
    storage = FlashSharedStorage("redis://127.0.0.1:1/0?timeout=0.3&connect_timeout=0.1")
    for number in range(3):
        storage.set("key", number)
    with pytest.raises(SharedStorageError, match="3 calls wait"):
        storage.set("key", 3)
    await asyncio.to_thread(storage.close)


def test_several_workers_need_a_store_that_they_share(monkeypatch):
    monkeypatch.setenv("FLASH_WORKERS", "2")
    with pytest.raises(ConfigurationError, match="FlashSharedStorage"):
        FlashSharedStorage("memory://").get("key")


def test_a_buffer_has_room():
    with pytest.raises(ConfigurationError, match="buffer_size=0"):
        FlashSharedStorage("memory://", buffer_size=0)


# -- in an app -------------------------------------------------------------------------------------


@among_workers
async def test_callbacks_of_two_workers_share_it(make):
    clients = []
    for _ in range(2):
        app = Flash(__name__, shared_storage=make())
        app.layout = html.Div([html.P(id="in"), html.P(id="plain"), html.P(id="async")])

        @app.callback(Output("plain", "children"), Input("in", "title"))
        def plain(title):
            before = ctx.shared_storage.get("title")
            ctx.shared_storage.set("title", title)
            return before

        @app.callback(Output("async", "children"), Input("in", "title"))
        async def later(title):
            return await ctx.shared_storage.aget("title")

        clients.append(FlashClient(app))
    async with clients[0] as one, clients[1] as other:
        assert (await one.call("plain.children", {"in.title": "a"})).value is None
        assert (await other.call("plain.children", {"in.title": "b"})).value == "a"
        assert (await one.call("async.children", {"in.title": ""})).value == "b"
