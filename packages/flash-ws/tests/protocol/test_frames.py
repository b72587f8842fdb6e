import json
import pickle

import pytest
from dash import ALL, MATCH, Patch

from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import LinkClosed, ProtocolError
from flash_ws.protocol.frames import (
    MAX_FRAMES,
    Frame,
    Hello,
    call_message,
    connection_frame,
    event_message,
    parse_hello,
    parse_message,
    parse_positions,
    props_message,
    reset_frame,
    snapshot_frame,
)
from flash_ws.protocol.position import Position


def on_the_wire(message, channel="c", number=1):
    return json.loads(message.numbered(channel, number).text)


# -- what the server sends


def test_a_numbered_frame_carries_its_channel_and_its_number():
    frame = event_message("tick", {"price": 1}).numbered("page:é", 7)
    assert json.loads(frame.text) == {
        "c": "page:é",
        "n": 7,
        "t": "event",
        "name": "tick",
        "data": {"price": 1},
    }
    assert (frame.channel, frame.number) == ("page:é", 7)
    assert not frame.starts_epoch


def test_a_frame_is_as_large_as_its_text_in_utf_8():
    frames = [
        event_message("é", "ß€").numbered("ü", 1),
        snapshot_frame("ü", 1, '[["ä",{"children":"€"}]]'),
        reset_frame("ü", Position("é", 1), '[["ä",{"children":"€"}]]'),
        connection_frame("bye", reason="€"),
    ]
    for frame in frames:
        assert frame.size == len(frame.text.encode()) > len(frame.text)


def test_properties_go_out_by_component_in_the_order_given():
    message = props_message([("a", {"children": 1, "title": "x"}), ("b", {"value": None})])
    assert on_the_wire(message) == {
        "c": "c",
        "n": 1,
        "t": "props",
        "u": [["a", {"children": 1, "title": "x"}], ["b", {"value": None}]],
    }


def test_what_a_frame_sets_is_known_by_component_and_property():
    frame = props_message([("a", {"children": 1, "title": 2}), ("b", {"value": 3})]).numbered(
        "c", 1
    )
    assert frame.sets == {("a", "children"), ("a", "title"), ("b", "value")}
    assert frame.touches == frozenset()


def test_ids_of_a_pattern_are_the_same_property_whatever_the_order_of_their_keys():
    one = props_message([({"type": "t", "index": 1}, {"value": 1})])
    other = props_message([({"index": 1, "type": "t"}, {"value": 2})])
    assert one.sets == other.sets
    assert on_the_wire(one)["u"] == [[{"type": "t", "index": 1}, {"value": 1}]]


@pytest.mark.parametrize(
    ("prop", "value"),
    [
        ("figure", Patch()),
        ("extendData", [{}]),
        ("prependData", [{}]),
        ("rowTransaction", {}),
        ("rowTransactionAsync", {}),
    ],
)
def test_a_frame_with_one_change_that_builds_on_a_value_replaces_nothing(prop, value):
    message = props_message([("a", {"title": 1, prop: value, "children": 2})])
    assert message.sets == frozenset()
    assert message.touches == {("a", "title"), ("a", prop), ("a", "children")}
    assert message.numbered("c", 1).touches == message.touches
    # Of the values, that one alone is unknown.
    assert message.values == (
        ('"a"', '"title"', "1"),
        ('"a"', f'"{prop}"', None),
        ('"a"', '"children"', "2"),
    )


def test_properties_that_a_call_sets_name_the_call():
    assert on_the_wire(props_message([("a", {"value": 1})], call=7))["call"] == 7


@pytest.mark.parametrize(
    ("component_id", "remedy"),
    [
        ("", "an id is a text of at least one character"),
        ({}, "an id is a text, or a dictionary with at least one entry"),
        (None, "an id is a text, or a dictionary with at least one entry"),
        (
            {"type": MATCH, "index": ALL},
            f"{MATCH} is for callbacks; push to each id with values in its place",
        ),
    ],
)
def test_what_is_the_id_of_no_component_is_refused(component_id, remedy):
    with pytest.raises(ValueError, match=r"^cannot push") as refused:
        props_message([(component_id, {"value": 1})])
    assert str(refused.value) == f"cannot push to the component {component_id!r}: {remedy}"


def test_a_value_without_a_json_form_is_an_error_of_the_caller():
    with pytest.raises(TypeError):
        props_message([("a", {"children": object()})])


