"""What apps send is written by Flash itself: the fallback to Dash, which hides faults, is shut."""

import datetime
import decimal
import enum
import json
import uuid
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from dash import Patch, dcc, html, no_update
from dash._utils import to_json
from PIL import Image

from flash.serialize import cleaning, components, dumps, figures

TIMES = pd.date_range("2026-01-01", periods=3, freq="h")


class Point(NamedTuple):
    x: float
    y: object


class Shade(enum.StrEnum):
    DARK = "dark"


class Describes:
    def __init__(self, form):
        self.form = form

    def to_plotly_json(self):
        return self.form


class Titled(html.Div):
    """A value on the class counts as a property that is set."""

    __module__ = html.Div.__module__
    title = "from the class"


class Wrapped(html.Div):
    __module__ = html.Div.__module__

    def to_plotly_json(self):
        form = super().to_plotly_json()
        return {**form, "props": {**form["props"], "children": [html.Br()]}}


class Labelled(go.Figure):
    def to_dict(self):
        return {**super().to_dict(), "label": "own"}


@pytest.fixture(autouse=True)
def no_help(monkeypatch):
    def refuse(value):
        raise AssertionError(f"written by Dash: {value!r}")

    monkeypatch.setattr("flash.serialize._dumps_by_dash", refuse)


def written(value):
    return json.dumps(json.loads(dumps(value)), sort_keys=True)


def by_dash(value):
    return json.dumps(json.loads(to_json(value)), sort_keys=True)


def figure_of(**trace):
    """A figure with a trace that plotly's validators have not seen."""
    figure = go.Figure()
    figure._data = [trace]
    return figure


