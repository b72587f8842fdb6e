import json

import pytest
from dash import Patch

from flash_ws.protocol.channel import Channel, State
from flash_ws.protocol.frames import event_message, props_message
from flash_ws.protocol.history import History
from flash_ws.protocol.position import Position


def setting(component_id, **props):
    return props_message([(component_id, props)])


def state_of(state):
    return json.loads(state.updates())


# -- the state


def test_a_state_is_what_each_property_was_set_to_last_and_in_that_order():
    state = State()
    state.apply(setting("a", children=1, title="x"))
    state.apply(setting("b", children=2))
    state.apply(setting("a", children=3))
    assert state_of(state) == [
        ["a", {"title": "x"}],
        ["b", {"children": 2}],
        ["a", {"children": 3}],
    ]


def test_a_state_is_true_while_it_knows_a_value():
    state = State()
    assert not state
    assert state_of(state) == []
    state.apply(setting("a", children=None))
    assert state
    state.apply(setting("a", children=Patch()))
    assert not state


def test_a_value_that_something_builds_on_is_unknown_until_it_is_set_again():
    state = State()
    state.apply(setting("a", children=1, title=2))
    state.apply(setting("a", children=Patch()))
    assert state_of(state) == [["a", {"title": 2}]]
    state.apply(setting("a", children=Patch()))
    state.apply(setting("a", children=4))
    assert state_of(state) == [["a", {"title": 2}], ["a", {"children": 4}]]


def test_an_event_changes_no_state():
    state = State()
    state.apply(event_message("tick", 1))
    assert not state


def test_beyond_so_many_values_the_one_set_longest_ago_is_forgotten():
    state = State(max_values=2)
    state.apply(setting("a", children=1))
    state.apply(setting("b", children=2))
    assert len(state_of(state)) == 2
    state.apply(setting("a", children=3))
    state.apply(setting("c", children=4))
    assert state_of(state) == [["a", {"children": 3}], ["c", {"children": 4}]]


def test_beyond_so_many_characters_the_values_set_longest_ago_are_forgotten():
    state = State(max_bytes=10)
    state.apply(setting("a", children=12345))
    state.apply(setting("b", children=12345))
    assert len(state_of(state)) == 2
    state.apply(setting("c", children=1))
    assert state_of(state) == [["b", {"children": 12345}], ["c", {"children": 1}]]
    state.apply(setting("d", children=1234567890))
    assert state_of(state) == [["d", {"children": 1234567890}]]
    # The latest value is kept, however large.
    state.apply(setting("e", children=12345678901))
    assert state_of(state) == [["e", {"children": 12345678901}]]
    state.apply(setting("f", children=1))
    assert state_of(state) == [["f", {"children": 1}]]


def test_what_is_replaced_or_unknown_takes_no_room():
    state = State(max_bytes=10)
    for number in range(10, 30):
        state.apply(setting("a", children=number))
        state.apply(setting("b", children=number))
        state.apply(setting("c", children=1000 + number))
        state.apply(setting("c", children=Patch()))
    assert state_of(state) == [["a", {"children": 29}], ["b", {"children": 29}]]
    state.apply(setting("d", children=123456))
    assert len(state_of(state)) == 3


def test_a_state_holds_a_thousand_values_and_a_mebibyte():
    state = State()
    state.apply(props_message([(f"c{number}", {"children": 1}) for number in range(1000)]))
    assert len(state_of(state)) == 1000
    state.apply(setting("more", children=1))
    assert len(state_of(state)) == 1000

    state = State()
    state.apply(setting("a", children="x" * (2**20 - 3)))
    state.apply(setting("b", children=1))
    assert len(state_of(state)) == 2
    state.apply(setting("b", children=12))
    assert len(state_of(state)) == 1


# -- the channel


@pytest.fixture
def channel():
    return Channel("all", History(epoch="e", max_messages=2, max_age=60))


def test_messages_are_numbered_from_one(channel):
    assert channel.position == Position("e", 0)
    frames = [channel.append(event_message("tick", number), 0.0) for number in range(2)]
    assert [json.loads(frame.text)["n"] for frame in frames] == [1, 2]
    assert [frame.number for frame in frames] == [1, 2]
    assert {frame.channel for frame in frames} == {"all"}
    assert channel.position == Position("e", 2)


def test_whoever_missed_something_gets_the_very_frames(channel):
    frames = [channel.append(event_message("tick", number), 0.0) for number in range(2)]
    caught_up = channel.catch_up(Position("e", 0), 0.0)
    assert caught_up.frames == tuple(frames)
    assert caught_up.position == Position("e", 2)
    assert caught_up.recovered is True


def test_whoever_missed_nothing_gets_nothing(channel):
    channel.append(setting("a", children=1), 0.0)
    caught_up = channel.catch_up(Position("e", 1), 0.0)
    assert (caught_up.frames, caught_up.recovered) == ((), True)


def test_whoever_missed_too_much_gets_the_state(channel):
    for number in range(4):
        channel.append(setting("a", children=number), 0.0)
    caught_up = channel.catch_up(Position("e", 1), 0.0)
    assert [json.loads(frame.text) for frame in caught_up.frames] == [
        {"t": "snapshot", "c": "all", "n": 4, "u": [["a", {"children": 3}]]}
    ]
    assert caught_up.position == Position("e", 4)
    assert caught_up.recovered is False


def test_what_is_too_old_is_not_sent_again(channel):
    channel.append(setting("a", children=1), 0.0)
    assert channel.catch_up(Position("e", 0), 60.0).recovered
    assert not channel.catch_up(Position("e", 0), 60.5).recovered


def test_without_a_state_there_is_no_snapshot_and_the_page_is_told_of_the_loss(channel):
    channel.append(event_message("tick", 1), 0.0)
    caught_up = channel.catch_up(Position("of another life", 1), 0.0)
    assert (caught_up.frames, caught_up.recovered) == ((), False)
    assert caught_up.position == Position("e", 1)


def test_a_channel_without_a_history_of_its_own_begins_one():
    one, other = Channel("one"), Channel("other")
    assert one.append(event_message("tick", 1), 0.0).number == 1
    assert one.position.epoch != other.position.epoch
