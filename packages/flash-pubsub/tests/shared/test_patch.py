"""A Patch that a shared callback returns is applied on the server as the page would do it."""

import dash
import pytest
from dash import Patch
from page import Page
from pubsub_worlds import until

from flash import Flash, Input, Output, html
from flash_pubsub import MemoryBroker, PubSub
from flash_pubsub.shared.patch import apply_patch


def patched(value, change):
    patch = Patch()
    change(patch)
    return apply_patch(value, patch)


def assign(patch):
    patch["a"]["b"] = 9


def delete(patch):
    del patch["a"]


def append(patch):
    patch["list"].append(4)


def prepend(patch):
    patch["list"].prepend(0)


def insert(patch):
    patch["list"].insert(1, 9)


def extend(patch):
    patch["list"].extend([4, 5])


def remove(patch):
    patch["list"].remove(1)


def clear_list(patch):
    patch["list"].clear()


def clear_dictionary(patch):
    patch["a"].clear()


def reverse(patch):
    patch["list"].reverse()


def update(patch):
    patch["a"].update({"c": 3})


def add(patch):
    patch["n"] += 2


def subtract(patch):
    patch["n"] -= 2


def multiply(patch):
    patch["n"] *= 2


def divide(patch):
    patch["n"] /= 2


def by_index(patch):
    patch["list"][0] = 7
    patch["list"][1] = 8


STORED = {"a": {"b": 1}, "list": [1, 2, 1], "n": 10}


@pytest.mark.parametrize(
    ("change", "name", "result"),
    [
        (assign, "a", {"b": 9}),
        (append, "list", [1, 2, 1, 4]),
        (prepend, "list", [0, 1, 2, 1]),
        (insert, "list", [1, 9, 2, 1]),
        (extend, "list", [1, 2, 1, 4, 5]),
        (remove, "list", [2]),
        (clear_list, "list", []),
        (clear_dictionary, "a", {}),
        (reverse, "list", [1, 2, 1]),
        (update, "a", {"b": 1, "c": 3}),
        (add, "n", 12),
        (subtract, "n", 8),
        (multiply, "n", 20),
        (divide, "n", 5),
        (by_index, "list", [7, 8, 1]),
    ],
)
def test_each_operation_changes_what_it_names_and_nothing_else(change, name, result):
    assert patched(STORED, change) == {**STORED, name: result}


def test_a_key_is_deleted():
    assert patched(STORED, delete) == {"list": [1, 2, 1], "n": 10}


def test_a_list_is_turned_round():
    assert patched({"list": [1, 2, 3]}, reverse) == {"list": [3, 2, 1]}


def test_operations_are_done_in_order_on_the_value_itself_too():
    def change(patch):
        patch.append(2)
        patch.extend([3])
        patch.reverse()
        patch[0] = 9

    assert patched([1], change) == [9, 2, 1]


def test_the_stored_value_is_left_as_it_was():
    for change in (assign, append, insert, clear_list, update, add, by_index, delete):
        stored = {"a": {"b": 1}, "list": [1, 2, 1], "n": 10}
        patched(stored, change)
        assert stored == STORED


@pytest.mark.parametrize(
    ("stored", "change", "said"),
    [
        ({}, assign, r"Assign at a\.b does not fit"),
        ({"list": 5}, insert, "Insert at list does not fit"),
        ({"n": "ten"}, add, "Add at n does not fit"),
        ({"list": [1]}, by_index, r"Assign at list\.1 does not fit"),
        (5, lambda patch: patch.append(1), "Append at the value itself does not fit"),
        ({"n": 1}, lambda patch: patch["n"].__itruediv__(0), "Div at n does not fit"),
    ],
)
def test_an_operation_that_does_not_fit_says_which_and_where(stored, change, said):
    with pytest.raises(ValueError, match=said):
        patched(stored, change)


def test_operations_fit_the_value_itself_and_deep_places():
    assert patched({"a": 1}, lambda patch: patch.update({"b": 2})) == {"a": 1, "b": 2}
    assert patched({"a": 1}, lambda patch: patch.clear()) == {}
    assert patched([1, 2], lambda patch: patch.clear()) == []
    stored = {"a": {"b": {"c": [1, {"d": 2}]}}}

    def deep(patch):
        patch["a"]["b"]["c"][1]["d"] = 9
        del patch["a"]["b"]["c"][0]
        patch["a"]["b"]["e"] = None

    assert patched(stored, deep) == {"a": {"b": {"c": [{"d": 9}], "e": None}}}
    assert stored == {"a": {"b": {"c": [1, {"d": 2}]}}}


@pytest.mark.parametrize("change", [assign, lambda patch: patch.append(1)])
def test_11_16_a_patch_without_a_value_to_change_says_so(change):
    patch = Patch()
    change(patch)
    with pytest.raises(
        ValueError, match=r"lamp\.children has no value to change.*return the whole value first"
    ):
        apply_patch(None, patch, "lamp.children")


def test_a_patch_that_sets_the_value_itself_needs_none_before():
    patch = Patch()
    # Dash's page does this operation, though no method of the class writes it.
    patch._operations.append({"operation": "Assign", "location": [], "params": {"value": 5}})
    assert apply_patch(None, patch) == 5


@pytest.fixture
def no_pages():
    yield
    dash.page_registry.clear()


@pytest.mark.parametrize("is_function", [False, True])
async def test_11_16_a_patch_changes_a_component_of_a_page(is_function, no_pages):
    def layout(**_):
        return html.Ul(["first"], id="list")

    def broken(**_):
        raise KeyError("needs its visitor")

    app = Flash("paged", use_pages=True, pages_folder="")
    dash.register_page("broken", path="/broken", layout=broken)
    dash.register_page("home", path="/", layout=layout if is_function else layout())
    app.layout = html.Div(dash.page_container)
    pubsub = PubSub(app, broker=MemoryBroker())

    @pubsub.shared_callback(
        Output("list", "children"), Input("button", "n_clicks"), prevent_initial_call=True
    )
    def add(clicks):
        patch = Patch()
        patch.append(f"item {clicks}")
        return patch

    await app.server.startup()
    page = await Page(app).open()
    await page.hello()
    (name,) = app.page_extras["flash_pubsub"]["shared"]
    for number in (1, 2):
        page.send({"t": "share", "cb": name, "k": number, "v": [number], "s": [], "changed": [0]})
        shown = ["first", "item 1", "item 2"][: number + 1]

        async def is_shown(shown=shown):
            return await pubsub.shared["list", "children"].get() == shown

        await until(is_shown)
    await page.leave()
    await app.server.shutdown()
