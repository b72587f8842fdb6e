import pytest

from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.inbox import Inbox
from flash_ws.protocol.limits import RateLimit, TokenBucket


def inbox(*, max_message_bytes=8, per_second=1000.0, burst=1000, max_waiting=1000, now=0.0):
    return Inbox(
        max_message_bytes=max_message_bytes,
        rate=RateLimit(per_second, burst),
        max_waiting=max_waiting,
        now=now,
    )


# -- messages waiting


def test_messages_come_out_in_the_order_they_came():
    waiting = inbox()
    for message in ("a", b"b", "c"):
        assert waiting.put(message, 0.0) is None
    assert len(waiting) == 3
    assert [waiting.take() for _ in range(3)] == ["a", b"b", "c"]
    assert len(waiting) == 0
    with pytest.raises(IndexError):
        waiting.take()


@pytest.mark.parametrize(
    "message", [b"12345678", "12345678", "éééé", "€€aa", "\U0001f600\U0001f600"]
)
def test_a_message_of_just_the_limit_is_kept(message):
    waiting = inbox()
    assert waiting.put(message, 0.0) is None
    assert waiting.take() == message


@pytest.mark.parametrize(
    "message", [b"123456789", "123456789", "ééééé", "€€€", "éééééééé", "\U0001f600\U0001f600a"]
)
def test_a_message_of_one_byte_more_is_too_large_and_not_kept(message):
    waiting = inbox()
    assert waiting.put(message, 0.0) is CloseCode.TOO_LARGE
    assert len(waiting) == 0


def test_so_many_messages_fill_it_until_one_is_taken():
    waiting = inbox(max_waiting=2)
    waiting.put("a", 0.0)
    assert not waiting.is_full
    waiting.put("b", 0.0)
    assert waiting.is_full
    waiting.take()
    assert not waiting.is_full


def test_four_of_the_largest_messages_fill_it():
    waiting = inbox()
    for _ in range(3):
        waiting.put(b"12345678", 0.0)
    waiting.put(b"1234567", 0.0)
    assert not waiting.is_full
    waiting.put(b"1", 0.0)
    assert waiting.is_full
    waiting.take()
    assert not waiting.is_full


def test_what_is_taken_or_forgotten_takes_no_room():
    waiting = inbox()
    for _ in range(10):
        waiting.put(b"12345678", 0.0)
        waiting.take()
    assert not waiting.is_full
    for _ in range(4):
        waiting.put(b"12345678", 0.0)
    waiting.clear()
    assert len(waiting) == 0
    assert not waiting.is_full
    for message in (b"12345678", b"12345678", b"12345678", b"1234567"):
        waiting.put(message, 0.0)
    assert not waiting.is_full


def test_taking_one_makes_room_for_as_much_as_it_held():
    waiting = inbox()
    for _ in range(3):
        waiting.put(b"12345678", 0.0)
    waiting.take()
    waiting.put(b"12345678", 0.0)
    assert not waiting.is_full
    waiting.put(b"12345678", 0.0)
    assert waiting.is_full


def test_more_messages_than_the_rate_allows_are_too_fast():
    waiting = inbox(per_second=1.0, burst=2, now=100.0)
    assert waiting.put("a", 100.0) is None
    assert waiting.put("b", 100.0) is None
    assert waiting.put("c", 100.0) is CloseCode.TOO_FAST
    assert len(waiting) == 2
    assert waiting.put("d", 101.0) is None
    assert waiting.put("e", 101.0) is CloseCode.TOO_FAST


# -- the rate


def test_a_burst_is_allowed_at_once_and_nothing_more():
    bucket = TokenBucket(RateLimit(per_second=1.0, burst=3), now=50.0)
    assert [bucket.take(50.0) for _ in range(4)] == [True, True, True, False]


def test_time_brings_so_many_a_second():
    bucket = TokenBucket(RateLimit(per_second=2.0, burst=4), now=50.0)
    assert bucket.take(50.0, 4)
    assert not bucket.take(50.4)
    assert bucket.take(50.5)
    assert not bucket.take(50.9)
    assert bucket.take(51.0)
    assert not bucket.take(51.0)


def test_a_pause_saves_up_no_more_than_a_burst():
    bucket = TokenBucket(RateLimit(per_second=2.0, burst=3), now=0.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_several_are_taken_together_or_not_at_all():
    bucket = TokenBucket(RateLimit(per_second=1.0, burst=3), now=0.0)
    assert not bucket.take(0.0, 4)
    assert bucket.take(0.0, 2)
    assert not bucket.take(0.0, 2)
    assert bucket.take(0.0, 1)


def test_what_is_refused_costs_nothing():
    bucket = TokenBucket(RateLimit(per_second=1.0, burst=1), now=0.0)
    assert bucket.take(0.0)
    for tenths in range(1, 10):
        assert not bucket.take(tenths / 10)
    assert bucket.take(1.1)