def test_a_snapshot_says_where_it_stands():
    frame = snapshot_frame("all", 5, '[["a",{"children":1}]]')
    assert json.loads(frame.text) == {
        "t": "snapshot",
        "c": "all",
        "n": 5,
        "u": [["a", {"children": 1}]],
    }
    assert (frame.channel, frame.number, frame.starts_epoch) == ("all", 5, False)


def test_a_snapshot_may_say_that_something_is_missing():
    frame = snapshot_frame("all", 5, "[]", recovered=False)
    assert json.loads(frame.text) == {
        "t": "snapshot",
        "c": "all",
        "n": 5,
        "recovered": False,
        "u": [],
    }


def test_a_reset_begins_an_epoch_and_says_that_something_is_lost():
    frame = reset_frame("all", Position("e", 5), '[["a",{"children":1}]]')
    assert json.loads(frame.text) == {
        "t": "snapshot",
        "c": "all",
        "e": "e",
        "n": 5,
        "recovered": False,
        "u": [["a", {"children": 1}]],
    }
    assert (frame.channel, frame.number, frame.starts_epoch) == ("all", 5, True)


def test_a_call_is_answered_with_its_state_and_whatever_belongs_to_it():
    assert on_the_wire(call_message(3, "done")) == {
        "c": "c",
        "n": 1,
        "t": "call",
        "id": 3,
        "state": "done",
    }
    failed = on_the_wire(call_message(4, "failed", message='no "x"', retry=False))
    assert failed["message"] == 'no "x"'
    assert failed["retry"] is False


def test_a_frame_of_one_connection_has_neither_channel_nor_number():
    frame = connection_frame("welcome", heartbeat=25)
    assert json.loads(frame.text) == {"t": "welcome", "heartbeat": 25}
    assert (frame.channel, frame.number) == (None, 0)
    assert (frame.sets, frame.touches, frame.starts_epoch) == (frozenset(), frozenset(), False)


def test_frames_of_the_same_text_are_equal():
    assert event_message("a", 1).numbered("c", 1) == event_message("a", 1).numbered("c", 1)
    assert event_message("a", 1).numbered("c", 1) != event_message("a", 1).numbered("c", 2)


# -- what pages send


def refusal(text):
    with pytest.raises(ProtocolError) as refused:
        parse_message(text)
    return refused.value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nul", "['a']", "\ud800"])
def test_a_message_that_is_no_json_is_malformed(text):
    assert refusal(text).code is CloseCode.MALFORMED
    assert refusal(text).reason == "the message is not JSON"


@pytest.mark.parametrize("text", ["{}", '{"t":"beat"}', '"t"', "1", "null", "true"])
def test_a_message_that_is_no_list_is_malformed(text):
    assert refusal(text).code is CloseCode.MALFORMED
    assert refusal(text).reason == "the message is not a list"


@pytest.mark.parametrize(
    "frame", ["1", "[]", "null", '"beat"', "{}", '{"t":1}', '{"t":null}', '{"T":"x"}']
)
def test_a_frame_without_a_kind_is_malformed_wherever_it_stands(frame):
    for text in (f"[{frame}]", f'[{{"t":"beat"}},{frame}]', f'[{frame},{{"t":"beat"}}]'):
        assert refusal(text).code is CloseCode.MALFORMED
        assert refusal(text).reason == "a frame is no object with a string 't'"


def test_frames_come_out_as_they_went_in():
    assert parse_message('[{"t":"a","x":[1]},{"t":"b"}]') == [{"t": "a", "x": [1]}, {"t": "b"}]
    assert parse_message("[]") == []


def test_as_many_frames_as_allowed_are_read_and_one_more_is_too_fast():
    frames = [{"t": "beat"}] * MAX_FRAMES
    assert len(parse_message(json.dumps(frames))) == MAX_FRAMES
    error = refusal(json.dumps([*frames, {"t": "beat"}]))
    assert error.code is CloseCode.TOO_FAST
    assert error.reason == f"more than {MAX_FRAMES} frames in a message"


def test_a_hello_is_read_whole():
    hello = parse_hello(
        {"t": "hello", "v": 1, "page": "token", "path": "/orders", "at": {"all": ["e", 3]}}
    )
    assert hello == Hello("token", {"all": ("e", 3)}, "/orders", False, None)


def test_a_hello_says_which_load_of_the_page_it_is_and_whether_it_is_new():
    hello = parse_hello({"t": "hello", "v": 1, "at": {"all": ["e", 3]}, "load": "x7", "new": True})
    assert (hello.load, hello.is_new) == ("x7", True)
    assert not parse_hello({"t": "hello", "v": 1, "new": False}).is_new


