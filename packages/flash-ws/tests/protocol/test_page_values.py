"""What a page's value may hold if other pages are to be shown it."""

import pytest

from flash_ws.protocol.page_values import find_marker

FRAME = {"type": "Iframe", "namespace": "dash_html_components", "props": {"srcDoc": "<script>"}}


@pytest.mark.parametrize(
    "value",
    [
        FRAME,
        [1, [FRAME]],
        {"a": {"b": [FRAME]}},
        {"type": "Iframe", "namespace": "dash_html_components"},
        {"__dash_patch_update": "__dash_patch_update", "operations": []},
        {"a": [{"__dash_patch_update": 1}]},
        {"_dashprivate_x": 1},
    ],
)
def test_13_d_a_component_and_a_marker_are_found_at_any_depth(value):
    assert find_marker(value) is not None


@pytest.mark.parametrize(
    "value",
    [None, 1, "<script>", [], {}, {"type": "x"}, {"namespace": "x"}, {"props": {}}, ["__dash"]],
)
def test_13_d_plain_values_hold_none(value):
    assert find_marker(value) is None


def test_13_d_of_a_long_marker_forty_characters_are_told():
    told = repr("__dash" + 34 * "x")
    assert find_marker({"__dash" + 1000 * "x": 1}) == f"the marker {told} of Dash"


def test_13_d_a_deep_value_costs_no_recursion():
    value = FRAME
    for _ in range(100_000):
        value = [value]
    assert find_marker(value) == "a component"
    while isinstance(value, list):
        value = value[0]