VALUES = {
    "plain": [1, 2.5, "text", None, True, uuid.UUID(int=7), datetime.date(2026, 1, 1)],
    "a long list": list(range(10)),
    "a list with one odd member": [*range(10), decimal.Decimal("1.5")],
    "a short tuple": (decimal.Decimal(1), "x"),
    "a dictionary": {"a": 1, "b": 2, "c": 3, "d": 4},
    "a dictionary with an odd member": {"a": 1, "b": 2, "c": 3, "d": decimal.Decimal(4)},
    "a named tuple": Point(np.float32(0.1), html.B("x")),
    "an enum": Shade.DARK,
    "what describes itself": Describes({"a": [decimal.Decimal(1), html.B("x")], "b": ()}),
    "what describes itself as a list": Describes([Describes(1)]),
    "booleans": np.array([True, False]),
    "integers": np.array([1, 2]),
    "unsigned integers": np.array([1, 2], dtype="uint16"),
    "numbers": np.array([1.5, np.nan]),
    "every second": np.arange(10)[::2],
    "rows": np.arange(6).reshape(2, 3),
    "words": np.array(["a", "b"]),
    "moments": np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
    "a moment": np.datetime64("2026-01-01T01:02:03"),
    "records": np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
    "spans": np.array([1, 2], dtype="timedelta64[ns]"),
    "objects": np.array(["a", 1, None, html.B("x")], dtype=object),
    "nothing": np.ma.masked,
    "a number of numpy": np.float32(0.1),
    "a series of integers": pd.Series([1, 2]),
    "a series of unsigned integers": pd.Series([1, 2], dtype="uint8"),
    "a series of booleans": pd.Series([True, False]),
    "a series of numbers": pd.Series([1.5, None]),
    "a series of words": pd.Series(["a", None]),
    "a series of moments": pd.Series(TIMES),
    "a series of moments somewhere": pd.Series(TIMES.tz_localize("Europe/Oslo")),
    "an index of moments": TIMES,
    "no moment": pd.NaT,
    "no value": pd.NA,
    "a moment of pandas": pd.Timestamp("2026-01-01", tz="Europe/Oslo"),
    "an image": Image.new("RGB", (2, 2)),
    "a component": html.Div([html.P("a"), "b", 1, None, (html.I("d"),)], id={"type": "x"}),
    "a component with more": html.Div("x", **{"data-a": {"b": html.B("x")}, "aria-b": "y"}),
    "a component of its own": Titled("x"),
    "a component that wraps itself": Wrapped("x"),
    "a graph": dcc.Graph(figure=go.Figure(go.Scatter(y=np.arange(3)))),
    "a figure": go.Figure(go.Scatter(x=TIMES, y=np.array([1.5, 2.5, 3.5]))),
    "a figure of rows": go.Figure(go.Heatmap(z=np.arange(6.0).reshape(2, 3))),
    "a figure with frames": go.Figure(
        go.Scatter(y=[1]), frames=[go.Frame(data=[go.Scatter(y=np.arange(3))], name="one")]
    ),
    "a figure with a number in it": go.Figure(go.Scatter(marker={"size": np.float32(2)}, y=[1])),
    "a figure that writes itself": Labelled(go.Scatter(y=np.arange(3))),
    "arrays at any depth": figure_of(
        a=np.arange(3), b={"c": [np.arange(2), {"d": np.arange(2)}, (1, np.arange(2))]}
    ),
    "arrays where plotly leaves them": figure_of(
        range=np.array([0.0, 1.0]), marker={"layers": [1, 2]}, geojson={"a": [1]}
    ),
    "arrays of every width": figure_of(
        a=np.array([0, 127]),
        b=np.array([0, 128]),
        c=np.array([-129, 0]),
        d=np.array([0, 32768]),
        e=np.array([2**40]),
        f=np.array([0, 255], dtype="uint64"),
        g=np.array([0, 65536], dtype="uint64"),
        h=np.array([1.5], dtype="float32"),
        i=np.array([], dtype="int64"),
        j=np.array(5),
    ),
    "rows of moments in a figure": figure_of(
        a=np.array([["0001-01-01"], ["9998-12-31"]], dtype="datetime64[D]")
    ),
    "moments and words in a figure": figure_of(
        a=np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]"),
        b=np.array([["2026-01-01"], ["NaT"]], dtype="datetime64[D]")[:1],
        c=np.array(["a", "b"]),
        d=np.array(["a", None], dtype=object),
        e=np.array([[1, "a"]], dtype=object),
        f=pd.Series(TIMES),
        g=decimal.Decimal(1),
    ),
    "a part of a figure": go.Scatter(y=np.arange(3)),
    "a layout": go.Layout(title="t", meta=decimal.Decimal(1)),
    "a patch": Patch(),
    "no update": no_update,
}


@pytest.mark.parametrize("name", VALUES)
def test_it_is_written_alone_as_dash_would_write_it(name):
    value = VALUES[name]
    for place in (
        value,
        [value],
        {"key": value},
        # Beside a component, all of it is cleaned.
        [value, html.Br()],
        html.Div(value),
        html.Div([html.Span(value)], title="beside"),
        {"response": {"graph": {"figure": {"data": [{"x": value}]}}}},
    ):
        assert written(place) == by_dash(place)


def test_plain_parts_are_shared_and_others_are_copied():
    plain = {"rows": list(range(10)), "names": {"a": 1, "b": 2, "c": 3, "d": 4}}
    odd = [*range(10), decimal.Decimal(1)]
    cleaned = cleaning.clean([plain, odd])
    assert cleaned[0]["rows"] is plain["rows"]
    assert cleaned[0]["names"] is plain["names"]
    assert cleaned[1] == odd
    assert type(cleaned[1][-1]) is float
    assert type(odd[-1]) is decimal.Decimal


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint8", "float32"])
def test_the_numbers_of_a_column_are_not_copied(dtype):
    column = pd.Series([0, 1], dtype=dtype)
    cleaned = cleaning.clean(column)
    assert type(cleaned) is np.ndarray
    assert np.shares_memory(cleaned, column.values)


