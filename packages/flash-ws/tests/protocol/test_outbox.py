import json

from hypothesis import given
from hypothesis import strategies as st

from flash_ws.protocol.frames import Frame
from flash_ws.protocol.outbox import Outbox, OutboxStatistics


def raw(text, sets=(), touches=()):
    return Frame(text, len(text), sets=frozenset(sets), touches=frozenset(touches))


def frame(*pairs):
    text = json.dumps({"t": "props", "u": [[key, value] for key, value in pairs]})
    return raw(text, sets=[key for key, _ in pairs])


def sent(outbox):
    frames = []
    while (message := outbox.take()) is not None:
        frames.extend(json.loads(message))
    return frames


def test_frames_leave_in_the_order_they_came():
    outbox = Outbox()
    for number in range(5):
        assert outbox.add(raw(str(number)))
    assert sent(outbox) == [0, 1, 2, 3, 4]


def test_a_later_value_of_a_property_replaces_the_one_still_waiting():
    outbox = Outbox()
    outbox.add(frame(("a", 1)))
    outbox.add(frame(("b", 1)))
    outbox.add(frame(("a", 2)))
    assert [f["u"] for f in sent(outbox)] == [[["b", 1]], [["a", 2]]]
    assert outbox.statistics().conflated == 1


def test_a_frame_stays_until_everything_it_sets_is_set_again():
    outbox = Outbox()
    outbox.add(frame(("a", 1), ("b", 1)))
    outbox.add(frame(("a", 2)))
    assert outbox.statistics().frames_waiting == 2
    outbox.add(frame(("b", 2)))
    assert [f["u"] for f in sent(outbox)] == [[["a", 2]], [["b", 2]]]


def test_events_are_never_left_out():
    outbox = Outbox()
    for number in range(100):
        outbox.add(raw(str(number)))
    assert len(sent(outbox)) == 100


def test_a_patch_keeps_the_value_it_builds_on():
    outbox = Outbox()
    outbox.add(frame(("a", [])))
    outbox.add(raw('"patch a"', touches=["a"]))
    outbox.add(frame(("a", [9])))
    assert len(sent(outbox)) == 3


def test_a_frame_on_its_way_is_not_replaced():
    outbox = Outbox()
    outbox.add(frame(("a", 1)))
    outbox.take()
    outbox.add(frame(("a", 2)))
    assert [f["u"] for f in sent(outbox)] == [[["a", 2]]]
    assert outbox.statistics().conflated == 0


def test_one_frame_too_many_is_refused():
    outbox = Outbox(max_bytes=10)
    assert outbox.add(raw("12345"))
    assert not outbox.add(raw("123456"))
    assert outbox.add(raw("12345"))


def test_replacing_makes_room():
    outbox = Outbox(max_bytes=10)
    for _ in range(1000):
        assert outbox.add(raw("1234567890", sets=["a"]))
    assert outbox.statistics().bytes_waiting == 10


def test_what_fills_a_message_waits_for_nothing_more():
    outbox = Outbox(max_batch_bytes=4)
    outbox.add(raw("123"))
    assert not outbox.is_batch
    outbox.add(raw("4"))
    assert outbox.is_batch
    outbox.take()
    assert not outbox.is_batch


def test_a_frame_that_stays_behind_a_full_message_is_still_replaced():
    outbox = Outbox(max_batch_bytes=10)
    outbox.add(raw('"12345678"', sets=["a"]))
    outbox.add(raw('"b was 1"', sets=["b"]))
    assert outbox.take() == '["12345678"]'
    outbox.add(raw('"a is 2"', sets=["a"]))
    outbox.add(raw('"b is 2"', sets=["b"]))
    assert sent(outbox) == ["a is 2", "b is 2"]
    assert outbox.statistics().conflated == 1


def test_a_batch_ends_before_its_limit_but_one_large_frame_goes_alone():
    outbox = Outbox(max_batch_bytes=4)
    for each in ("123456", "12", "34", "56"):
        outbox.add(raw(each))
    assert [outbox.take() for _ in range(4)] == ["[123456]", "[12,34]", "[56]", None]


