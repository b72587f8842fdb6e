"""What a worker knows of the shared state, against what a store has when it comes back."""

from flash_pubsub.broker.seam import Snapshot
from flash_pubsub.shared.mirror import (
    RAN_PREFIX,
    StateMirror,
    change_time_name,
    name_of,
    with_restore_marks,
)
from flash_ws.protocol.position import Position

SLIDER, LAMP = name_of(("slider", "value")), name_of(("lamp", "title"))


def mirror(values=(), **bounds):
    made = StateMirror(**{"max_values": 100, "max_bytes": 1000, **bounds})
    for number, (name, value) in enumerate(dict(values).items(), start=1):
        made.set(name, value, number)
    return made


def lost(known, position, values, epoch="new", number=0):
    found = known.lost(position, Snapshot(Position(epoch, number), values))
    return {name: each.value for name, each in found.items()}


def test_the_newest_value_of_each_property_is_known_in_the_order_of_setting():
    known = mirror({SLIDER: b"1", LAMP: b"2", RAN_PREFIX + "cb": b"1"})
    known.set(SLIDER, b"3", 4)
    assert list(known.properties()) == [("lamp", "title", b"2"), ("slider", "value", b"3")]
    assert known.get(SLIDER) == b"3"
    assert RAN_PREFIX + "cb" in known
    assert known.get("x\ty") is None


def test_what_was_set_longest_ago_goes_beyond_the_bounds():
    known = mirror({f"c{n}\tx": b"v" for n in range(5)}, max_values=3)
    assert [component for component, _, _ in known.properties()] == ["c2", "c3", "c4"]
    known = mirror({f"c{n}\tx": b"v" * 40 for n in range(5)}, max_bytes=100)
    assert [component for component, _, _ in known.properties()] == ["c3", "c4"]


def test_all_is_lost_to_an_empty_store_and_nothing_to_one_that_goes_on():
    known = mirror({SLIDER: b"1", RAN_PREFIX + "cb": b"1"})
    assert lost(known, Position("old", 2), {}) == {SLIDER: b"1", RAN_PREFIX + "cb": b"1"}
    assert lost(known, Position("old", 2), {}, epoch="old") == {}


def test_what_the_store_has_counts_be_it_newer_or_of_an_older_copy():
    known = mirror({SLIDER: b"1", LAMP: b"2"})
    here = Position("old", 2)
    assert lost(known, here, {SLIDER: b"0"}) == {LAMP: b"2"}
    assert known.is_older(here, Snapshot(Position("new", 1), {SLIDER: b"0"}))


def test_what_somebody_put_back_who_knew_less_is_lost_and_what_was_set_since_is_not():
    known = mirror({SLIDER: b"1", LAMP: b"2", "a\tb": b"3"})
    # An epoch may hold the sign between the parts of a mark.
    here, behind, after = Position("old:1", 3), Position("old:1", 1), Position("new", 0)
    values = with_restore_marks(behind, after, {SLIDER: b"1", LAMP: b"0"})
    assert lost(known, here, {**values, "a\tb": b"9"}) == {LAMP: b"2"}
    assert known.is_older(here, Snapshot(after, {**values, "a\tb": b"9"}))
    assert not known.is_older(here, Snapshot(after, values))
    # Somebody who had followed as far, or something else, is believed.
    for other in (here, Position("older", 1)):
        assert lost(known, here, with_restore_marks(other, after, {SLIDER: b"1", LAMP: b"0"})) == {
            "a\tb": b"3"
        }


def test_a_snapshot_is_known_without_its_marks():
    known = mirror({SLIDER: b"1"})
    at = Position("old", 1)
    known.load(
        Snapshot(Position("new", 5), with_restore_marks(at, Position("new", 4), {LAMP: b"2"}))
    )
    assert list(known.properties()) == [("lamp", "title", b"2")]
    assert lost(known, Position("new", 5), {}, epoch="newest") == {LAMP: b"2"}


def test_sizes_are_counted_to_the_byte_and_again_after_a_value_is_replaced_or_all_are_removed():
    # A name of 3 and a value of 7 bytes each.
    known = mirror({"a\tx": b"v" * 7, "b\tx": b"v" * 7}, max_bytes=20)
    assert [component for component, _, _ in known.properties()] == ["a", "b"]
    for number in range(5):
        known.set("b\tx", b"w" * 7, 3 + number)
    assert [component for component, _, _ in known.properties()] == ["a", "b"]
    known.set("b\tx", b"w" * 8, 9)
    assert [component for component, _, _ in known.properties()] == ["b"]
    known.clear()
    assert list(known.properties()) == []
    known.set("a\tx", b"v" * 7, 1)
    known.set("b\tx", b"v" * 7, 2)
    assert [component for component, _, _ in known.properties()] == ["a", "b"]
    assert "a\tx" in known
    known.set("c\tx", b"v" * 7, 3)
    assert "a\tx" not in known


def test_what_others_wrote_into_the_snapshot_is_not_known():
    known = mirror()
    made = change_time_name(("slider", "value"))
    known.load(Snapshot(Position("new", 5), {"other": b"1", SLIDER: b"2", made: b"3"}))
    assert "other" not in known
    assert (known.get(SLIDER), known.get(made)) == (b"2", b"3")
    assert made == "@made:slider\nvalue"
    # They count as set by the last publication of the snapshot.
    here, after = Position("new", 9), Position("newer", 0)
    for behind, expected in ((4, {SLIDER, made}), (5, set())):
        values = with_restore_marks(Position("new", behind), after, {SLIDER: b"0", made: b"0"})
        assert set(lost(known, here, values, epoch="newer")) == expected


def test_only_what_is_between_the_marks_was_put_back():
    known = mirror({SLIDER: b"1", LAMP: b"2"})
    here, behind = Position("old", 3), Position("old", 0)
    marked = with_restore_marks(behind, Position("new", 0), {SLIDER: b"0"})
    # Before the first mark, and after the last one.
    for values in ({LAMP: b"9", **marked}, {**marked, LAMP: b"9"}):
        assert lost(known, here, values) == {SLIDER: b"1"}
        assert known.is_older(here, Snapshot(Position("new", 1), values))
    # A component may have the name of a mark.
    odd = "@back:1:1:old\tx"
    assert lost(known, here, {odd: b"", SLIDER: b"0", LAMP: b"9"}) == {}
