"""What every broker promises, asked of each of them."""

import asyncio
import random

import pytest
from broker_worlds import SECONDS, until
from redis_servers import PROGRAMS

from flash_pubsub.broker.memory import MemoryBroker
from flash_pubsub.broker.seam import (
    Lease,
    Member,
    MemberChange,
    Retention,
    State,
    presence_of,
    values_kept,
)
from flash_pubsub.errors import (
    BrokerClosed,
    BrokerRunning,
    BrokerUnavailable,
    Fenced,
    InvalidChannel,
    Overtaken,
    PayloadTooLarge,
)
from flash_ws.protocol.position import Position

# Valkey is asked where it is installed.
STORES = ["memory", "cluster", "sentinel", *(name.removesuffix("-server") for name in PROGRAMS)]


@pytest.fixture(params=STORES)
def world(request):
    """Workers over one store: `worker()` starts one more, `flush()` empties the store."""
    return request.getfixturevalue(f"{request.param}_world")


async def test_a_message_reaches_every_worker_that_subscribed(world):
    one, two, three = [await world.worker() for _ in range(3)]
    await one.broker.subscribe("prices")
    await two.broker.subscribe("prices")
    await one.broker.publish("prices", b"1")
    await three.broker.publish("prices", b"2")
    await one.has("prices", b"1", b"2")
    await two.has("prices", b"1", b"2")
    assert not three.delivered


async def test_numbers_begin_at_one_and_have_no_gaps(world):
    worker = await world.worker()
    start = await worker.broker.subscribe("prices")
    positions = [await worker.broker.publish("prices", b"x") for _ in range(20)]
    assert start.number == 0
    assert positions == [Position(start.epoch, number) for number in range(1, 21)]
    await until(lambda: len(worker.delivered["prices"]) == 20)
    assert [publication.position for publication in worker.delivered["prices"]] == positions


async def test_channels_are_numbered_apart_and_names_keep_their_case(world):
    worker = await world.worker()
    assert (await worker.broker.publish("room/A", b"")).number == 1
    assert (await worker.broker.publish("room/a", b"")).number == 1
    assert (await worker.broker.publish("room/{a}", b"")).number == 1
    assert (await worker.broker.publish("комната 7", b"")).number == 1
    assert await worker.broker.channels() == sorted(["room/A", "room/a", "room/{a}", "комната 7"])


async def test_every_byte_arrives_as_it_was_sent(world):
    worker = await world.worker()
    await worker.broker.subscribe("bytes")
    payloads = [b"", bytes(range(256)), "ä€🙂".encode(), b"x" * 300_000]
    for payload in payloads:
        await worker.broker.publish("bytes", payload)
    await worker.has("bytes", *payloads)
    start = Position(worker.delivered["bytes"][0].position.epoch, 0)
    assert await worker.broker.since("bytes", start) == worker.delivered["bytes"]


async def test_two_publishers_are_seen_in_one_order_by_everybody(world):
    workers = [await world.worker() for _ in range(3)]
    for worker in workers:
        await worker.broker.subscribe("order")

    async def publish(worker, name):
        for number in range(50):
            await worker.broker.publish("order", f"{name}{number}".encode())

    await asyncio.gather(
        *(publish(worker, name) for worker, name in zip(workers, "abc", strict=True))
    )
    for worker in workers:
        await until(lambda worker=worker: len(worker.delivered["order"]) == 150)
        assert worker.numbers("order") == list(range(1, 151))
        assert worker.payloads("order") == workers[0].payloads("order")
    for name in "abc":
        own = [payload for payload in workers[0].payloads("order") if payload[:1] == name.encode()]
        assert own == [f"{name}{number}".encode() for number in range(50)]


async def test_subscribing_delivers_what_comes_after_the_position_it_returns(world):
    publisher, late = [await world.worker() for _ in range(2)]
    await publisher.broker.publish("late", b"before")
    position = await late.broker.subscribe("late")
    assert position.number == 1
    await publisher.broker.publish("late", b"after")
    await late.has("late", b"after")


