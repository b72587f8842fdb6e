import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash_ws.protocol.frames import Frame
from flash_ws.protocol.history import History
from flash_ws.protocol.position import Position


def filled(count, **bounds):
    history = History(epoch="e", **bounds)
    for number in range(1, count + 1):
        assert history.next_number == number
        history.append(Frame(str(number), 4), now=0.0)
    return history


def numbers(entries):
    return None if entries is None else [entry.number for entry in entries]


def test_somebody_who_saw_everything_missed_nothing():
    assert filled(3).since(Position("e", 3), 0.0) == []


def test_what_was_missed_comes_whole_and_in_order():
    assert numbers(filled(5).since(Position("e", 2), 0.0)) == [3, 4, 5]


def test_a_position_before_the_first_message_gets_all_of_them():
    assert numbers(filled(2).since(Position("e", 0), 0.0)) == [1, 2]


@pytest.mark.parametrize("position", [Position("other", 2), Position("e", 4), Position("e", -1)])
def test_a_position_of_another_life_is_not_guessed_at(position):
    assert filled(3).since(position, 0.0) is None


def test_forgotten_messages_are_said_to_be_unknown_rather_than_sent_in_part():
    history = filled(10, max_messages=3)
    assert history.since(Position("e", 6), 0.0) is None
    assert numbers(history.since(Position("e", 7), 0.0)) == [8, 9, 10]


def test_old_messages_are_forgotten():
    history = filled(2, max_age=60.0)
    history.append(Frame("x", 4), now=50.0)
    assert history.since(Position("e", 0), 70.0) is None
    assert numbers(history.since(Position("e", 2), 70.0)) == [3]


def test_bytes_are_bounded():
    history = History(epoch="e", max_bytes=10)
    for _ in range(5):
        history.append(Frame("x", 4), now=0.0)
    assert numbers(history.since(Position("e", 3), 0.0)) == [4, 5]
    assert history.since(Position("e", 2), 0.0) is None


def test_a_history_of_exactly_its_bounds_is_kept_whole():
    history = History(epoch="e", max_messages=2, max_bytes=8, max_age=60.0)
    for _ in range(2):
        history.append(Frame("x", 4), now=0.0)
    assert numbers(history.since(Position("e", 0), 60.0)) == [1, 2]


def test_a_history_keeps_a_thousand_messages_a_mebibyte_and_two_minutes():
    def kept(count, size, age):
        history = History(epoch="e")
        for _ in range(count):
            history.append(Frame("x", size), now=0.0)
        return history.since(Position("e", 0), age) is not None

    assert kept(1000, 1, 120.0)
    assert not kept(1001, 1, 0.0)
    assert not kept(1, 1, 120.5)
    assert kept(4, 2**18, 0.0)
    assert not kept(4, 2**18 + 1, 0.0)


def test_two_histories_do_not_share_an_epoch():
    assert History().epoch != History().epoch


@given(st.integers(0, 40), st.integers(1, 10), st.integers(-2, 45))
def test_an_answer_is_complete_or_none(count, kept, position):
    entries = filled(count, max_messages=kept).since(Position("e", position), 0.0)
    if entries is not None:
        assert numbers(entries) == list(range(position + 1, count + 1))
