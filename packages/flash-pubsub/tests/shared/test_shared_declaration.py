"""What a shared callback may be, what a page may report of it, and what waits for its next run."""

from types import SimpleNamespace

import pytest

from flash import ALL, ConfigurationError, Input, Output, State
from flash_pubsub.shared.declaration import (
    Accepts,
    Change,
    PendingChanges,
    key_of,
    make_shared_callback,
)
from flash_pubsub.shared.picks import Pick
from flash_ws import CloseCode, ProtocolError


def lamp(*values):
    return values


OUT, IN, STATE = Output("lamp", "title"), Input("slider", "value"), State("note", "data")


def made(*dependencies, prevent_initial_call=False, function=lamp):
    return make_shared_callback(function, dependencies, prevent_initial_call=prevent_initial_call)


def test_a_callback_knows_its_properties_and_tells_the_page_of_them():
    callback = made([OUT], IN, [Input({"a": 1}, "value")], STATE)
    assert callback.function is lamp
    assert callback.label == "lamp"
    assert callback.inputs == (IN, Input({"a": 1}, "value"))
    assert callback.states == (STATE,)
    assert callback.input_keys == [("slider", "value"), ('{"a":1}', "value")]
    assert callback.output_keys == [("lamp", "title")]
    assert callback.page_config() == {
        "inputs": [["slider", "value"], [{"a": 1}, "value"]],
        "outputs": [["lamp", "title"]],
        "states": [["note", "data"]],
    }
    assert key_of({"b": 2, "a": 1}, "x") == ('{"a":1,"b":2}', "x")


def test_it_runs_initially_unless_that_is_prevented():
    assert made(OUT, IN).runs_initially
    assert not made(OUT, IN, prevent_initial_call=True).runs_initially


def test_its_name_is_the_same_everywhere_and_another_for_anything_else():
    name = made(OUT, IN).name
    assert made(OUT, IN).name == made([OUT], [IN]).name == name
    assert len(name) == 16

    def other(value):
        return value

    others = [
        made(OUT, IN, STATE),
        made(IN),
        made(OUT, Input("x", "y")),
        made(OUT, IN, function=other),
    ]
    assert len({name, *(each.name for each in others)}) == 5


