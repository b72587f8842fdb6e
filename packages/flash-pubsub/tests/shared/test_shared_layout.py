"""A layout is drawn with the values that all pages share, and is itself left as it is."""

from contextvars import Context

import dash_bootstrap_components as dbc
from dash import dcc, html

from flash_pubsub.channels.subscription import Subscription
from flash_pubsub.shared.layout import fill_layout, find_value
from flash_ws.protocol.position import Position


def signed(channel, since):
    return f"signed {channel}" if since is None else f"signed {channel} since {since.number}"


def filled(node, **values):
    return fill_layout(node, {"lamp": values}, signed)


def test_a_component_shows_the_shared_values_and_the_layout_keeps_its_own():
    lamp = html.P("dark", id="lamp", title="old", className="kept")
    layout = html.Div([html.Section([lamp]), html.P(id="other"), "text", None])
    new = filled(layout, title="new", hidden=True)
    shown = new.children[0].children[0]
    assert (shown.title, shown.hidden, shown.className, shown.children) == (
        "new",
        True,
        "kept",
        "dark",
    )
    assert lamp.title == "old"
    assert not hasattr(lamp, "hidden")
    # What does not differ is not copied.
    assert layout.children[0].children[0] is lamp
    assert new.children[1] is layout.children[1]
    assert type(new.children) is list


def test_a_layout_without_shared_values_is_the_same_object():
    layout = html.Div([html.P(id="other"), (html.B("x"),)])
    assert filled(layout, title="new") is layout
    assert fill_layout("text", {}, signed) == "text"
    assert fill_layout(None, {}, signed) is None


def test_a_tuple_stays_one_and_a_single_child_is_found():
    layout = html.Div((html.P(html.B(id="lamp")), "x"))
    new = filled(layout, title="new")
    assert type(new.children) is tuple
    assert new.children[0].children.title == "new"
    assert new.children[1] == "x"


def test_children_that_are_shared_replace_the_components_in_the_layout():
    layout = html.Div(html.P(Subscription(channel="c"), id="lamp"))
    new = filled(layout, children="shared")
    assert new.children.children == "shared"


def test_ids_of_patterns_and_other_properties_that_hold_components_are_found():
    label = dcc.Checklist(options=["a"], id={"type": "x", "index": 1})
    tab = dbc.Toast("text", header=html.P(label), id="toast")
    assert "header" in tab._children_props
    new = fill_layout(tab, {'{"index":1,"type":"x"}': {"value": ["a"]}}, signed)
    assert new.header.children.value == ["a"]
    assert new.children == "text"
    assert find_value(new, '{"index":1,"type":"x"}', "value") == ["a"]
    assert find_value(tab, '{"index":1,"type":"x"}', "value") is None


def test_a_subscription_is_signed_once(monkeypatch):
    # Nothing signs it when it is made: no app is at hand, not even one of an earlier test.
    monkeypatch.setattr("dash._get_app.APP", None)
    unsigned = Context().run(Subscription, channel="news")
    own = Subscription(channel="own")
    own.token = "mine"
    later = Context().run(Subscription, channel="news", since=Position("epoch", 5))
    layout = html.Div([unsigned, own, later])
    new = fill_layout(layout, {}, signed)
    tokens = [each.token for each in new.children]
    assert tokens == ["signed news", "mine", "signed news since 5"]
    assert new.children[2].since == ["epoch", 5]
    assert new.children[1] is layout.children[1]
    assert not hasattr(layout.children[0], "token")


def test_properties_that_hold_components_deeper_are_left():
    holder = html.Div(id="holder")
    holder._children_props = ["title", "options[].label", "data.x"]
    holder.title = html.B(id="lamp")
    new = filled(holder, hidden=True)
    assert new.title.hidden is True


def test_the_value_of_a_property_in_the_layout_is_found_wherever_it_is():
    layout = html.Div(
        [
            "text",
            html.P("first", id="a", title="t"),
            html.Section((html.P(id="b"), html.P(id={"n": 1}, title=""))),
            html.P("again", id="b", title="second"),
        ]
    )
    assert find_value(layout, "a", "title") == "t"
    assert find_value(layout, "a", "children") == "first"
    assert find_value(layout, "a", "hidden") is None
    # A component of this id without a value hides no other.
    assert find_value(layout, "b", "title") == "second"
    assert find_value(layout, '{"n":1}', "title") == ""
    assert find_value(layout, "nobody", "title") is None
    assert find_value("text", "a", "title") is None
    assert find_value(None, "a", "title") is None