async def test_unsubscribing_ends_delivery_and_subscribing_again_resumes_it(world):
    worker = await world.worker()
    await worker.broker.subscribe("c")
    await worker.broker.subscribe("c")
    await worker.broker.publish("c", b"1")
    await worker.has("c", b"1")
    await worker.broker.unsubscribe("c")
    await worker.broker.unsubscribe("c")
    await worker.broker.publish("c", b"2")
    assert (await worker.broker.subscribe("c")).number == 2
    await worker.broker.publish("c", b"3")
    await worker.has("c", b"1", b"3")
    assert worker.broker.status.subscribed == 1


async def test_subscribing_and_unsubscribing_at_once_ends_as_the_last_call_says(world):
    worker, other = [await world.worker() for _ in range(2)]
    broker = worker.broker
    await asyncio.gather(broker.subscribe("c"), broker.unsubscribe("c"), broker.subscribe("c"))
    await other.broker.publish("c", b"1")
    await worker.has("c", b"1")
    await asyncio.gather(broker.unsubscribe("c"), broker.subscribe("c"), broker.unsubscribe("c"))
    await broker.subscribe("end")
    await other.broker.publish("c", b"2")
    await other.broker.publish("end", b"")
    await worker.has("end", b"")
    await worker.has("c", b"1")


async def test_history_returns_exactly_what_was_missed(world):
    worker = await world.worker()
    positions = [await worker.broker.publish("h", bytes([n])) for n in range(10)]
    missed = await worker.broker.since("h", positions[6])
    assert [publication.payload for publication in missed] == [b"\x07", b"\x08", b"\x09"]
    assert [publication.position for publication in missed] == positions[7:]
    assert await worker.broker.since("h", positions[-1]) == []


async def test_what_history_cannot_know_it_does_not_guess(world):
    worker = await world.worker()
    retention = Retention(max_messages=3)
    positions = [await worker.broker.publish("h", b"x", retention=retention) for _ in range(10)]
    since = worker.broker.since
    assert len(await since("h", positions[6])) == 3
    assert await since("h", positions[5]) is None
    assert await since("h", Position("another", 9)) is None
    assert await since("h", Position(positions[0].epoch, 11)) is None
    assert await since("h", Position(positions[0].epoch, -1)) is None


async def test_what_is_kept_after_a_position_is_whole_from_the_position_that_comes_with_it(world):
    worker = await world.worker()
    kept = worker.broker.kept
    start = await worker.broker.position("h")
    empty = await kept("h", start)
    assert (empty.position, empty.publications) == (start, [])
    retention = Retention(max_messages=3)
    positions = [
        await worker.broker.publish("h", str(n).encode(), retention=retention) for n in range(5)
    ]
    for after, first in ((start, 2), (positions[0], 2), (positions[2], 3), (positions[4], 5)):
        found = await kept("h", after)
        assert found.position == (positions[first - 1])
        assert [each.payload for each in found.publications] == [
            str(n).encode() for n in range(first, 5)
        ]
        assert [each.position for each in found.publications] == positions[first:]
    for unknown in (Position("another", 4), Position(start.epoch, 9), Position(start.epoch, -1)):
        assert len((await kept("h", unknown)).publications) == 3
    # The history ends as soon as a publication keeps none.
    last = await worker.broker.publish("h", b"last", retention=Retention(max_messages=0))
    found = await kept("h", positions[3])
    assert (found.position, found.publications) == (last, [])
    assert await worker.broker.since("h", positions[4]) is None


async def test_history_is_bounded_by_bytes(world):
    worker = await world.worker()
    retention = Retention(max_bytes=1200)
    positions = [
        await worker.broker.publish("h", b"x" * 300, retention=retention) for _ in range(10)
    ]
    assert len(await worker.broker.since("h", positions[6])) == 3
    assert await worker.broker.since("h", positions[4]) is None
    last = await worker.broker.publish("h", b"x" * 2000, retention=retention)
    assert await worker.broker.since("h", positions[-1]) is None
    assert await worker.broker.since("h", last) == []