@pytest.mark.parametrize(
    ("dependencies", "reason"),
    [
        ([OUT, "slider"], r"the shared callback 'lamp': 'slider' is no Output, Input or State"),
        ([IN, OUT], "the shared callback 'lamp': pass Outputs first, then Inputs, then States"),
        ([OUT, STATE, IN], "the shared callback 'lamp': pass Outputs first"),
        ([OUT], "the shared callback 'lamp' has no Input"),
        ([OUT, STATE], "the shared callback 'lamp' has no Input"),
        ([OUT, Input({"a": ALL}, "value")], "the shared callback 'lamp'"),
        ([Output({"a": ALL}, "value"), IN], "the shared callback 'lamp'"),
        ([[OUT, IN]], "the shared callback 'lamp': .* is no Output; pass Outputs only"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_name_of_the_function(dependencies, reason):
    with pytest.raises(ConfigurationError, match=reason):
        made(*dependencies)


# -- what a page reports

TWO = made(OUT, IN, Input("knob", "value"), STATE)


def frame(**fields):
    return {"k": 3, "v": [40, 50], "s": ["note"], "changed": [1], **fields}


def test_a_report_is_read_whole():
    change = Change.parse(frame(now=1000, at=[900]), TWO)
    assert (change.number, change.values, change.states) == (3, [40, 50], ["note"])
    assert (change.changed, change.made, change.sent) == (frozenset({1}), {1: 900}, 1000)
    change = Change.parse(frame(changed=[1, 0], now=1000, at=[900, 0]), TWO)
    assert (change.changed, change.made) == (frozenset({0, 1}), {1: 900, 0: 0})


def test_times_may_be_left_out_and_so_may_changes():
    for fields in ({}, {"at": [900]}):
        change = Change.parse(frame(**fields), TWO)
        assert (change.made, change.sent) == ({}, None)
    change = Change.parse(frame(k=0, changed=[], now=2**53), TWO)
    assert (change.number, change.changed, change.made) == (0, frozenset(), {})
    assert change.sent == 2**53


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"k": None}, "'share' needs a number 'k'"),
        ({"k": "1"}, "'share' needs a number 'k'"),
        ({"k": -1}, "'share' needs a number 'k'"),
        ({"v": {}}, "'share' needs lists 'v', 's' and 'changed'"),
        ({"s": None}, "'share' needs lists 'v', 's' and 'changed'"),
        ({"changed": 1}, "'share' needs lists 'v', 's' and 'changed'"),
        ({"v": [1]}, "'share' does not fit its callback"),
        ({"v": [1, 2, 3]}, "'share' does not fit its callback"),
        ({"s": []}, "'share' does not fit its callback"),
        ({"changed": [2]}, "'changed' names no input"),
        ({"changed": [-1]}, "'changed' names no input"),
        ({"changed": ["0"]}, "'changed' names no input"),
        ({"now": 1000}, "'at' needs a time for each of 'changed'"),
        ({"now": 1000, "at": [1, 2]}, "'at' needs a time for each of 'changed'"),
        ({"now": "1000", "at": [900]}, "'now' and 'at' are times in milliseconds"),
        ({"now": True, "at": [900]}, "'now' and 'at' are times in milliseconds"),
        ({"now": 1000, "at": [-1]}, "'now' and 'at' are times in milliseconds"),
        ({"now": 1000, "at": [2**53 + 1]}, "'now' and 'at' are times in milliseconds"),
        ({"now": 1000, "at": "900"}, "'now' and 'at' are times in milliseconds"),
    ],
)
def test_what_a_page_may_not_send_closes_its_link_as_malformed(fields, reason):
    with pytest.raises(ProtocolError, match=reason) as refused:
        Change.parse(frame(**fields), TWO)
    assert refused.value.code == CloseCode.MALFORMED


# -- what waits


def a_page(name):
    return SimpleNamespace(id=name)


ONE_PAGE, OTHER_PAGE = a_page("one"), a_page("other")


def pending(client, made, number=1, values=(40, 50), changed=None):
    waiting = PendingChanges()
    change = Change(number, values, ["note"], frozenset(changed or made), {}, None)
    waiting.add(client, change, made)
    return waiting


def test_the_newest_change_of_each_input_waits_and_the_last_one_is_the_last_entry():
    waiting = pending(ONE_PAGE, {0: (5, "one"), 1: (3, "one")})
    assert list(waiting.changed.items()) == [(1, 50), (0, 40)]
    assert waiting.made == {0: (5, "one"), 1: (3, "one")}
    assert (waiting.values, waiting.states, waiting.client) == ((40, 50), ["note"], ONE_PAGE)
    newer = Change(7, (41, 51), ["new"], frozenset({1}), {}, None)
    waiting.add(OTHER_PAGE, newer, {1: (6, "other")})
    assert list(waiting.changed.items()) == [(0, 40), (1, 51)]
    assert (waiting.values, waiting.states, waiting.client) == ((41, 51), ["new"], OTHER_PAGE)
    assert waiting.origins == {"one": (ONE_PAGE, 1), "other": (OTHER_PAGE, 7)}
    # Made before what waits, though it comes after it.
    waiting.add(ONE_PAGE, Change(2, (42, 52), [], frozenset({1}), {}, None), {1: (5, "one")})
    assert waiting.changed[1] == 51
    assert waiting.origins["one"] == (ONE_PAGE, 2)


def test_a_page_that_only_shows_the_inputs_is_no_origin():
    waiting = PendingChanges()
    waiting.add(ONE_PAGE, Change(0, (40, 50), [], frozenset(), {}, None), {})
    assert (waiting.changed, waiting.origins, waiting.client) == ({}, {}, ONE_PAGE)


