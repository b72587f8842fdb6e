"""The names of loaders: one name stands for one function."""

import asyncio
import functools
import importlib
import sys
import textwrap
from contextlib import asynccontextmanager

import pytest

from flash import ConfigurationError, Flash, Input, Output, State, html
from flash.testing import FlashClient
from flash_lazy import lazy


@asynccontextmanager
async def page_of(app, *panels):
    app.layout = lambda: html.Div(list(panels))
    async with asyncio.timeout(10), FlashClient(app) as client:
        layout = await client.layout()
        yield client, layout.find_all("LazyPanel")


async def load(client, panel):
    children, answer = Output(panel.id, "children"), Output(panel.id, "answer")
    result = await client.call(
        [children, answer],
        {Input(panel.id, "request"): {"n": 1}, State(panel.id, "token"): panel["token"]},
    )
    return result[children], result[answer]["ok"]


@pytest.fixture
def app():
    return Flash(__name__)


def factory(number, **options):
    @lazy(**options)
    async def panel(x):
        return f"factory {number}: {x}"

    return panel


def test_11_6_two_loaders_of_a_factory_are_refused_with_both_places(app):
    first = factory(0)
    with pytest.raises(ConfigurationError) as refused:
        factory(1)
    text = str(refused.value)
    assert text.count(f"{__file__}:") == 2
    assert "@lazy(name=…)" in text
    assert "test_names.factory.<locals>.panel" in text
    assert first.name.endswith("panel")


async def test_11_6_two_loaders_of_a_factory_each_show_their_own_with_a_name(app):
    first, second = factory(0, name="first"), factory(1, name="second")
    async with page_of(app, first(1), second(1)) as (client, panels):
        shown = [(await load(client, panel))[0] for panel in panels]
    assert shown == ["factory 0: 1", "factory 1: 1"]


def test_11_6_the_same_function_made_again_is_no_other_one(app):
    def make():
        @lazy
        async def panel(x):
            return x

        return panel

    assert make().name == make().name
    assert factory(7).name == factory(7).name


async def test_11_6_a_layout_that_makes_a_loader_for_its_visitor_is_refused(app, caplog):
    visitors = iter([["anna"], ["bert"]])

    def layout():
        visitor = next(visitors, ["nobody"])

        @lazy
        async def mail():
            return visitor[0]

        return html.Div([mail()])

    app.layout = html.Div()
    async with FlashClient(app) as client:
        app.layout = layout
        statuses = [(await client.get("/_dash-layout")).status for _ in range(2)]
    assert 500 in statuses
    assert "two functions would be the loader" in caplog.text


async def test_11_6_each_app_of_a_function_that_makes_apps_may_have_the_name():
    def make_app(text):
        app = Flash(__name__)

        @lazy
        async def show():
            return text

        app.layout = lambda: html.Div([show()])
        return app

    for text in ("one", "other"):
        app = make_app([text])
        async with FlashClient(app) as client:
            (panel,) = (await client.layout()).find_all("LazyPanel")
            assert await load(client, panel) == ([text], True)


class Shop:
    def __init__(self, city):
        self.city = city

    async def sales(self, day):
        return f"{self.city} {day}"

    async def __call__(self, day):
        return f"called {self.city} {day}"


async def sales(city, day):
    return f"{city} {day}"


async def test_11_6_partials_bound_methods_and_callable_instances_are_loaders(app):
    loaders = [
        lazy(functools.partial(sales, "Rome")),
        lazy(Shop("Oslo").sales),
        lazy(Shop("Bern")),
    ]
    async with page_of(app, *(each(3) for each in loaders)) as (client, panels):
        shown = [(await load(client, panel))[0] for panel in panels]
    assert shown == ["Rome 3", "Oslo 3", "called Bern 3"]


@pytest.mark.parametrize(
    "make",
    [
        lambda city: functools.partial(sales, city),
        lambda city: Shop(city).sales,
        lambda city: Shop(city),
        lambda city: lambda day: f"{city} {day}",
    ],
    ids=["partial", "method", "instance", "lambda"],
)
def test_11_6_two_of_one_name_are_refused_whatever_kind_of_function(app, make):
    first = lazy(make("Rome"))
    with pytest.raises(ConfigurationError, match=r"@lazy\(name=…\)"):
        lazy(make("Oslo"))
    assert lazy(name=first.name + " Oslo")(make("Oslo")).name.endswith("Oslo")


def test_11_6_what_is_no_function_is_refused(app):
    with pytest.raises(ConfigurationError, match="@lazy on 7"):
        lazy(name="seven")(7)


def test_11_6_a_loop_at_module_level_is_refused_and_a_reload_is_not(tmp_path, monkeypatch, app):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "named_once.py"
    module.write_text("from flash_lazy import lazy\n\n@lazy\ndef show(x):\n    return x\n")
    once = importlib.import_module("named_once")
    first = once.show
    assert importlib.reload(once).show is not first
    loop = """
        from flash_lazy import lazy
        panels = []
        for city in ("Rome", "Oslo"):
            @lazy
            def show(x, city=city):
                return city
            panels.append(show)
    """
    (tmp_path / "named_in_a_loop.py").write_text(textwrap.dedent(loop))
    with pytest.raises(ConfigurationError, match=r"named_in_a_loop\.show"):
        importlib.import_module("named_in_a_loop")
    for name in ("named_once", "named_in_a_loop"):
        sys.modules.pop(name, None)
