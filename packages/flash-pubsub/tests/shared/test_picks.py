"""Merging lists in which several people pick at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash_pubsub.shared.picks import Pick, items_of, merged

lists = st.lists(st.integers(0, 6), unique=True)


@pytest.mark.parametrize(
    ("current", "picks", "expected"),
    [
        ("a", [("a", "ab")], "ab"),
        ("a", [("a", "ab"), ("a", "ac")], "abc"),
        ("ab", [("a", "ac")], "abc"),
        # A removal and a pick.
        ("abc", [("abc", "bc"), ("abc", "abcd")], "bcd"),
        # A removal from a list that has grown meanwhile.
        ("abcd", [("abc", "bc")], "bcd"),
        # What both remove or both add counts once.
        ("abc", [("abc", "ab"), ("abc", "ab")], "ab"),
        ("a", [("a", "ab"), ("a", "ab")], "ab"),
        # The order of the page, where nothing else has changed.
        ("ab", [("ab", "cab")], "cab"),
        ("", [("", "b")], "b"),
        ("a", [], "a"),
    ],
)
def test_11_19_what_each_adds_and_removes_counts(current, picks, expected):
    changes = [Pick(tuple(before), tuple(after)) for before, after in picks]
    assert merged(tuple(current), changes) == list(expected)


@given(lists, lists, lists)
def test_11_19_a_change_that_is_merged_twice_counts_once(current, before, after):
    pick = Pick(tuple(before), tuple(after))
    once = merged(tuple(current), [pick])
    assert sorted(merged(tuple(once), [pick])) == sorted(once)
    assert len(set(once)) == len(once)


def test_11_19_one_and_true_are_different_picks():
    assert merged((1,), [Pick((1, True), (1,)), Pick((), (True,))]) == [1, True]


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (None, ()),
        (["a", 1, True, 1.5], ("a", 1, True, 1.5)),
        ("a", None),
        ([["a"]], None),
        ([{}], None),
        ([None], None),
        (["a", "a"], None),
        ({"a": 1}, None),
    ],
)
def test_11_19_lists_of_distinct_texts_and_numbers_are_picks(value, items):
    assert items_of(value) == items
