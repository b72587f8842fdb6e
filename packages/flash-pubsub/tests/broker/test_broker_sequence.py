"""What Redis carries is read with suspicion, and counted without a gap."""

import msgpack
import pytest

from flash_pubsub.broker.recent_frames import RecentFrames
from flash_pubsub.broker.redis.keys import Keys, slot_of
from flash_pubsub.broker.redis.sequence import ChannelHead, Entry, Sequence, Verdict
from flash_pubsub.errors import UnsupportedEnvelope
from flash_ws.protocol.frames import Frame
from flash_ws.protocol.position import Position


def packed(*members):
    return msgpack.packb([1, b"E", 7, b"id", 1_700_000_000, *members])


# -- reading


def test_an_entry_is_read_whole():
    entry = Entry.read(packed(b"payload"))
    assert (entry.epoch, entry.number, entry.id, entry.payload) == ("E", 7, b"id", b"payload")


def test_an_entry_without_a_payload_is_a_notice_of_a_new_epoch():
    assert Entry.read(packed()).payload is None
    assert Entry.read(packed(b"")).payload == b""


@pytest.mark.parametrize(
    "members",
    [
        [1, b"E", 7, b"id", 0, 5],
        [1, b"E", 7, b"id", 0, None],
        [1, b"E", 7, b"id", 0, b"x", b"y"],
        [1, b"E", 7, b"id"],
        [1, b"\xff", 7, b"id", 0, b"x"],
        [1, 5, 7, b"id", 0, b"x"],
        [1, b"E", b"7", b"id", 0, b"x"],
        [1, b"E", 7, 5, 0, b"x"],
        [1, b"E", 7, b"id", b"now", b"x"],
        [1],
        [],
        [b"1"],
    ],
)
def test_members_of_another_kind_make_no_entry(members):
    with pytest.raises(UnsupportedEnvelope, match="entry of flash-pubsub"):
        Entry.read(msgpack.packb(members))


def test_an_entry_of_another_version_is_refused_with_both_versions_named():
    with pytest.raises(UnsupportedEnvelope, match="version 2, and this worker reads version 1"):
        Entry.read(msgpack.packb([2, b"whatever"]))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01"])
def test_what_is_no_msgpack_is_said_to_be_none(data):
    with pytest.raises(UnsupportedEnvelope, match="not msgpack"):
        Entry.read(data)


def test_the_store_says_where_a_channel_stands():
    assert ChannelHead.read([b"E", b"12", b"id"]) == ChannelHead(Position("E", 12), b"id")


# -- counting


def entry(number, epoch="E", payload=b"x"):
    return Entry(epoch, number, b"%d" % number, payload)


@pytest.fixture
def sequence():
    sequence = Sequence("c")
    sequence.begin(ChannelHead(Position("E", 5), b"5"))
    sequence.settle()
    return sequence


def test_before_the_store_has_answered_nothing_is_delivered_and_nothing_is_lost():
    sequence = Sequence("c")
    assert sequence.channel == "c"
    assert (sequence.asking, sequence.position) == (True, Position("", 0))
    assert sequence.id == b""
    assert sequence.take(entry(6)) is Verdict.DROP
    sequence.begin(ChannelHead(Position("E", 5), b"5"))
    assert (sequence.position, sequence.id) == (Position("E", 5), b"5")
    (publication,) = sequence.settle()
    assert (publication.channel, publication.position) == ("c", Position("E", 6))
    assert publication.payload == b"x"
    assert not sequence.asking


def test_what_is_delivered_late_leaves_the_sequence_where_it_ends(sequence):
    sequence.take(entry(7))
    delivered = sequence.fill([entry(6, payload=b"six"), entry(7, payload=b"seven")])
    assert [each.payload for each in delivered] == [b"six", b"seven"]
    assert (sequence.position, sequence.id) == (Position("E", 7), b"7")


def test_an_answer_with_a_gap_is_used_as_far_as_it_goes(sequence):
    sequence.suspect()
    delivered = sequence.fill([entry(5), entry(6), entry(8), entry(7, payload=None)])
    assert [each.position.number for each in delivered] == [6]
    assert sequence.number == 6


def test_a_notice_within_the_epoch_that_is_followed_says_nothing_new(sequence):
    assert sequence.take(entry(6, payload=None)) is Verdict.DROP
    assert not sequence.asking
    assert sequence.take(entry(6)) is Verdict.DELIVER


def test_what_comes_of_another_epoch_while_the_store_is_asked_is_asked_about_after_it(sequence):
    sequence.suspect()
    sequence.take(entry(1, "F"))
    assert sequence.settle() == []
    assert sequence.asking
    sequence.begin(ChannelHead(Position("F", 1), b"1"))
    assert sequence.settle() == []
    assert not sequence.asking
    assert sequence.position == Position("F", 1)