async def test_history_is_bounded_by_age(world):
    worker = await world.worker()
    retention = Retention(max_age=0.05)
    first = await worker.broker.publish("h", b"1", retention=retention)

    async def forgotten():
        return await worker.broker.since("h", Position(first.epoch, 0)) is None

    await until(forgotten)
    assert await worker.broker.position("h") == first


async def test_a_channel_without_history_still_delivers(world):
    worker = await world.worker()
    start = await worker.broker.subscribe("h")
    position = await worker.broker.publish("h", b"1", retention=Retention(max_messages=0))
    await worker.has("h", b"1")
    assert await worker.broker.since("h", start) is None
    assert await worker.broker.since("h", position) == []


async def test_a_snapshot_holds_the_latest_value_of_every_field_in_the_order_of_setting(world):
    worker = await world.worker()
    publish = worker.broker.publish
    await publish("s", b"", changes={"a": b"1", "b": b"2", "c": b"3"})
    await publish("s", b"", changes={"b": None, "a": b"\x00\xff"})
    position = await publish("s", b"", changes={"d": b""})
    snapshot = await worker.broker.snapshot("s")
    assert snapshot.position == position
    assert list(snapshot.values.items()) == [("c", b"3"), ("a", b"\x00\xff"), ("d", b"")]


async def test_a_snapshot_forgets_what_was_set_longest_ago(world):
    worker = await world.worker()
    for n in range(10):
        await worker.broker.publish(
            "s", b"", changes={f"f{n}": b"x"}, retention=Retention(max_values=4)
        )
    values = (await worker.broker.snapshot("s")).values
    assert list(values)[-1] == "f9"
    assert list(values) == [f"f{n}" for n in range(10 - len(values), 10)]
    assert 1 <= len(values) <= 4
    bound = Retention(max_snapshot_bytes=100)
    for n in range(10):
        await worker.broker.publish("b", b"", changes={f"f{n}": b"x" * 30}, retention=bound)
    values = (await worker.broker.snapshot("b")).values
    assert list(values)[-1] == "f9"
    assert 1 <= len(values) <= 3


async def test_a_snapshot_with_places_has_its_values_in_the_order_of_their_first_setting(world):
    worker = await world.worker()
    places = Retention(keeps_places=True)

    async def publish(**changes):
        await worker.broker.publish("s", b"", changes=changes, retention=places)

    await publish(a=b"1", b=b"2", c=b"3")
    await publish(b=b"20", a=b"10", d=b"4")
    await publish(c=None)
    await publish(c=b"30", a=b"100")
    values = (await worker.broker.snapshot("s")).values
    assert list(values.items()) == [("a", b"100"), ("b", b"20"), ("d", b"4"), ("c", b"30")]
    assert await worker.broker.value("s", "a") == b"100"


async def test_a_full_snapshot_with_places_keeps_as_many_values_as_its_rule_says(world):
    """A worker that applies the same publications can drop the same values by `values_kept`."""
    worker = await world.worker()
    rng = random.Random(3)
    for most in (1, 7, 20, 30):
        channel, known = f"s{most}", {}
        bound = Retention(max_values=most, keeps_places=True)
        for n in range(120):
            changes = {f"f{rng.randrange(3 * most)}": str(n).encode() for _ in range(3)}
            gone = {f"f{rng.randrange(3 * most)}": None} if n % 5 == 0 else {}
            changes = {**changes, **gone}
            await worker.broker.publish(channel, b"", changes=changes, retention=bound)
            known.update({name: value for name, value in changes.items() if value is not None})
            for name in [name for name, value in changes.items() if value is None]:
                known.pop(name, None)
            if len(known) > most:
                while len(known) > values_kept(most):
                    del known[next(iter(known))]
        values = (await worker.broker.snapshot(channel)).values
        assert list(values.items()) == list(known.items())