def test_a_page_on_its_first_visit_has_nothing_to_say():
    assert parse_hello({"t": "hello", "v": 1}) == Hello(None, {}, "", True, None)
    assert parse_hello({"t": "hello", "v": 1, "page": None}).token is None


OTHER_VERSION = "this server speaks version 1; reload the page"


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"t": "beat"}, CloseCode.MALFORMED, "the first frame is not 'hello'"),
        ({"t": "HELLO"}, CloseCode.MALFORMED, "the first frame is not 'hello'"),
        ({"v": 2}, CloseCode.UNSUPPORTED_VERSION, OTHER_VERSION),
        (
            {"v": "1"},
            CloseCode.UNSUPPORTED_VERSION,
            OTHER_VERSION,
        ),
        (
            {"v": None},
            CloseCode.UNSUPPORTED_VERSION,
            OTHER_VERSION,
        ),
        ({"page": 1}, CloseCode.MALFORMED, "'hello' has a member of the wrong type"),
        ({"path": 1}, CloseCode.MALFORMED, "'hello' has a member of the wrong type"),
        ({"path": None}, CloseCode.MALFORMED, "'hello' has a member of the wrong type"),
        ({"at": []}, CloseCode.MALFORMED, "'at' is no map of [epoch, number]"),
        ({"at": None}, CloseCode.MALFORMED, "'at' is no map of [epoch, number]"),
        ({"at": {"all": []}}, CloseCode.MALFORMED, "'at' is no map of [epoch, number]"),
    ],
)
def test_another_hello_is_refused_and_the_reason_says_why(change, code, reason):
    good = {"t": "hello", "v": 1, "page": "token", "path": "/", "at": {}}
    with pytest.raises(ProtocolError) as refused:
        parse_hello({**good, **change})
    assert (refused.value.code, refused.value.reason) == (code, reason)


@pytest.mark.parametrize("missing", ["t", "v"])
def test_a_hello_has_a_kind_and_a_version(missing):
    frame = {"t": "hello", "v": 1}
    del frame[missing]
    with pytest.raises(ProtocolError):
        parse_hello(frame)


@pytest.mark.parametrize(
    "position", [None, "e", 3, [], ["e"], ["e", "3"], [3, "e"], ["e", 3, 3], ["e", 3.5], {"e": 3}]
)
def test_a_position_is_an_epoch_and_a_number(position):
    with pytest.raises(ProtocolError) as refused:
        parse_positions({"one": ["e", 1], "other": position}, 10)
    assert refused.value.code is CloseCode.MALFORMED
    assert refused.value.reason == "'at' is no map of [epoch, number]"


def test_of_positions_only_the_first_so_many_are_read():
    at = {f"c{number}": ["e", number] for number in range(5)}
    assert list(parse_positions(at, 3)) == ["c0", "c1", "c2"]
    assert list(parse_positions(at, 5)) == list(at)
    hello = {"t": "hello", "v": 1, "at": {f"c{number}": ["e", 0] for number in range(1001)}}
    assert len(parse_hello(hello).positions) == 1000
    assert len(parse_hello(hello, max_channels=2).positions) == 2


# -- what ends a link


def test_an_error_of_the_link_says_its_reason_and_its_code():
    error = LinkClosed(CloseCode.KICKED, "signed out")
    assert (error.code, error.reason) == (CloseCode.KICKED, "signed out")
    assert str(error) == "signed out (close code 4430)"
    # Logs of tasks that nobody awaits show this form.
    assert repr(error) == f"LinkClosed({CloseCode.KICKED!r}, 'signed out')"


def test_an_error_of_the_link_can_be_sent_to_another_process():
    copied = pickle.loads(pickle.dumps(ProtocolError(CloseCode.TOO_FAST, "1025 frames")))
    assert type(copied) is ProtocolError
    assert (copied.code, copied.reason) == (CloseCode.TOO_FAST, "1025 frames")


def test_without_a_reason_of_its_own_an_error_says_what_its_code_means():
    assert LinkClosed(CloseCode.KICKED).reason == "disconnected by the application"
    assert str(LinkClosed(CloseCode.SILENT)) == (
        "nothing was heard for longer than two heartbeats (close code 4508)"
    )


def test_a_frame_is_not_changed_once_it_is_made():
    with pytest.raises(AttributeError):
        connection_frame("beat").text = "other"
    assert Frame("x", 1) == Frame("x", 1, None, 0)
