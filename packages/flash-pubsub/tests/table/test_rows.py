"""The rows of a table, and what has changed since an earlier position."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_pages import PageTable

from flash_pubsub.broker.backplane import PREFIX
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.seam import values_kept
from flash_pubsub.errors import UnsupportedEnvelope
from flash_pubsub.table.changes import Changes, channel_of, rows_of, split
from flash_pubsub.table.columns import table_settings
from flash_pubsub.table.parts import MAX_PART_BYTES, Parts
from flash_pubsub.table.rows import Rows
from flash_ws.protocol.position import Position

SETTINGS = table_settings("id", ["id", "v"], max_rows=1000, max_row_bytes=100_000)


def row(key, value):
    return key, json.dumps([key, value]).encode()


def begun(max_rows=1000, **values):
    rows = Rows(max_rows)
    rows.begin(Position("e", 0), dict(row(key, value) for key, value in values.items()))
    return rows


def texts(rows):
    return [json.loads(each.text) for each in rows]


def all_of(rows, **options):
    return Parts("t", rows, SETTINGS, None, **options)


def since(rows, position, **options):
    return Parts("t", rows, SETTINGS, rows.since(position.number), **options)


def test_a_written_row_keeps_its_place_and_a_new_one_comes_last():
    rows = begun(a=1, b=2)
    rows.apply(1, Changes(rows=(row("a", 10), row("c", 3))))
    assert texts(rows) == [["a", 10], ["b", 2], ["c", 3]]


def test_a_row_that_is_removed_and_inserted_again_comes_last():
    rows = begun(a=1, b=2)
    rows.apply(1, Changes(removed=("a", "none")))
    rows.apply(2, Changes(rows=(row("a", 3),)))
    assert texts(rows) == [["b", 2], ["a", 3]]
    assert len(rows) == 2


def test_what_has_changed_names_each_row_once():
    rows = begun(a=1, b=2, c=3)
    rows.apply(1, Changes(rows=(row("a", 2), row("d", 1))))
    rows.apply(2, Changes(rows=(row("a", 3), row("d", 2), row("e", 1)), removed=("b",)))
    found = rows.since(0)
    assert (found.updated, found.added, found.removed) == (("a",), ("d", "e"), ("b",))
    assert rows.since(1).added == ("e",)
    assert rows.since(2) == type(found)((), (), ())


def test_rows_count_what_was_applied_from_those_before_on():
    rows = begun(max_rows=10, a=1)
    assert (rows.changes, rows.dropped) == (0, 0)
    rows.apply(1, Changes(rows=(row("b", 1), row("c", 1)), removed=("a", "none")))
    rows.apply(2, Changes(rows=tuple(row(f"k{n}", 1) for n in range(9))))
    assert (rows.changes, rows.dropped) == (13, 2)
    again = Rows(10, counted=rows)
    again.apply(1, Changes(rows=(row("a", 1),)))
    assert (again.changes, again.dropped) == (14, 2)


def test_rows_are_found_by_key_and_the_first_ones_by_number():
    rows = begun(a=1, b=2, c=3)
    assert rows.first(2) == ("a", "b")
    assert "a" in rows
    assert "d" not in rows
    assert rows.get("b").text == '["b", 2]'
    assert rows.get("d") is None


def test_what_was_known_before_is_forgotten_at_a_new_beginning():
    rows = begun(a=1)
    rows.apply(1, Changes(removed=("a",)))
    rows.begin(Position("f", 5), dict([row("b", 1)]))
    assert texts(rows) == [["b", 1]]
    assert not rows.covers(Position("f", 4))
    assert rows.covers(Position("f", 5))
    assert rows.since(5) == rows.since(6)
    rows.apply(6, Changes(rows=(row("b", 2),)))
    assert rows.since(5).updated == ("b",)
    assert rows.since(5).removed == ()


def test_over_its_bound_a_table_drops_the_rows_that_were_inserted_first():
    rows = begun(max_rows=10)
    rows.apply(1, Changes(rows=tuple(row(f"k{n}", n) for n in range(10))))
    rows.apply(2, Changes(rows=(row("k0", 100),)))
    assert len(rows) == 10
    rows.apply(3, Changes(rows=(row("new", 1),)))
    assert len(rows) == values_kept(10) == 9
    assert [each.key for each in rows] == [f"k{n}" for n in range(2, 10)] + ["new"]
    assert rows.dropped == 2
    assert rows.since(2).removed == ("k0", "k1")


def test_what_was_removed_is_remembered_up_to_a_bound():
    rows = begun(max_rows=3)
    start = rows.position
    for n in range(10):
        rows.apply(2 * n + 1, Changes(rows=(row(f"k{n}", n),)))
        rows.apply(2 * n + 2, Changes(removed=(f"k{n}",)))
    assert not rows.covers(start)
    assert rows.covers(rows.position)
    assert not rows.covers(Position("other", 20))
    assert not rows.covers(Position("e", 21))


def test_frames_are_bounded_and_the_last_one_has_the_position():
    rows = begun()
    rows.apply(1, Changes(rows=tuple(row(f"k{n}", "x" * 500) for n in range(500))))
    page = PageTable()
    parts = all_of(rows)
    assert page.take_all(parts) > 3
    frames = [parts.frame(index) for index in range(3)]
    assert all(frame.size < MAX_PART_BYTES + 2000 for frame in frames)
    assert json.loads(frames[0].text)["first"] is True
    assert json.loads(frames[0].text)["columns"] == ["id", "v"]
    assert not any("n" in json.loads(frame.text) for frame in frames)
    assert page.as_lists() == texts(rows)
    assert page.position == rows.position


@pytest.mark.parametrize(("room", "frames"), [(9, 1), (8, 2), (1, 2)])
def test_a_frame_with_room_left_is_the_last_one(room, frames):
    rows, page = begun(a=1), PageTable()
    (text,) = [each.text for each in rows]
    assert len(text) == 8
    parts = all_of(rows, max_bytes=room)
    assert page.take_all(parts) == frames
    assert parts.frame(frames) is None
    assert json.loads(parts.frame(0).text)["table"] == "t"


def test_an_empty_table_is_one_frame():
    page = PageTable()
    page.rows = {"left": ["left", 1]}
    assert page.take_all(all_of(begun())) == 1
    assert page.rows == {}
    assert page.position == Position("e", 0)


def test_frames_count_bytes_and_not_letters():
    rows = begun()
    rows.apply(1, Changes(rows=(row("é", 1), ("ü", '["ü","😀"]'.encode()))))
    frame = all_of(rows).frame(0)
    assert frame.size == len(frame.text.encode())


keys = st.sampled_from([f"k{n}" for n in range(8)])
steps = st.lists(
    st.tuples(
        st.lists(keys, max_size=4, unique=True), st.lists(keys, max_size=2), st.integers(0, 3)
    ),
    max_size=30,
)


@given(steps, st.integers(4, 12), st.randoms())
def test_pages_that_come_at_any_time_and_lag_by_anything_end_equal(steps, most, rng):
    """Frames are made while the table goes on, and each page takes them at its own pace."""
    rows = begun(max_rows=most)
    rng = random.Random(rng.random())
    pages = [[PageTable(), None, 0] for _ in range(4)]

    def go_on(page):
        """Let a page take one more frame."""
        table, parts, index = page
        if parts is None:
            known = table.position
            if known is not None and known.number == rows.position.number:
                return False
            covered = known is not None and rows.covers(known)
            parts = since(rows, known, max_bytes=20) if covered else all_of(rows, max_bytes=20)
            index = 0
        frame = parts.frame(index)
        if frame is None:
            page[1] = None
        else:
            table.take(json.loads(frame.text))
            page[1:] = [parts, index + 1]
        return True

    for number, (written, removed, turns) in enumerate(steps, start=1):
        gone = tuple(dict.fromkeys(key for key in removed if key not in written))
        changes = Changes(tuple(row(key, number) for key in written), gone)
        rows.apply(number, changes)
        for _ in range(turns):
            go_on(rng.choice(pages))
    for page in pages:
        while go_on(page):
            pass
    for table, _, _ in pages:
        assert table.as_lists() == texts(rows)


@given(steps, st.integers(1, 12))
def test_a_replica_from_a_snapshot_equals_one_from_the_start(steps, most):
    """What a broker keeps by its rule is what the rows are, in the same order."""
    rows, snapshot = begun(max_rows=most), {}
    for number, (written, removed, _) in enumerate(steps, start=1):
        gone = tuple(dict.fromkeys(key for key in removed if key not in written))
        changes = Changes(tuple(row(key, number) for key in written), gone)
        rows.apply(number, changes)
        for name, value in changes.values().items():
            snapshot.update({name: value})
            if value is None:
                del snapshot[name]
        if len(snapshot) > most:
            while len(snapshot) > values_kept(most):
                del snapshot[next(iter(snapshot))]
    late = Rows(most)
    late.begin(rows.position, rows_of(snapshot))
    assert texts(late) == texts(rows)


def test_changes_are_split_by_bytes_and_keys_and_read_back():
    given_rows = dict(row(f"k{n}", "x" * 1000) for n in range(600))
    parts = list(split(given_rows, [f"r{n}" for n in range(1500)]))
    assert [len(each.removed) for each in parts[:2]] == [1000, 500]
    assert len(parts) > 4
    assert all(len(each.pack()) < 300_000 for each in parts)
    read = [Changes.unpack(each.pack()) for each in parts]
    assert read == parts
    assert dict(pair for each in read for pair in each.rows) == given_rows
    values = read[-1].values()
    assert rows_of(values) == dict(read[-1].rows)


def test_changes_are_as_large_as_they_may_be():
    # Each row has 4 KiB with its key, and 64 of them have 256 KiB.
    large = {f"{n:03x}": b"x" * (4096 - 3) for n in range(65)}
    assert [len(each.rows) for each in split(large)] == [64, 1]
    small = {f"{n}": b"1" for n in range(1001)}
    assert [len(each.rows) for each in split(small)] == [1000, 1]
    assert list(split({})) == []
    # A row is never divided, however long it is.
    longer = {"a": b"x" * (300 << 10), "b": b"1"}
    assert [len(each.rows) for each in split(longer)] == [1, 1]


def test_what_is_no_change_of_a_table_is_refused():
    good = Envelope.unpack(Changes(rows=(row("a", 1),), removed=("b",)).pack())
    assert (good.kind, good.body, good.extras["r"]) == ("rows", b"", ["b"])
    for kind, extras in [
        ("other", good.extras),
        ("rows", {"u": good.extras["u"]}),
        ("rows", {"r": []}),
        ("rows", {"u": "ab", "r": []}),
        ("rows", {"u": [], "r": "ab"}),
    ]:
        with pytest.raises(UnsupportedEnvelope, match="it is no change of a table"):
            Changes.unpack(Envelope(kind, b"", extras=extras).pack())


def test_the_snapshot_has_each_row_after_a_sign_of_its_own():
    changes = Changes(rows=(("a", b"[1]"),), removed=("b",))
    assert changes.values() == {"=a": b"[1]", "=b": None}
    assert rows_of({"=a": b"[1]", "other": b"2", "==": b"3"}) == {"a": b"[1]", "=": b"3"}
    assert channel_of("orders") == f"{PREFIX}table:orders"