async def test_snapshot_then_changes_have_no_seam(world):
    """B3: whoever takes a snapshot at any time and follows from there ends in the same state."""
    publisher = await world.worker()
    rng = random.Random(7)
    done = asyncio.Event()

    async def publish():
        for n in range(300):
            field = f"f{rng.randrange(20)}"
            await publisher.broker.publish(
                "s", f"{field}={n}".encode(), changes={field: str(n).encode()}
            )
        done.set()

    async def join():
        worker = await world.worker()
        await worker.broker.subscribe("s")
        snapshot = await worker.broker.snapshot("s")
        state = dict(snapshot.values)
        await done.wait()
        last = await publisher.broker.position("s")
        await until(
            lambda: (
                snapshot.position == last
                or (worker.delivered["s"] and worker.delivered["s"][-1].position == last)
            )
        )
        for publication in worker.delivered["s"]:
            if publication.position.number > snapshot.position.number:
                field, _, value = publication.payload.decode().partition("=")
                state[field] = value.encode()
        return state

    task = asyncio.create_task(publish())
    joiners = []
    for _ in range(8):
        before = (await publisher.broker.position("s")).number
        joiners.append(asyncio.create_task(join()))

        async def moved(before=before):
            return done.is_set() or (await publisher.broker.position("s")).number > before + 10

        await until(moved)
    states = await asyncio.gather(*joiners)
    await task
    final = dict((await publisher.broker.snapshot("s")).values)
    assert states == [final] * len(states)


async def test_a_key_makes_repeating_a_publication_safe(world):
    one, two = [await world.worker() for _ in range(2)]
    await one.broker.subscribe("k")
    first = await one.broker.publish("k", b"1", key="job 7")
    await one.broker.publish("k", b"2", key="job 8")
    assert await two.broker.publish("k", b"1 again", key="job 7") == first
    assert (await one.broker.publish("other", b"1", key="job 7")).number == 1
    await one.broker.publish("k", b"3")
    await one.has("k", b"1", b"2", b"3")


async def test_a_message_that_is_to_come_right_after_a_position_comes_there_or_not_at_all(world):
    one, two = [await world.worker() for _ in range(2)]
    await one.broker.subscribe("c")
    start = await one.broker.position("c")
    first = await one.broker.publish("c", b"1", after=start, changes={"x": b"1"})
    assert first == Position(start.epoch, 1)
    for after in (start, Position("another", 1), Position(start.epoch, 2)):
        with pytest.raises(Overtaken, match=f"number {after.number}"):
            await two.broker.publish("c", b"late", after=after, changes={"x": None, "y": b""})
    assert await two.broker.publish("c", b"2", after=first, key="k") == Position(start.epoch, 2)
    # A repeat is none, as ever.
    assert await two.broker.publish("c", b"2", after=first, key="k") == Position(start.epoch, 2)
    await one.has("c", b"1", b"2")
    assert (await one.broker.snapshot("c")).values == {"x": b"1"}


async def test_a_payload_over_the_limit_is_refused_with_the_limit_named(world):
    worker = await world.worker(max_payload_bytes=1000)
    await worker.broker.publish("p", b"x" * 1000)
    with pytest.raises(PayloadTooLarge, match=r"1,001 bytes .* max_payload_bytes=1,000"):
        await worker.broker.publish("p", b"x" * 1001)
    assert (await worker.broker.position("p")).number == 1


async def test_a_publication_is_done_when_enough_replicas_have_it(sentinel_world):
    worker = await sentinel_world.worker(min_replicas=1)
    assert (await worker.broker.publish("c", b"1")).number == 1
    greedy = await sentinel_world.worker(min_replicas=2, timeout=1.0, connect_timeout=0.4)
    with pytest.raises(BrokerUnavailable, match="1 of min_replicas=2 replicas have it"):
        await greedy.broker.publish("c", b"2", key="k")
    assert (await worker.broker.publish("c", b"2", key="k")).number == 2


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 401, "\ud800"])
async def test_a_name_that_no_channel_can_have_is_refused(world, name):
    worker = await world.worker()
    with pytest.raises(InvalidChannel):
        await worker.broker.publish(name, b"")
    with pytest.raises(InvalidChannel):
        await worker.broker.subscribe(name)