@pytest.mark.parametrize("epoch", ["E", "F"])
def test_a_notice_that_comes_while_the_store_is_asked_is_asked_about_after_it(sequence, epoch):
    sequence.suspect()
    sequence.take(entry(0, epoch, payload=None))
    sequence.take(entry(6))
    assert sequence.settle() == []
    assert sequence.asking


def test_two_thousand_messages_or_four_mebibytes_wait_and_not_one_more(sequence):
    def waited(count, size=1):
        sequence = Sequence("c")
        sequence.begin(ChannelHead(Position("E", 0), b""))
        for number in range(1, count + 1):
            sequence.take(entry(number, payload=b"x" * size))
        return len(sequence.settle())

    assert waited(2000) == 2000
    assert waited(2001) == 0
    assert waited(4, 1 << 20) == 4
    assert waited(4, (1 << 20) + 1) == 0


def test_after_too_much_has_waited_as_much_may_wait_again():
    sequence = Sequence("c")
    sequence.begin(ChannelHead(Position("E", 0), b""))
    for number in range(1, 6):
        sequence.take(entry(number, payload=b"x" * (1 << 20)))
    assert sequence.settle() == []
    for number in range(1, 5):
        sequence.take(entry(number, payload=b"x" * (1 << 20)))
    assert len(sequence.settle()) == 4
    sequence.suspect()
    for number in range(5, 9):
        sequence.take(entry(number, payload=b"x" * (1 << 20)))
    assert len(sequence.settle()) == 4


# -- names in Redis


def test_channels_leases_and_probes_of_two_deployments_share_no_name():
    names = set()
    for prefix in ("shop", "shop:c", "sh*p", "sh{o}p", "sh%p"):
        keys = Keys(prefix)
        own = keys.channel("a")
        found = [*own.all, own.deadlines, own.lease("a"), own.idempotency("a"), keys.lease("a")]
        found += [keys.probe("a", 1), keys.probe("a", 2), keys.probe("b", 1)]
        assert len(set(found)) == len(found)
        assert not names & set(found)
        names |= set(found)
        assert slot_of(own.meta) == own.slot
        assert keys.channel_name(own.meta) == "a"


def test_the_pattern_finds_the_channels_of_one_deployment_only():
    assert Keys("shop").pattern == b"{shop:c:*}:m"
    assert Keys("s*o?p[1]^").pattern == rb"{s\*o\?p\[1\]\^:c:*}:m"


def test_a_long_key_of_idempotency_is_shortened_and_still_its_own():
    own = Keys("shop").channel("a")
    assert own.idempotency("k" * 128).endswith(b"k" * 128)
    long, longer = own.idempotency("k" * 129), own.idempotency("k" * 130)
    assert len(long) == len(longer) < 120
    assert long != longer


# -- frames sent lately


def numbers(frames):
    return [frame.number for frame in frames]


def test_frames_after_a_position_come_in_order_and_publications_without_one_are_passed_over():
    recent = RecentFrames(Position("E", 5))
    recent.advance(6, Frame("six", 3, "c", 6))
    recent.advance(7, None)
    recent.advance(8, Frame("eight", 5, "c", 8))
    assert recent.position == Position("E", 8)
    assert numbers(recent.after(5)) == [6, 8]
    assert numbers(recent.after(6)) == [8]
    assert recent.after(8) == []


@pytest.mark.parametrize(
    ("position", "known"),
    [
        (Position("E", 4), False),
        (Position("E", 5), True),
        (Position("E", 7), True),
        (Position("E", 8), False),
        (Position("F", 6), False),
    ],
)
def test_it_is_known_between_where_it_began_and_where_it_is(position, known):
    recent = RecentFrames(Position("E", 5))
    recent.advance(6, Frame("six", 3, "c", 6))
    recent.advance(7, None)
    assert recent.covers(position) is known


def test_beyond_a_thousand_frames_or_a_mebibyte_the_oldest_are_unknown():
    def floor(count, size):
        recent = RecentFrames(Position("E", 0))
        for number in range(1, count + 1):
            recent.advance(number, Frame("x", size, "c", number))
        assert numbers(recent.after(0)) == list(range(recent.floor + 1, count + 1))
        return recent.floor

    assert floor(1000, 1) == 0
    assert floor(1002, 1) == 2
    assert floor(4, 1 << 18) == 0
    assert floor(5, 1 << 18) == 1
    assert floor(7, 1 << 18) == 3
    assert floor(4, (1 << 18) + 1) == 1


def test_another_epoch_begins_with_nothing():
    recent = RecentFrames(Position("E", 0), max_bytes=10)
    recent.advance(1, Frame("x", 8, "c", 1))
    recent.begin(Position("F", 3))
    assert (recent.position, recent.floor, recent.after(0)) == (Position("F", 3), 3, [])
    recent.advance(4, Frame("x", 10, "c", 4))
    assert numbers(recent.after(3)) == [4]