def test_a_figure_shares_its_plain_parts_and_plotly_converts_no_usual_array(monkeypatch):
    def refuse(holder):
        raise AssertionError(f"converted by plotly: {holder!r}")

    monkeypatch.setattr(figures, "_convert_to_base64", refuse)
    for name in (
        "a figure",
        "a figure of rows",
        "a figure with frames",
        "arrays of every width",
    ):
        figure = VALUES[name]
        if name == "arrays of every width":
            # These two have no typed form.
            figure = figure_of(
                **{key: figure._data[0][key] for key in figure._data[0] if key not in "eij"}
            )
        assert written(figure)
    figure = figure_of(x=[1, 2, 3, 4], y=np.arange(4))
    [trace] = figures.figure_form(figure, cleaning.clean)["data"]
    assert trace["x"] is figure._data[0]["x"]
    assert trace["y"] == {"dtype": "i1", "bdata": "AAECAw=="}


def test_only_classes_that_plotly_and_dash_write_in_the_usual_way_are_written_here():
    class Answering(html.Div):
        __module__ = html.Div.__module__

        def tolist(self):
            return []

    class Dynamic(go.Figure):
        def __getattr__(self, name):
            raise AttributeError(name)

    class Dated(go.Figure):
        def to_pydatetime(self):
            return None

    class Reading(html.Div):
        __module__ = html.Div.__module__

        def __getattribute__(self, name):
            return super().__getattribute__(name)

    class Numbered(html.Div, int):
        __module__ = html.Div.__module__

    assert components.is_ordinary(html.Div)
    for cls in (dict, Answering, Wrapped, Reading, Numbered, go.Figure):
        assert not components.is_ordinary(cls)
    assert figures.is_known_figure(go.Figure)
    for cls in (dict, go.Scatter, Labelled, Dynamic, Dated):
        assert not figures.is_known_figure(cls)
    assert figures.is_known_part(go.Scatter)
    for cls in (dict, go.Figure):
        assert not figures.is_known_part(cls)


@pytest.mark.parametrize(
    ("base", "is_written_here"),
    [
        (html.Div, components.is_ordinary),
        (go.Figure, figures.is_known_figure),
        (go.Scatter, figures.is_known_part),
    ],
)
@pytest.mark.parametrize("name", ["__getattr__", "to_pydatetime", "to_plotly_json", "tolist"])
def test_a_class_that_another_rule_of_dash_may_apply_to_is_not_written_here(
    base, is_written_here, name
):
    assert is_written_here(base)
    odd = type("Odd", (base,), {"__module__": base.__module__, name: lambda self, *_: None})
    assert not is_written_here(odd)


def test_a_component_that_dash_is_told_to_mount_anew_is_not_written_here():
    class Remounted(html.Div):
        __module__ = html.Div.__module__
        _dashprivate_remount = True

    assert not components.is_ordinary(Remounted)


def test_property_names_are_read_again_only_where_an_instance_has_others():
    form = components.component_form(html.Div, cleaning.clean, lambda component: "fallback")
    assert form(html.Div("x"))["props"] == {"children": "x"}
    other = html.Div("x")
    other._prop_names = ["id"]
    assert form(other) == "fallback"
    assert form(html.Div("y", title="t"))["props"] == {"children": "y", "title": "t"}
    assert form(html.Div("y", **{"data-a": 1}))["props"] == {"children": "y", "data-a": 1}
    odd = html.Div("x")
    odd.__dict__["note"] = 1
    assert form(odd) == "fallback"


def test_the_engine_that_the_app_chose_is_asked_and_no_other(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "flash.serialize._dumps_by_dash", lambda value: asked.append(value) or b"{}"
    )
    for engine in ("orjson", "auto"):
        monkeypatch.setattr(pio.json.config, "_default_engine", engine)
        assert dumps({"a": 1}) == b'{"a":1}'
    monkeypatch.setattr(pio.json.config, "_default_engine", "json")
    value = {"a": 1}
    assert dumps(value) == b"{}"
    assert asked == [value]


def test_a_library_that_only_plotly_knows_is_left_to_it(monkeypatch):
    monkeypatch.setattr("flash.serialize._dumps_by_dash", lambda value: b"by Dash")
    monkeypatch.setitem(__import__("sys").modules, "sage.all", None)
    assert dumps({"a": 1}) == b"by Dash"
