"""Joining what many messages change: as little as possible, and nothing of it lost."""

import json

import pytest
from dash import Patch
from hypothesis import given
from hypothesis import strategies as st

from flash_pubsub.channels.joining import changes_of, entries_of, joined
from flash_ws.protocol.frames import props_message


def join(*messages, latest=None):
    """What a page is told of messages, each a list of ids with properties."""
    changes = [change for each in messages for change in changes_of(props_message(each).members)]
    return [json.loads(each) for each in entries_of(joined(changes), latest or {})[0]]


def points(x, y, *where):
    return ("tape", {"extendData": [{"x": [[x]], "y": [[y]]}, *where]})


def test_points_of_the_same_traces_become_one_value():
    assert join(
        [points(1, 10, [0], 500)], [points(2, 20, [0], 500)], [points(3, 30, [0], 500)]
    ) == [["tape", {"extendData": [{"x": [[1, 2, 3]], "y": [[10, 20, 30]]}, [0], 500]}]]


def test_points_beyond_the_limit_of_a_trace_are_left_out():
    told = join(*([points(n, n, [0], 2)] for n in range(5)))
    assert told == [["tape", {"extendData": [{"x": [[3, 4]], "y": [[3, 4]]}, [0], 2]}]]
    before = [("tape", {"prependData": [{"y": [[n]]}, [0], 2]}) for n in range(5)]
    assert join(*([each] for each in before)) == [
        ["tape", {"prependData": [{"y": [[4, 3]]}, [0], 2]}]
    ]


def test_points_without_traces_are_joined_too():
    told = join(*([("tape", {"extendData": {"y": [[n], [-n]]}})] for n in range(3)))
    assert told == [["tape", {"extendData": {"y": [[0, 1, 2], [0, -1, -2]]}}]]


@pytest.mark.parametrize(
    "other",
    [
        [{"x": [[2]], "y": [[2]]}, [1], 500],
        [{"x": [[2]], "y": [[2]]}, [0], 100],
        [{"y": [[2]]}, [0], 500],
        [{"x": [[2], [2]], "y": [[2], [2]]}, [0], 500],
        {"x": [[2]], "y": [[2]]},
        # A typed array, and what is no value of this property.
        [{"x": [{"dtype": "f8", "bdata": "AAAAAAAA8D8="}], "y": [[2]]}, [0], 500],
        "points",
    ],
)
def test_points_that_do_not_fit_together_stay_apart_and_in_order(other):
    first, last = points(1, 1, [0], 500), points(3, 3, [0], 500)
    told = join([first], [("tape", {"extendData": other})], [last])
    assert told == [
        list(first),
        ["tape", {"extendData": other}],
        list(last),
    ]


def test_of_values_set_in_full_the_newest_counts():
    assert join([("last", {"children": 1, "title": "a"})], [("last", {"children": 2})]) == [
        ["last", {"title": "a"}],
        ["last", {"children": 2}],
    ]


def test_a_title_with_each_point_does_not_keep_the_points_apart():
    messages = [[points(n, n, [0], 9), ("tape", {"title": f"{n}"})] for n in range(3)]
    assert join(*messages) == [
        ["tape", {"extendData": [{"x": [[0, 1, 2]], "y": [[0, 1, 2]]}, [0], 9]}],
        ["tape", {"title": "2"}],
    ]


def test_a_figure_stays_between_the_points_before_and_after_it():
    figure = ("tape", {"figure": {"data": []}})
    told = join([points(1, 1)], [figure], [points(2, 2)], [points(3, 3)])
    assert told == [
        ["tape", {"extendData": [{"x": [[1]], "y": [[1]]}]}],
        ["tape", {"figure": {"data": []}}],
        ["tape", {"extendData": [{"x": [[2, 3]], "y": [[2, 3]]}]}],
    ]


def test_patches_are_joined_and_those_before_a_whole_value_dropped():
    def patch(n):
        change = Patch()
        change["data"].append(n)
        return [("log", {"children": change})]

    (told,) = join(patch(1), patch(2))
    operations = told[1]["children"]["operations"]
    assert [each["params"]["value"] for each in operations] == [1, 2]
    told = join(patch(1), [("log", {"children": []})], patch(2), patch(3))
    assert told[0] == ["log", {"children": []}]
    assert len(told) == 2
    assert len(told[1][1]["children"]["operations"]) == 2


def test_row_transactions_of_one_kind_are_joined():
    def rows(**transaction):
        return [("grid", {"rowTransaction": transaction})]

    assert join(rows(add=[1]), rows(add=[2, 3]), rows(update=[4]), rows(add=[5], addIndex=0)) == [
        ["grid", {"rowTransaction": {"add": [1, 2, 3]}}],
        ["grid", {"rowTransaction": {"update": [4]}}],
        ["grid", {"rowTransaction": {"add": [5], "addIndex": 0}}],
    ]


def test_ids_may_be_dictionaries_and_values_are_not_modified():
    component = {"type": "tape", "desk": "é"}
    changes = [
        change
        for n in range(2)
        for change in changes_of(
            props_message([(component, {"extendData": [{"y": [[n]]}, [0]]})]).members
        )
    ]
    for _ in range(2):
        assert [json.loads(each) for each in entries_of(joined(changes), {})[0]] == [
            [component, {"extendData": [{"y": [[0, 1]]}, [0]]}]
        ]


def test_a_value_that_another_callback_has_set_since_replaces_the_one_joined():
    told = join([("last", {"children": 1})], latest={('"last"', '"children"'): "2"})
    assert told == [["last", {"children": 2}]]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.integers(0, 1), st.integers(0, 9)),
        st.tuples(st.just("figure"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("title"), st.integers(0, 9), st.just(0)),
    ),
    max_size=30,
)


def _message(kind, first, second):
    if kind == "extend":
        return [("tape", {"extendData": [{"y": [[second]]}, [first], 4]})]
    if kind == "figure":
        return [("tape", {"figure": {"data": [{"y": [first]}, {"y": []}]}})]
    return [("tape", {"title": first})]


def _draw(entries):
    traces, title = [[], []], None
    for _, props in entries:
        for name, value in props.items():
            if name == "figure":
                traces = [list(each["y"]) for each in value["data"]]
            elif name == "title":
                title = value
            else:
                new, where, most = value
                for trace, more in zip(where, new["y"], strict=True):
                    traces[trace] = (traces[trace] + more)[-most:]
    return traces, title


@given(STEPS)
def test_a_page_draws_the_same_from_joined_messages_as_from_each_of_them(steps):
    messages = [_message(*each) for each in steps]
    alone = [update for each in messages for update in each]
    assert _draw(join(*messages)) == _draw(alone)


@given(STEPS, st.integers(0, 30), st.integers(0, 30))
def test_what_was_joined_before_is_joined_again(steps, first, second):
    messages = [_message(*each) for each in steps]
    changes = [change for each in messages for change in changes_of(props_message(each).members)]
    parts = [changes[:first], changes[first : first + second], changes[first + second :]]
    again = joined(change for part in parts for change in joined(part))
    assert again == joined(changes)