def test_what_has_been_sent_is_counted_by_frames_however_they_left():
    outbox = Outbox(max_batch_bytes=4)
    left = []
    for burst in (1, 1, 3, 5):
        for _ in range(burst):
            outbox.add(raw("12"))
        while outbox.take() is not None:
            left.append(outbox.statistics().sent)
    # One alone twice, then as many as fit into a message.
    assert left == [1, 2, 4, 5, 7, 9, 10]
    outbox = Outbox()
    for sent_so_far in (3, 6):
        for _ in range(3):
            outbox.add(raw("12"))
        outbox.take()
        assert outbox.statistics().sent == sent_so_far


def test_what_waits_and_what_was_left_out_is_counted_from_nothing():
    outbox = Outbox()
    assert outbox.statistics() == OutboxStatistics(0, 0, 0, 0)
    for value, waiting in ((1, 1), (2, 1), (3, 1)):
        outbox.add(frame(("a", value)))
        assert len(outbox) == outbox.statistics().frames_waiting == waiting
    assert outbox.statistics().conflated == 2
    outbox.add(raw("event"))
    assert len(outbox) == 2


def test_a_frame_that_is_larger_than_all_that_may_wait_is_sent():
    outbox = Outbox(max_bytes=10)
    assert outbox.add(raw("1"))
    assert outbox.add(raw("12345678901"))
    assert outbox.statistics().bytes_waiting == 6
    assert outbox.add(raw("1234"))
    assert not outbox.add(raw("1"))
    assert outbox.take() == "[1,12345678901,1234]"
    assert outbox.statistics().bytes_waiting == 0
    assert outbox.add(raw("12345678901"))
    assert outbox.add(raw("12345678901"))
    assert not outbox.add(raw("12345678901"))


def test_a_frame_that_is_larger_than_all_is_counted_alike_when_it_comes_and_when_it_is_replaced():
    outbox = Outbox(max_bytes=11)
    outbox.add(raw("1234567890ab", sets=["a"]))
    outbox.add(raw("1"))
    assert outbox.statistics().bytes_waiting == 6
    outbox.add(raw("2", sets=["a"]))
    assert outbox.statistics() == OutboxStatistics(2, 2, 0, 1)


def test_there_is_room_for_what_fits_until_half_of_what_may_wait_waits():
    outbox = Outbox(max_bytes=10)
    outbox.add(raw("12345"))
    assert outbox.has_room_for(raw("12345"))
    assert not outbox.has_room_for(raw("123456"))
    # It counts as half of it.
    assert outbox.has_room_for(raw("12345678901"))
    outbox.add(raw("6"))
    assert not outbox.has_room_for(raw("1"))


def test_somebody_who_can_wait_should_from_half_of_what_may_wait_on():
    outbox = Outbox(max_bytes=10)
    outbox.add(raw("12345"))
    assert not outbox.is_half_full
    outbox.add(raw("6"))
    assert outbox.is_half_full


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.sets(st.sampled_from("abc"), min_size=1)),
            st.tuples(st.just("patch"), st.sampled_from("abc")),
            st.tuples(st.just("take"), st.none()),
        ),
        max_size=60,
    )
)
def test_a_page_ends_with_the_state_it_would_have_had_without_conflation(steps):
    """Whatever is left out, what arrives builds the same values."""
    outbox = Outbox(max_batch_bytes=120)
    expected: dict[str, list[int]] = {}
    seen: dict[str, list[int]] = {}

    def receive(message):
        for op, keys, number in json.loads(message or "[]"):
            for key in keys:
                seen[key] = [number] if op == "set" else [*seen.get(key, []), number]

    for number, (op, what) in enumerate(steps):
        if op == "take":
            receive(outbox.take())
            continue
        keys = sorted(what)
        for key in keys:
            expected[key] = [number] if op == "set" else [*expected.get(key, []), number]
        text = json.dumps([op, keys, number])
        assert outbox.add(raw(text, **{"sets" if op == "set" else "touches": keys}))
    while (message := outbox.take()) is not None:
        receive(message)
    assert seen == expected
    assert outbox.statistics().bytes_waiting == 0