def test_earlier_changes_stay_unless_there_are_newer_ones():
    waiting = pending(OTHER_PAGE, {1: (9, "other")}, number=4, values=(41, 51))
    earlier = pending(ONE_PAGE, {0: (5, "one"), 1: (3, "one")})
    before = dict(earlier.changed)
    waiting.add_earlier(earlier)
    assert list(waiting.changed.items()) == [(0, 40), (1, 51)]
    assert waiting.made == {0: (5, "one"), 1: (9, "other")}
    assert waiting.origins == {"one": (ONE_PAGE, 1), "other": (OTHER_PAGE, 4)}
    assert (waiting.client, waiting.values) == (OTHER_PAGE, (41, 51))
    assert earlier.changed == before


def test_where_nothing_waits_the_earlier_changes_are_all():
    waiting = PendingChanges()
    waiting.add_earlier(pending(ONE_PAGE, {0: (5, "one")}))
    assert waiting.changed == {0: 40}
    assert (waiting.values, waiting.states, waiting.client) == ((40, 50), ["note"], ONE_PAGE)
    later = pending(ONE_PAGE, {0: (5, "one")}, number=8, values=(43, 50))
    later.add_earlier(pending(ONE_PAGE, {0: (6, "one")}, number=7))
    assert later.changed == {0: 40}
    assert later.origins == {"one": (ONE_PAGE, 8)}


# -- lists in which several pages pick


def share(values, changed, **more):
    frame = {"k": 1, "v": values, "s": [], "changed": changed, "now": 10, "at": [9] * len(changed)}
    return {**frame, **more}


def test_11_19_a_change_may_say_what_a_list_was_before():
    callback = made(OUT, IN, Input("picks", "value"))
    change = Change.parse(share([1, ["a", "b"]], [1], before=[[["a"]]]), callback)
    assert change.picks == {1: Pick(("a",), ("a", "b"))}
    for no_list in ([None], [[1]], [["a"]], [[[["a"]]]], [[]]):
        assert not Change.parse(share([1, ["b"]], [1], before=no_list), callback).picks
    assert not Change.parse(share([1, "text"], [1], before=[[["a"]]]), callback).picks


@pytest.mark.parametrize("before", ["ab", [], [None, None], {"0": None}])
def test_11_19_what_a_list_was_before_fits_what_has_changed(before):
    with pytest.raises(ProtocolError, match="'before' needs an entry"):
        Change.parse(share([1], [0], before=before), made(OUT, IN))


def test_11_19_picks_of_pages_wait_side_by_side_until_another_value_comes():
    callback, pending = made(OUT, IN), PendingChanges()
    pages = [SimpleNamespace(id=each) for each in "abc"]

    def add(page, number, value, before):
        frame = share([value], [0], before=[before]) | {"k": number}
        change = Change.parse(frame, callback)
        pending.add(page, change, {0: (number, page.id)})

    add(pages[0], 1, ["x", "a"], [["x"]])
    add(pages[1], 2, ["x", "b"], [["x"]])
    add(pages[1], 3, ["x", "b", "d"], [["x"]])
    picks = {"a": Pick(("x",), ("x", "a")), "b": Pick(("x",), ("x", "b", "d"))}
    assert pending.picks == {0: picks}
    later = PendingChanges()
    later.add_earlier(pending)
    assert later.picks == {0: picks}
    add(pages[2], 4, "a text", None)
    assert not pending.picks
    assert pending.changed == {0: "a text"}


def test_11_19_a_merged_list_must_fit_what_the_callback_accepts():
    callback = make_shared_callback(
        lamp, [OUT, IN], prevent_initial_call=False, accepts=Accepts(max_bytes=12)
    )
    assert callback.accepts.allows(0, ["a", "b"])
    assert not callback.accepts.allows(0, ["a", "b", "c", "d"])
