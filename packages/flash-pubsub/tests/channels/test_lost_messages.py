"""Messages that callbacks come to too late: what is kept is run, and what is lost is reported."""

import asyncio

import pytest
from pubsub_worlds import World, until

from flash import ConfigurationError, Flash, Output
from flash_pubsub import MemoryBroker, PubSub
from flash_pubsub.broker.memory import MemoryStore


def recording(runs, lost, *, once=True, channel="jobs", delay=None, **settings):
    """An app whose callback records the messages, and the losses that it is told of."""

    def define(pubsub):
        if settings:
            pubsub.channel(channel, **settings)

        @pubsub.channel_callback(
            channel, once=once, on_lost=lambda name, count: lost.append((name, count))
        )
        async def record(message):
            runs.append(message)
            if delay is not None:
                await asyncio.sleep(delay)

    return define


@pytest.mark.parametrize(
    ("published", "history"), [(1000, 1000), (1001, 1000), (20_000, 1000), (30, 10)]
)
async def test_11_1_once_runs_each_message_that_is_kept(published, history, caplog):
    runs, lost = [], []
    async with World(recording(runs, lost, history=history), workers=1) as world:
        [pubsub] = world.pubsubs
        # No other task runs meanwhile.
        for number in range(published):
            await pubsub.publish("jobs", number)
        await until(lambda: runs and runs[-1] == published - 1)
        kept = range(max(0, published - history), published)
        assert runs == list(kept)
        gone = published - len(kept)
        assert lost == ([("jobs", gone)] if gone else [])
        assert pubsub._deliveries.counters.lost == gone
        assert pubsub._deliveries.counters.skipped == 0
        metrics = {each.name: each.value for each in pubsub._metrics()}
        assert metrics["flash_channel_lost"] == gone
        assert (f"{gone} messages are lost" in caplog.text) is bool(gone)


async def test_11_1_once_on_redis_runs_what_is_kept_though_its_callback_is_slow(redis_server):
    runs, lost = [], []
    define = recording(runs, lost, channel="slow", delay=0.001, history=100)
    async with World(define, workers=2, url=redis_server.url) as world:
        for number in range(600):
            await world.pubsubs[number % 2].publish("slow", number)
        await until(lambda: runs and runs[-1] == 599)
    assert runs == sorted(set(runs))
    assert len(runs) >= 100
    # Each message was run once, or was reported as lost.
    assert len(runs) + sum(count for _, count in lost) == 600


async def test_11_1_once_goes_on_after_a_restart_with_what_came_meanwhile():
    runs, lost = [], []
    store = MemoryStore()
    define = recording(runs, lost, history=5)
    # Nothing has ever been run.
    async with World(define, workers=1, store=store) as world:
        deliveries = world.pubsubs[0]._deliveries
        await until(lambda: deliveries._deliveries["jobs"]._once_consumer._new_message)
    publisher = MemoryBroker(store)
    await publisher.start(lambda _: None, lambda *_: None)
    other = World(workers=1, store=store)
    other.pubsubs[0].channel("jobs", history=5)
    async with other:
        for number in range(7):
            await other.pubsubs[0].publish("jobs", number)
    assert runs == []
    async with World(define, workers=1, store=store):
        await until(lambda: runs and runs[-1] == 6)
    assert runs == [2, 3, 4, 5, 6]
    assert lost == [("jobs", 2)]
    await publisher.close()


async def test_11_1_once_reports_what_became_too_old():
    runs, lost = [], []
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    async with World(
        recording(runs, lost, max_age=120.0), workers=1, store=store, lease_ttl=1e9
    ) as world:
        for number in range(3):
            await world.pubsubs[0].publish("jobs", number)
        now[0] = 121.0
        await world.pubsubs[0].publish("jobs", 3)
        await until(lambda: runs)
    assert (runs, lost) == ([3], [("jobs", 3)])


async def test_11_1_once_runs_the_largest_message():
    runs, lost = [], []
    async with World(recording(runs, lost), workers=1) as world:
        largest = "x" * ((1 << 20) - 200)
        for text in ("a", largest):
            await world.pubsubs[0].publish("jobs", text)
        await until(lambda: runs and runs[-1] == largest)
    assert lost == []


async def test_11_1_on_lost_may_be_async_and_may_fail(caplog):
    runs, lost = [], []

    def define(pubsub):
        pubsub.channel("jobs", history=2)

        async def tell(channel, count):
            lost.append(count)
            raise ValueError("tell")

        @pubsub.channel_callback("jobs", once=True, on_lost=tell)
        def record(message):
            runs.append(message)

    async with World(define, workers=1) as world:
        for number in range(5):
            await world.pubsubs[0].publish("jobs", number)
        await until(lambda: runs == [3, 4])
    assert lost == [3]
    assert "on_lost of the channel callback" in caplog.text


@pytest.mark.parametrize("first", ["settings", "callback"])
@pytest.mark.parametrize("channel", ["jobs", "jobs/{kind}"])
def test_11_1_once_without_a_history_is_refused(first, channel):
    pubsub = PubSub(Flash("x"), broker=MemoryBroker())

    def shown(message, **variables):
        return message

    def callback():
        pubsub.channel_callback(channel, Output("a", "children"), once=True)(shown)

    def settings():
        pubsub.channel(channel, history=0)

    steps = [settings, callback] if first == "settings" else [callback, settings]
    steps[0]()
    with pytest.raises(ConfigurationError, match=r"history=0.*history=1000"):
        steps[1]()
    # What was refused is not there.
    if first == "settings":
        pubsub.channel_callback(channel, Output("a", "children"))(shown)
        assert [each.once for each in pubsub._declarations.callbacks] == [False]
    else:
        pubsub.channel(channel, history=5)
        assert [each.history for _, each in pubsub._declarations.configured] == [5]


async def test_11_1_per_worker_callbacks_report_what_they_skip():
    runs, lost = [], []
    define = recording(runs, lost, once=False, max_waiting=10)
    async with World(define, workers=1) as world:
        for number in range(30):
            await world.pubsubs[0].publish("jobs", number)
        await until(lambda: runs and runs[-1] == 29)
        deliveries = world.pubsubs[0]._deliveries
        assert sum(count for _, count in lost) == deliveries.counters.skipped > 0
        # The message before a gap is run again for the pages' state; none is run otherwise.
        assert len(set(runs)) + deliveries.counters.skipped >= 30


async def test_11_1_per_worker_callbacks_run_what_is_kept_when_the_broker_has_lost_messages():
    runs, lost = [], []
    define = recording(runs, lost, once=False, history=3)
    async with World(define, workers=1) as world:
        [pubsub] = world.pubsubs
        await pubsub.publish("jobs", "first")
        await until(lambda: runs)
        delivery = pubsub._deliveries._deliveries["jobs"]
        # What a worker does not hear while its connection is broken.
        await pubsub.broker.unsubscribe("jobs")
        for number in range(7):
            await pubsub.publish("jobs", number)
        position = await pubsub.broker.subscribe("jobs")
        delivery.reset("jobs", position)
        await until(lambda: runs[-1] == 6)
    assert runs == ["first", 4, 5, 6]
    assert lost == [("jobs", 4)]
