"""``flash.serialize`` writes what Dash writes, and refuses what Dash refuses."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import importlib.metadata
import json
import math
import pathlib
import subprocess
import sys
import threading
import uuid
import zoneinfo
from typing import Any, NamedTuple

import dash
import dash_bootstrap_components as dbc
import dash_mantine_components as dmc
import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from dash import Patch, dash_table, dcc, html, no_update
from dash._utils import to_json
from dash.development.base_component import Component
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image

from flash.serialize import dumps, dumps_for_html

# --- the comparison ---------------------------------------------------------------------------


def outcome(write: Any, value: object) -> tuple[object, ...]:
    """The error, or the JSON in a form in which 1, 1.0 and true differ."""
    try:
        text = write(value)
    except RecursionError:
        return (RecursionError,)  # its text says which call happened to be one too many
    except Exception as error:  # noqa: BLE001 - every error is an outcome to compare
        return type(error), str(error)
    return ("written", json.dumps(json.loads(text), sort_keys=True))


def assert_as_dash(value: object) -> None:
    assert outcome(dumps, value) == outcome(to_json, value)


def assert_as_dash_everywhere(value: object) -> None:
    """Alone, in containers, and beside a component, which makes Dash clean all of it."""
    for place in (
        value,
        [value],
        {"key": value},
        (1, "a", value, None, 2.5),
        [value, html.Br()],
        {"a": [{"b": value}], "c": html.Div([value])},
        html.Div(value),
        html.Div([html.Span(value), value], title="beside"),
        {"response": {"graph": {"figure": {"data": [{"x": value}], "layout": {}}}}},
    ):
        assert_as_dash(place)


def assert_written_as_dash(value: object) -> None:
    assert outcome(dumps, value)[0] == "written"
    assert_as_dash_everywhere(value)


def assert_refused_as_dash(value: object) -> None:
    for place in ([value], {"key": value}, [value, html.Br()], html.Div([value])):
        assert outcome(dumps, place)[0] != "written"
        assert_as_dash(place)


# --- classes of an app's own ------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, "two")
    SCALAR = np.float32(0.1)
    COMPONENT = html.Div("in an enum")


class Size(enum.IntEnum):
    SMALL = 1


class Shade(enum.StrEnum):
    DARK = "dark"


class Spoken(enum.Enum):
    """Dash asks it only where it cleans."""

    WORD = 1

    def to_plotly_json(self) -> str:
        return "spoken"


class Point(NamedTuple):
    x: float
    y: object


@dataclasses.dataclass
class Record:
    name: str
    value: object


@dataclasses.dataclass
class TalkingRecord:
    name: str

    def to_plotly_json(self) -> dict[str, str]:
        return {"said": self.name}


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Items(list):
    pass


class Mapping(dict):
    pass


class HidingMapping(dict):
    def items(self) -> Any:
        return [("hidden", True)]


class Moment(datetime.datetime):
    pass


class Empty(NamedTuple):
    pass


class Describes:
    def __init__(self, shape: object) -> None:
        self.shape = shape

    def to_plotly_json(self) -> object:
        return self.shape


class Lists:
    def tolist(self) -> list[object]:
        return [1, 2, None]

    def to_plotly_json(self) -> str:
        return "never asked"


class Clumsy:
    def to_plotly_json(self) -> object:
        return self.missing  # type: ignore[attr-defined]


class Broken:
    def to_plotly_json(self) -> object:
        raise ValueError("this object cannot say what it is")


class Answers:
    """Every attribute is there, and none can be called."""

    def __getattr__(self, name: str) -> int:
        return 1


# Dash keeps a registry of the modules that define components, and asks them for their scripts.
DASH_MODULE = html.Div.__module__


class Titled(html.Div):
    """A value on the class counts as a property that is set."""

    __module__ = DASH_MODULE
    title = "from the class"


class Computed(html.Div):
    __module__ = DASH_MODULE

    @property
    def title(self) -> str:
        return "computed"

    @title.setter
    def title(self, value: str) -> None:
        pass


class Wrapped(html.Div):
    __module__ = DASH_MODULE

    def to_plotly_json(self) -> dict[str, Any]:
        shape = super().to_plotly_json()
        return {**shape, "props": {**shape["props"], "children": [self.children, html.Br()]}}


class Dynamic(html.Div):
    __module__ = DASH_MODULE

    def __getattr__(self, name: str) -> str:
        if name.startswith("_") or name in {"tolist", "to_pydatetime", "to_plotly_json"}:
            raise AttributeError(name)
        return f"dynamic {name}"


class Handmade(Component):
    """A component class without generated code."""

    __module__ = DASH_MODULE

    _prop_names = ("children", "id", "size")  # type: ignore[assignment]
    _type = "Handmade"
    _namespace = "handmade"
    _valid_wildcard_attributes: list[str] = []  # noqa: RUF012


class Labelled(go.Figure):
    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "label": "own"}


def nested(depth: int, *, in_lists: bool) -> object:
    value: object = "innermost"
    for _ in range(depth):
        value = html.Div([value] if in_lists else value)
    return value


def component_with(**state: object) -> html.Div:
    component = html.Div("changed afterwards")
    component.__dict__.update(state)
    return component


# --- plain values, containers, keys -----------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "text",
        "</script><!-- --> & \u2028 \u2029 \x00 \x7f 𝄞 \ufeff",
        0,
        -(2**63),
        2**64 - 1,
        1.5,
        1e300,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        True,
        None,
        [],
        (),
        {},
        [[], {}, ()],
        datetime.date(2026, 11, 20),
        datetime.time(1, 2, 3, 4),
        datetime.datetime(2026, 11, 20, 1, 2, 3, 456),
        datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC),
        datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Oslo")),
        datetime.datetime(2026, 7, 1, tzinfo=datetime.timezone(datetime.timedelta(minutes=-90))),
        uuid.UUID(int=7),
        Colour.RED,
        Colour.PAIR,
        Colour.SCALAR,
        Size.SMALL,
        Shade.DARK,
        Spoken.WORD,
        Point(1.5, "y"),
        Record("a", 1),
        TalkingRecord("a"),
        Text("text"),
        Whole(3),
        Items([1, 2]),
        Items(),
        Mapping(a=1),
        HidingMapping(a=1),
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        [1, "a", None, [2.5, True, {"deep": [()]}]],
    ],
    ids=repr,
)
def test_plain_values_and_containers_are_written_as_dash_writes_them(value: object) -> None:
    assert_written_as_dash(value)


def test_a_decimal_a_named_tuple_and_an_object_that_describes_itself_are_cleaned() -> None:
    for value in (
        decimal.Decimal("1.1"),
        decimal.Decimal("NaN"),
        decimal.Decimal("-Infinity"),
        Point(np.float32(0.1), html.B("x")),
        Lists(),
        Describes({"a": [decimal.Decimal(1), html.B("x")]}),
        Describes([Describes(1)]),
        Describes("text"),
    ):
        assert_written_as_dash([value])
        assert_as_dash_everywhere(value)


@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**63) - 1,
        Real(1.5),
        1j,
        b"bytes",
        bytearray(b"bytes"),
        {1, 2},
        frozenset(),
        range(3),
        (number for number in range(3)),
        pathlib.Path("a"),
        object(),
        html,
        html.Div,
        len,
        Empty(),
        Colour.COMPONENT,
        datetime.timedelta(1),
        Moment(2026, 1, 1),
        Clumsy(),
        Broken(),
        Answers(),
        "\ud800",
        {"\ud800": 1},
        {(1, 2): 1},
        {html.Br(): 1},
        {b"key": 1},
        decimal.Decimal("sNaN"),
        dash.Input("a", "b"),
        dash.Output("a", "b"),
        Describes(html.Br()),
        Record("a", html.Br()),
        pd.DataFrame({"a": [1]}),
        pd.Period("2026-01"),
        pd.Interval(0, 1),
        pd.Timedelta(1, "s"),
        np.array([1j]),
        np.array([b"bytes"]),
        np.longdouble(1),
        np.array([1, 2], dtype=">i4"),
        np.array([object()]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_dash_refuses_is_refused_with_the_same_error(value: object) -> None:
    assert_refused_as_dash(value)


def test_an_error_is_dash_s_own_and_says_nothing_of_the_faster_way() -> None:
    with pytest.raises(TypeError, match="not JSON serializable: set") as caught:
        dumps([html.Br(), {1}])
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "key",
    [
        1,
        1.5,
        math.nan,
        None,
        True,
        Text("text"),
        np.str_("text"),
        np.int64(1),
        np.float32(0.1),
        Size.SMALL,
        Shade.DARK,
        Colour.RED,
        uuid.UUID(int=7),
        datetime.date(2026, 1, 1),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        pd.Timestamp("2026-01-01"),
        frozenset({1}),
        (1, 2),
        decimal.Decimal(1),
    ],
    ids=repr,
)
def test_keys_that_are_not_strings_come_out_as_in_dash(key: object) -> None:
    assert_as_dash_everywhere({key: 1})
    assert_as_dash_everywhere({key: html.Br(), "other": 2})


# --- components -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "component",
    [
        html.Div(),
        html.Div(None),
        html.Div("text"),
        html.Div(0, id={"type": "row", "index": 1}),
        html.Div([]),
        html.Div([html.P("a"), "b", 1, None, [html.B("c")], (html.I("d"),)]),
        html.Div(html.Div(html.Div({"a": html.B("deep")}))),
        html.Div("x", style={"margin": 1, "nested": {"a": [1, 2]}}, className="a", n_clicks=0),
        html.Div("x", **{"data-value": {"a": html.B("x")}, "aria-label": "y", "data-n": None}),
        html.Div("x", **{"data-value": decimal.Decimal(1)}, hidden=np.bool_(True)),
        dcc.Dropdown(["a", "b"], "a", id="d"),
        dcc.Dropdown({"a": html.B("x")}, clearable=False),
        dcc.Graph(figure=go.Figure(go.Scatter(y=[1, 2])), config={"displaylogo": False}),
        dcc.Graph(figure={"data": [go.Bar(x=["a"], y=[1])], "layout": go.Layout(title="t")}),
        dcc.Store("store", data={"a": [np.float32(0.1)], "b": pd.Timestamp("2026-01-01")}),
        dcc.Store("store", data=[{"a": 1, "b": 2.5, "c": "d", "e": None}] * 5),
        dcc.Location(id="url"),
        dbc.Card(dbc.CardBody([dbc.Button("x", color="primary", n_clicks=0)])),
        dmc.MantineProvider(dmc.Button("x", variant="filled", **{"data-a": 1})),
        Titled("x"),
        Titled("x", title="own"),
        Computed("x"),
        Wrapped("x"),
        Wrapped(html.B("x")),
        Dynamic("x"),
        Handmade(children=[html.B("x")], size=decimal.Decimal(2)),
        component_with(_dashprivate_remount=True),
        component_with(_dashprivate_remount=False),
        component_with(note="not a property"),
        component_with(tolist=lambda: ["an answer"]),
        component_with(to_plotly_json=lambda: "another answer"),
        component_with(_type="Other", _namespace="other"),
        component_with(_prop_names=["id"]),
        component_with(_valid_wildcard_attributes=["x-"], **{"x-a": 1, "data-b": 2}),
        component_with(children=Component.UNDEFINED),
    ],
    ids=lambda component: type(component).__name__,
)
def test_components_are_written_as_dash_writes_them(component: Component) -> None:
    assert_as_dash_everywhere(component)


def test_a_deprecated_component_and_its_format_are_written_as_in_dash() -> None:
    with pytest.warns(DeprecationWarning, match="DataTable"):
        table = dash_table.DataTable(
            data=[{"a": 1}],
            columns=[{"id": "a", "format": dash_table.FormatTemplate.money(2)}],
        )
    assert_written_as_dash(table)


def test_property_names_changed_on_one_instance_do_not_touch_the_others() -> None:
    widened = html.Div("x", title="t")
    widened._prop_names.append("note")
    widened.note = "n"  # type: ignore[attr-defined]
    narrowed = html.Div("x", title="t")
    narrowed._prop_names.remove("title")
    for component in (html.Div("x", title="t"), widened, narrowed, html.Div("x", title="t")):
        assert_written_as_dash(component)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_component_that_ships_with_dash_is_written_as_dash_writes_it() -> None:
    classes = [
        cls
        for library in (html, dcc)
        for cls in vars(library).values()
        if isinstance(cls, type) and issubclass(cls, Component) and cls is not Component
    ]
    assert len(classes) > 100
    for cls in classes:
        component = cls(id="c", **({"href": "/"} if cls is dcc.Link else {}))
        assert_as_dash([component])


@pytest.mark.parametrize("in_lists", [True, False])
@pytest.mark.parametrize("depth", [80, 84, 85, 126, 127, 128, 300, 2000])
def test_deep_layouts_are_written_or_refused_as_in_dash(depth: int, in_lists: bool) -> None:
    layout = nested(depth, in_lists=in_lists)
    assert_as_dash(layout)
    assert_as_dash({"response": layout})


def test_a_list_that_holds_itself_is_refused_as_in_dash() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert_as_dash(endless)
    assert_as_dash([html.Br(), endless])


# --- callback results -------------------------------------------------------------------------


def test_a_patch_is_written_with_the_components_and_arrays_in_it() -> None:
    patch = Patch()
    patch["layout"]["title"]["text"] = "new"
    patch.data[0].x = np.arange(3)
    patch["children"].append(html.B("x"))
    patch["children"].extend([decimal.Decimal(1), html.Div([html.B("y")])])
    patch["numbers"] += 1
    del patch["old"]
    for value in (patch, [patch], {"response": {"out": {"children": patch}}}):
        assert_as_dash(value)
    assert outcome(dumps, patch)[0] == "written"


def test_no_update_is_written_as_in_dash() -> None:
    assert_written_as_dash(no_update)
    assert json.loads(dumps([no_update])) == [{"_dash_no_update": "_dash_no_update"}]


# --- numpy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        *(
            np.array([0, 1, 2]).astype(code)
            for code in "?bBhHiIlLqQefdFDgGSUOmMV"
            if code not in "mM"
        ),
        np.array([True, False]),
        np.array([1.5, np.nan, np.inf]),
        np.array([2**40, -1]),
        np.array([2**63], dtype="uint64"),
        np.array([0, 127]),
        np.array([0, 128]),
        np.array([-129, 0]),
        np.array([0, 32768]),
        np.array([-(2**31), 2**31 - 1]),
        np.array([0, 255], dtype="uint64"),
        np.array([0, 65536], dtype="uint64"),
        np.array([]),
        np.array([], dtype="int64"),
        np.array(5),
        np.array(5.5, dtype="float32"),
        np.array("text"),
        np.array(None, dtype=object),
        np.array(html.B("x"), dtype=object),
        np.zeros((2, 3)),
        np.zeros((2, 3, 4), dtype="int64"),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(10)[::2],
        np.arange(10)[::-1],
        np.array(["a", "ü", "\u2028"]),
        np.array([["a"], ["b"]]),
        np.array(["a", 1, None, np.float32(0.1), html.B("x")], dtype=object),
        np.array([[1, "a"], [None, 2.5]], dtype=object),
        np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
        np.array(["2026-01-01T01:02:03.4"], dtype="datetime64[ns]"),
        np.array("2026-01-01", dtype="datetime64[s]"),
        np.array([1, 2], dtype="timedelta64[s]"),
        np.array([1, 2], dtype="timedelta64[ns]"),
        np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
        np.array([1.5], dtype=">f8"),
        np.ma.array([1.5, 2.5], mask=[False, True]),
        np.ma.array([1, 2], mask=[False, True]),
        np.ma.array(["a", "b"], mask=[False, True]),
        np.ma.masked,
        np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}-{type(array).__name__}",
)
def test_arrays_are_written_as_dash_writes_them(array: Any) -> None:
    assert_as_dash_everywhere(array)
    figure = go.Figure()
    # Past plotly's validators, which would turn some of these into others.
    figure._data = [{"x": array, "marker": {"size": array}, "range": array, "list": [array]}]  # type: ignore[assignment]
    assert_as_dash(figure)
    assert_as_dash({"figure": figure})


@pytest.mark.parametrize(
    "scalar",
    [
        np.bool_(True),
        np.int8(1),
        np.uint64(2**63),
        np.float16(0.1),
        np.float32(0.1),
        np.float64(0.1),
        np.float32("nan"),
        np.str_("text"),
        np.bytes_(b"text"),
        np.complex128(1),
        np.datetime64("2026-01-01"),
        np.datetime64("2026-01-01T01:02:03.000000004"),
        np.datetime64("NaT"),
        np.timedelta64(1, "s"),
        np.timedelta64(1, "ns"),
        np.void(b"x"),
    ],
    ids=repr,
)
def test_numpy_scalars_are_written_as_dash_writes_them(scalar: object) -> None:
    assert_as_dash_everywhere(scalar)


# --- pandas -----------------------------------------------------------------------------------

TIMES = pd.date_range("2026-01-01", periods=3, freq="h")


@pytest.mark.parametrize(
    "value",
    [
        pd.Series([1, 2, 3]),
        pd.Series([1.5, None]),
        pd.Series([True, False]),
        pd.Series(["a", None]),
        pd.Series(["a", 1, None, 2.5], dtype=object),
        pd.Series([html.B("x")]),
        pd.Series([], dtype=float),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series(["a", None], dtype="string"),
        pd.Series(["a", "b", "a"], dtype="category"),
        pd.Series(TIMES),
        pd.Series([TIMES[0], pd.NaT]),
        pd.Series(TIMES.tz_localize("Europe/Oslo")),
        pd.Series([TIMES[0], None], dtype=object),
        pd.Series(pd.to_timedelta([1, 2], "s")),
        pd.Index([1, 2]),
        pd.Index(["a", "b"]),
        pd.RangeIndex(3),
        pd.CategoricalIndex(["a", "b"]),
        pd.MultiIndex.from_tuples([(1, "a")]),
        TIMES,
        TIMES.tz_localize("UTC"),
        TIMES.tz_localize("America/New_York"),
        pd.DatetimeIndex([TIMES[0], pd.NaT]),
        pd.period_range("2026-01", periods=2, freq="M"),
        pd.Categorical(["a", "b"]),
        pd.array([1, None], dtype="Int64"),
        pd.Timestamp("2026-01-01 01:02:03"),
        pd.Timestamp("2026-01-01", tz="Europe/Oslo"),
        pd.NaT,
        pd.NA,
        pd.DataFrame({"a": [1]}),
        pd.DataFrame({"a": [1, 2], "b": TIMES[:2], "c": [None, 0.5]}).to_dict("records"),
        pd.DataFrame({"a": [np.float32(0.1)]}).to_dict("list"),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_pandas_values_are_written_as_dash_writes_them(value: object) -> None:
    assert_as_dash_everywhere(value)


# --- figures and images -----------------------------------------------------------------------

RNG = np.random.default_rng(7)


def figures() -> list[go.Figure]:
    gapminder = px.data.gapminder()
    framed = go.Figure(
        data=[go.Scatter(x=[1, 2], y=np.array([1.5, 2.5]))],
        frames=[go.Frame(data=[go.Scatter(y=np.arange(3))], name="one"), go.Frame(name="two")],
    )
    annotated = go.Figure(go.Scatter(x=TIMES, y=[1, None, np.nan], text=["a", "b", "</script>"]))
    annotated.add_annotation(x=TIMES[0], y=1, text="note")
    annotated.add_shape(type="rect", x0=datetime.date(2026, 1, 1), x1=TIMES[1], y0=0, y1=1)
    annotated.update_xaxes(range=np.array([0.0, 1.0]))
    annotated.update_layout(meta={"a": [np.arange(2), {"b": np.arange(2)}, (1, np.arange(2))]})
    return [
        go.Figure(),
        framed,
        annotated,
        Labelled(go.Scatter(y=np.arange(3))),
        go.Figure(go.Heatmap(z=RNG.random((3, 4)), x=list("abcd"))),
        go.Figure(go.Heatmap(z=RNG.integers(0, 9, (3, 4)))),
        go.Figure(go.Image(z=RNG.integers(0, 255, (2, 2, 3), dtype="uint8"))),
        go.Figure(
            go.Scatter(x=pd.Series(TIMES.tz_localize("Europe/Oslo")), y=pd.Series([1, 2, 3]))
        ),
        go.Figure(go.Scatter(customdata=np.array([["a", 1], ["b", None]], dtype=object), y=[1, 2])),
        go.Figure(go.Scatter(customdata=[Items([1, np.arange(3)]), Mapping(a=np.arange(3))])),
        go.Figure(go.Choroplethmap(geojson={"a": [np.arange(2)], "b": np.arange(2)})),
        go.Figure(layout={"images": [{"source": Image.new("RGB", (2, 2))}], "title": "t"}),
        px.scatter(gapminder, x="gdpPercap", y="lifeExp", color="continent", hover_name="country"),
        px.line(px.data.stocks(), x="date", y=["GOOG", "AAPL"]),
        px.scatter(gapminder[:200], x="gdpPercap", y="lifeExp", animation_frame="year"),
        px.treemap(gapminder[:40], path=["continent", "country"], values="pop"),
        px.imshow(RNG.integers(0, 255, (3, 3, 3), dtype="uint8")),
    ]


@pytest.mark.parametrize("figure", figures(), ids=lambda figure: type(figure).__name__)
def test_figures_are_written_as_dash_writes_them(figure: go.Figure) -> None:
    for value in (
        figure,
        [figure],
        {"response": {"graph": {"figure": figure}}},
        dcc.Graph(figure=figure),
        html.Div(dcc.Graph(figure=figure)),
        figure.to_dict(),
        {"data": list(figure.data), "layout": figure.layout},
    ):
        assert_as_dash(value)


def test_a_part_that_a_figure_holds_twice_is_written_as_in_dash() -> None:
    part = {"a": np.arange(3.0), "b": [np.arange(2)], "c": Mapping(d=np.arange(2))}
    for geojson in (part, [part], Mapping(part), {"deep": part}):
        figure = go.Figure(go.Choroplethmap())
        figure._data[0].update(geojson=geojson, meta=part)
        for value in (figure, [figure]):
            assert_as_dash(value)


def test_writing_a_figure_leaves_it_as_it_was() -> None:
    figure = figures()[2]
    before = figure.to_json()
    dumps(figure)
    dumps([html.Br(), figure])
    assert figure.to_json() == before
    assert isinstance(figure.data[0].x, np.ndarray)


def test_writing_a_component_leaves_it_as_it_was() -> None:
    children = [html.B(decimal.Decimal(1)), Point(1, 2)]
    component = html.Div(children, title=Text("t"))
    dumps(component)
    dumps([component])
    assert component.children is children
    assert children == [children[0], Point(1, 2)]
    assert children[0].children == decimal.Decimal(1)


def test_images_are_written_as_data_addresses() -> None:
    for mode in ("RGB", "RGBA", "L", "1"):
        image = Image.new(mode, (3, 2))
        assert_written_as_dash([image])
        assert_as_dash_everywhere(image)
    assert json.loads(dumps(html.Img(src=Image.new("L", (1, 1)))))["props"]["src"].startswith(
        "data:image/png;base64,"
    )


# --- everything at once -----------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=()), max_size=8)


def orjson_writes(array: Any) -> bool:
    """False for rows of dates without a year from 1 to 9998: broken JSON in Dash, too."""
    if array.dtype.kind != "M" or array.ndim < 2:
        return True
    years = array.astype("datetime64[Y]").view("int64") + 1970
    return bool(((years >= 1) & (years <= 9998)).all())


good_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.integers(0, 255).map(np.uint8),
    st.text(max_size=8),
    st.text(max_size=8).map(Text),
    st.sampled_from(["</script>", "<!--", "\u2028", "&amp;", "", *Shade, *Size, Colour.RED]),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.dates(),
    st.times(),
    st.decimals(),
    st.uuids(),
    st.sampled_from([pd.NaT, pd.NA, np.ma.masked, no_update, pd.Timestamp("2026-01-01")]),
    st.sampled_from([np.datetime64("2026-01-01"), np.timedelta64(3, "ns"), Lists()]),
    st_numpy.arrays(
        st.one_of(
            st_numpy.boolean_dtypes(),
            st_numpy.integer_dtypes(endianness="="),
            st_numpy.unsigned_integer_dtypes(endianness="="),
            st_numpy.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
            st_numpy.datetime64_dtypes(max_period="D", min_period="ms", endianness="="),
        ),
        st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ).filter(orjson_writes),
    st.lists(st.integers(0, 300) | st.floats(), max_size=4).map(lambda numbers: pd.Series(numbers)),
)
bad_scalars = st.one_of(
    any_text,
    st.integers(),
    st.binary(max_size=3),
    st.timedeltas(),
    st.complex_numbers(),
    st.sets(st.integers(), max_size=2),
    st.floats().map(Real),
    st.builds(Answers),
    st.sampled_from([Spoken.WORD, *Colour, Clumsy(), Empty(), pathlib.Path("a")]),
    st_numpy.arrays(
        st_numpy.scalar_dtypes(), st_numpy.array_shapes(min_dims=0, max_dims=2, max_side=3)
    ).filter(orjson_writes),
)
prop_values = st.dictionaries(
    st.sampled_from(["id", "title", "className", "style", "data-a", "aria-b", "hidden"]),
    st.text(max_size=4),
    max_size=4,
)
keys = st.one_of(
    st.text(max_size=4), st.integers(-9, 9), st.none(), st.booleans(), st.floats(), st.dates()
)


def compound(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(children, max_size=5)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(Items),
        st.dictionaries(keys, children, max_size=5),
        st.dictionaries(st.text(max_size=4), children, max_size=5).map(Mapping),
        st.builds(Point, children, children),
        st.builds(Record, st.text(max_size=3), children),
        st.builds(Describes, children),
        st.builds(lambda child, props: html.Div(child, **props), children, prop_values),
        st.builds(lambda child, props: html.Span(child, **props), lists, prop_values),
        st.builds(lambda child: dcc.Store("store", data={"child": child}), children),
        st.builds(lambda child: Wrapped(child), children),
        st.builds(lambda child: Titled(child), children),
        st.builds(figure_with, children),
        st.builds(patch_with, children),
        lists.map(object_array),
    )


def object_array(members: list[object]) -> Any:
    array = np.empty(len(members), dtype=object)
    for index, member in enumerate(members):
        array[index] = member
    return array


def figure_with(value: object) -> go.Figure:
    """A figure with a value where plotly takes any, past the validators, which would convert it."""
    figure = go.Figure()
    figure._data = [{"type": "scatter", "customdata": [value], "meta": value}]  # type: ignore[assignment]
    figure._layout = {"meta": {"range": value, "text": ["a", value]}}
    return figure


def patch_with(value: object) -> Patch:
    patch = Patch()
    patch["a"].b = value
    patch["c"].append(value)
    return patch


many_times = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many_times
@given(st.recursive(good_scalars, compound, max_leaves=12))
@pytest.mark.filterwarnings("ignore")
def test_any_mixture_of_what_dash_knows_is_written_as_dash_writes_it(value: object) -> None:
    assert_as_dash(value)


@many_times
@given(st.recursive(good_scalars | bad_scalars, compound, max_leaves=8))
@pytest.mark.filterwarnings("ignore")
def test_any_mixture_with_what_dash_does_not_know_ends_as_it_does_in_dash(value: object) -> None:
    assert_as_dash(value)
    assert_as_dash([html.Br(), value])


def test_rows_of_dates_of_which_one_is_missing_are_written_in_a_figure() -> None:
    # Dash writes broken JSON here.
    dates = np.array([["2026-01-01", "2026-01-02"], ["NaT", "2026-01-03"]], dtype="datetime64[D]")
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], customdata=dates))
    [trace] = json.loads(dumps(figure))["data"]
    assert trace["customdata"] == [["2026-01-01", "2026-01-02"], ["NaT", "2026-01-03"]]


# --- inside a page ----------------------------------------------------------------------------


@given(st.recursive(st.text() | st.none(), st.lists, max_leaves=5))
def test_json_for_a_page_parses_equal_to_json(value: object) -> None:
    assert json.loads(dumps_for_html(value)) == json.loads(dumps(value))


def test_json_for_a_page_cannot_leave_its_script_element() -> None:
    value = {
        "</script>": ["</SCRIPT ><script>alert(1)", "<!--", "-->", "]]>", "\u2028\u2029", "&lt;"]
    }
    text = dumps_for_html([value, html.Div("</script>")])
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text)[0] == value


# --- around it --------------------------------------------------------------------------------


def test_what_apps_send_does_not_need_dash_s_slower_way(monkeypatch: Any) -> None:
    def refuse(value: object) -> bytes:
        raise AssertionError(f"written by Dash: {value!r}")

    monkeypatch.setattr("flash.serialize._dumps_by_dash", refuse)
    for value in (
        nested(40, in_lists=True),
        html.Div([dcc.Graph(figure=figure) for figure in figures()], **{"data-a": 1}),
        {"response": {"a": {"children": [html.B("x"), decimal.Decimal(1), pd.NaT, TIMES]}}},
        [Patch(), no_update, np.float32(1), pd.Series(TIMES), Image.new("L", (1, 1)), html.Br()],
    ):
        assert dumps(value)


def test_the_json_engine_that_the_app_chose_for_plotly_is_used(monkeypatch: Any) -> None:
    value = {"a": datetime.date(2026, 1, 1), "b": [html.B({1: None}), np.arange(3)], "c": 2**70}
    monkeypatch.setattr(pio.json.config, "_default_engine", "json")
    assert_as_dash(value)
    assert outcome(dumps, value)[0] == "written"


def test_classes_first_met_by_many_threads_at_once_are_written_alike() -> None:
    classes = [
        type(f"Fresh{number}", (html.Div,), {"__module__": DASH_MODULE}) for number in range(50)
    ]
    layout = [cls([cls(number, title="t")]) for number, cls in enumerate(classes)]
    expected = outcome(to_json, layout)
    start = threading.Barrier(8)
    outcomes: list[tuple[object, ...]] = []

    def write() -> None:
        start.wait()
        outcomes.append(outcome(dumps, layout))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [expected] * 8


def test_numpy_pandas_and_pillow_are_not_loaded_by_serialising() -> None:
    script = """
import sys
from decimal import Decimal
from dash import html
from flash.serialize import dumps
before = set(sys.modules)
assert dumps([html.Div([html.B("x"), Decimal(1)])])
print(sorted({"numpy", "pandas", "PIL", "plotly.io"} & (sys.modules.keys() - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_plotly_names_the_keys_and_types_that_are_counted_on() -> None:
    if int(importlib.metadata.version("plotly").split(".")[0]) < 6:
        pytest.skip("arrays are typed since plotly 6")
    from _plotly_utils.utils import is_skipped_key, plotlyjsShortTypes

    from flash.serialize import figures as written

    assert all(is_skipped_key(key) for key in written._UNTYPED_KEYS)
    assert set(written._TYPE_NAMES.values()) == set(plotlyjsShortTypes.values())
