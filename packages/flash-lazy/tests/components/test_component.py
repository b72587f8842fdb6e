"""The components as a page gets them."""

import dash
import pytest

from flash import dcc, html
from flash.serialize import dumps
from flash_lazy import LazyLoad, Skeleton, lazy


def test_what_was_not_given_is_not_sent():
    assert LazyLoad("text").to_plotly_json() == {
        "namespace": "flash_lazy",
        "type": "LazyLoad",
        "props": {"children": "text", "offset": 200, "when": "visible"},
    }


def test_everything_that_was_given_is_sent():
    given = {
        "id": "panel",
        "height": 400,
        "width": "50%",
        "offset": 10,
        "once": True,
        "unmount_if_invisible": True,
        "placeholder": html.P("later"),
        "scroll_container": "#list",
        "throttle": 100,
        "debounce": 50,
        "class_name": "wide",
        "style": {"color": "red"},
        "when": "idle",
        "anchors": ["section"],
        "data-kind": "x",
    }
    panel = LazyLoad(dcc.Graph(), **given)
    assert {name: getattr(panel, name) for name in given} == given
    assert b'"data-kind":"x"' in dumps(panel)


@pytest.mark.parametrize(
    ("offset", "sent"),
    [
        (5, 5),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ({"top": 7, "left": 3}, [7, 0, 0, 3]),
        ([1, 2], [2, 1, 2, 1]),
        (-30, -30),
    ],
)
def test_an_offset_is_for_all_sides_or_each(offset, sent):
    assert LazyLoad(offset=offset).offset == sent


def test_an_offset_for_three_sides_is_refused():
    with pytest.raises(ValueError, match="top, right, bottom, left"):
        LazyLoad(offset=[1, 2, 3])


@pytest.mark.parametrize(("wait", "sent"), [(True, 300), (50, 50)])
def test_true_is_the_usual_wait(wait, sent):
    panel = LazyLoad(throttle=wait, debounce=wait)
    assert panel.throttle == panel.debounce == sent
    assert not hasattr(LazyLoad(throttle=False, debounce=None), "throttle")


def test_a_property_that_is_none_is_refused():
    with pytest.raises(TypeError, match="no setting 'hight'; did you mean 'height'"):
        LazyLoad(hight=3)
    with pytest.raises(TypeError, match="no setting 'hight'; did you mean 'height'"):
        lazy(hight=3)


def test_components_inside_are_found_as_in_any_layout():
    layout = html.Div(LazyLoad(html.P(id="inner"), placeholder=html.P(id="later")))
    assert layout["inner"].id == "inner"
    assert (
        "LazyLoad" in dash.development.base_component.ComponentRegistry.children_props["flash_lazy"]
    )


def test_a_skeleton_has_the_size_it_keeps():
    assert Skeleton(height=320).to_plotly_json()["props"] == {"height": 320}
    assert Skeleton("10rem", "50%").width == "50%"