async def test_an_emptied_store_is_told_to_everybody(world):
    one, two = [await world.worker() for _ in range(2)]
    for worker in (one, two):
        await worker.broker.subscribe("quiet")
        await worker.broker.subscribe("busy")
    old = [await one.broker.publish("busy", b"x") for _ in range(5)]
    await until(lambda: len(two.delivered["busy"]) == 5)
    await world.flush()
    after = [await one.broker.publish("busy", b"%d" % n) for n in range(3)]
    assert after[0].epoch != old[0].epoch
    for worker in (one, two):
        await until(lambda worker=worker: {c for c, _ in worker.resets} == {"quiet", "busy"})
        journal = worker.journal["busy"]
        end = ("reset", after[-1])
        # The reset tells of all three, or of fewer, and the rest comes as publications.
        await until(
            lambda journal=journal, end=end: (
                journal[-1] == end or getattr(journal[-1], "position", None) == after[-1]
            )
        )
        (where,) = [n for n, entry in enumerate(journal) if isinstance(entry, tuple)]
        _, position = journal[where]
        assert position.epoch == after[0].epoch
        rest = [publication.position.number for publication in journal[where + 1 :]]
        assert rest == list(range(position.number + 1, 4))
        assert worker.broker.status.resets == 2
    assert await one.broker.since("busy", old[-1]) is None


async def test_presence_tells_who_is_there_who_came_and_who_left(world):
    one, two = [await world.worker() for _ in range(2)]
    await two.broker.subscribe(presence_of("room/7"))
    await one.broker.enter("room/7", Member("ann", b"Ann"))
    await two.broker.enter("room/7", Member("bob"))
    await one.broker.enter("room/7", Member("ann", b"Ann"))
    await one.broker.enter("room/7", Member("ann", b"Anna"))
    assert await one.broker.members("room/7") == [Member("ann", b"Anna"), Member("bob")]
    await one.broker.leave("room/7", "ann")
    await one.broker.leave("room/7", "ann")
    assert await two.broker.members("room/7") == [Member("bob")]
    channel = presence_of("room/7")
    await until(lambda: len(two.delivered[channel]) == 4)
    assert [MemberChange.unpack(payload) for payload in two.payloads(channel)] == [
        MemberChange("joined", Member("ann", b"Ann")),
        MemberChange("joined", Member("bob")),
        MemberChange("changed", Member("ann", b"Anna")),
        MemberChange("left", Member("ann", b"Anna")),
    ]
    assert (await two.broker.snapshot(channel)).values == {"bob": b""}
    assert await one.broker.members("room/8") == []


async def test_members_of_a_worker_that_closes_leave(world):
    one, two = [await world.worker() for _ in range(2)]
    await one.broker.enter("room", Member("ann"))
    await two.broker.enter("room", Member("bob"))
    await one.broker.close()
    assert await two.broker.members("room") == [Member("bob")]


async def test_members_come_back_to_a_store_that_lost_them(world):
    one, two = [await world.worker() for _ in range(2)]
    await one.broker.enter("room", Member("ann", b"Ann"), ttl=0.6)
    await world.flush()

    async def back():
        return await two.broker.members("room") == [Member("ann", b"Ann")]

    await until(back)


async def test_a_lease_has_one_holder_and_its_numbers_only_grow(world):
    one, two = [await world.worker() for _ in range(2)]
    first = await one.broker.lease("feeder", 60)
    assert await two.broker.lease("feeder", 60) is None
    assert await one.broker.lease("feeder", 60) is None
    other = await two.broker.lease("feeder", 60, channel="prices")
    assert (other.name, other.channel) == ("feeder", "prices")
    assert await one.broker.renew(first, 60)
    await one.broker.release(first)
    await one.broker.release(first)
    assert not await one.broker.renew(first, 60)
    second = await two.broker.lease("feeder", 60)
    assert second.number > first.number
    await one.broker.release(first)
    assert await one.broker.lease("feeder", 60) is None
    await world.flush()
    third = await one.broker.lease("feeder", 60)
    assert third.number > second.number
    assert not await two.broker.renew(second, 60)


async def test_a_lease_that_is_not_renewed_ends(world):
    one, two = [await world.worker() for _ in range(2)]
    first = await one.broker.lease("feeder", 0.05)
    second = await until(lambda: two.broker.lease("feeder", 60))
    assert second.number > first.number
    assert not await one.broker.renew(first, 60)


async def test_a_former_holder_cannot_publish_on_its_leases_channel(world):
    one, two = [await world.worker() for _ in range(2)]
    first = await one.broker.lease("f", 0.05, channel="c")
    await one.broker.publish("c", b"1", fence=first)
    second = await until(lambda: two.broker.lease("f", 60, channel="c"))
    with pytest.raises(Fenced, match=str(first.number)):
        await one.broker.publish("c", b"late", fence=first, changes={"x": b"late"})
    await two.broker.publish("c", b"2", fence=second)
    assert (await two.broker.position("c")).number == 2
    assert (await two.broker.snapshot("c")).values == {}


async def test_a_former_holder_cannot_publish_elsewhere_after_its_successor(world):
    worker = await world.worker()
    first, second = Lease("f", None, 1), Lease("f", None, 2)
    await worker.broker.publish("c", b"1", fence=first)
    await worker.broker.publish("c", b"2", fence=second)
    with pytest.raises(Fenced):
        await worker.broker.publish("c", b"late", fence=first)
    assert (await worker.broker.publish("c", b"3", fence=second)).number == 3


async def test_a_callback_that_fails_does_not_end_delivery(world, caplog):
    def sometimes(publication):
        if publication.payload == b"bad":
            raise RuntimeError("the worker's own fault")

    worker = await world.worker(on_delivery=sometimes)
    await worker.broker.subscribe("c")
    for payload in (b"1", b"bad", b"2"):
        await worker.broker.publish("c", payload)
    await worker.has("c", b"1", b"bad", b"2")
    assert "the worker's own fault" in caplog.text


async def test_status_says_how_it_stands(world):
    worker = await world.worker()
    assert worker.broker.status.ready
    assert worker.broker.status.reason == ""
    await worker.broker.subscribe("c")
    await worker.broker.publish("c", b"1")
    await worker.has("c", b"1")
    status = worker.broker.status
    assert (status.subscribed, status.published, status.delivered) == (1, 1, 1)
    await worker.broker.close()
    await worker.broker.close()
    assert worker.broker.status.state is State.CLOSED


async def test_a_closed_broker_refuses_everything_and_delivers_nothing(world):
    worker, other = [await world.worker() for _ in range(2)]
    await worker.broker.subscribe("c")
    await worker.broker.close()
    await other.broker.publish("c", b"1")
    with pytest.raises(BrokerClosed):
        await worker.broker.publish("c", b"2")
    with pytest.raises(BrokerClosed):
        await worker.broker.subscribe("c")
    with pytest.raises(BrokerClosed):
        await worker.broker.ready()
    await worker.broker.unsubscribe("c")
    assert not worker.delivered


async def test_a_broker_that_was_closed_may_be_started_again(world):
    worker, other = [await world.worker() for _ in range(2)]
    await worker.broker.subscribe("c")
    with pytest.raises(BrokerRunning, match=r"close\(\) it before"):
        await worker.begin()
    lease = await worker.broker.lease("l", 60)
    await worker.broker.publish("c", b"1")
    await worker.has("c", b"1")
    await worker.broker.close()
    await other.broker.publish("c", b"2")
    await worker.start()
    assert worker.broker.status.ready
    assert worker.broker.status.subscribed == 0
    assert (await worker.broker.subscribe("c")).number == 2
    await other.broker.publish("c", b"3")
    await worker.broker.publish("c", b"4")
    await worker.has("c", b"1", b"3", b"4")
    assert worker.broker.status.published == 2
    assert not await worker.broker.renew(lease, 60)
    assert await worker.broker.lease("l", 60)


async def test_a_broker_that_was_never_started_says_so():
    with pytest.raises(BrokerClosed, match=r"start\(\) it first"):
        await MemoryBroker().publish("c", b"")


async def test_many_channels_each_keep_their_order(world):
    one, two = [await world.worker() for _ in range(2)]
    names = [f"c{n}" for n in range(200)]
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(one.broker.subscribe(name) for name in names))
        for round_ in range(3):
            await asyncio.gather(*(two.broker.publish(name, b"%d" % round_) for name in names))
    for name in names:
        await one.has(name, b"0", b"1", b"2")
