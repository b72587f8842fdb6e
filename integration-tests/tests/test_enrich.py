"""`flash.enrich`: the transforms of dash-extensions around async callbacks and layouts."""

import asyncio
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import diskcache
import pytest
import quart
from dash_extensions import enrich

import flash
from flash import DiskcacheManager
from flash.background import AsyncManager
from flash.enrich import (
    BlockingCallbackTransform,
    Dash,
    DashBlueprint,
    DashProxy,
    DataclassTransform,
    FileSystemBackend,
    Input,
    MultiplexerTransform,
    Output,
    PrefixIdTransform,
    Serverside,
    ServersideOutputTransform,
    Trigger,
    TriggerTransform,
    callback,
    dcc,
    html,
    page_container,
    page_registry,
    register_page,
)
from flash.testing import CallbackFailed, FlashClient


@dataclass
class Point:
    x: int
    y: int


def shown() -> html.Div:
    return html.Div(
        [html.Button(id="go"), html.Button(id="other"), dcc.Store(id="kept"), html.P(id="out")]
    )


def on_the_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@pytest.fixture(autouse=True)
def no_global_callbacks():
    yield
    enrich.GLOBAL_BLUEPRINT.clear()


@pytest.fixture
def kept_on_the_server(tmp_path: Path) -> ServersideOutputTransform:
    return ServersideOutputTransform(backends=[FileSystemBackend(str(tmp_path))])


def test_the_classes_are_those_of_dash_extensions_on_flash():
    app = DashProxy(__name__, max_threads=3)
    assert isinstance(app, enrich.DashProxy)
    assert isinstance(app, flash.Flash)
    assert app.pool.max_threads == 3
    assert issubclass(Dash, enrich.Dash)


def test_every_public_name_of_dash_extensions_enrich_is_there():
    import flash.enrich

    names = [name for name in vars(enrich) if not name.startswith("_")]
    assert not [name for name in names if not hasattr(flash.enrich, name)]
    assert flash.enrich.html is flash.html
    with pytest.raises(AttributeError, match=r"flash\.enrich.*no_such_name"):
        flash.enrich.no_such_name  # noqa: B018


def test_without_dash_extensions_the_import_says_what_to_install():
    code = "import sys; sys.modules['dash_extensions'] = None; import flash; import flash.enrich"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install flash-core[enrich]" in answer.stderr.splitlines()[-1]


async def test_two_async_callbacks_share_an_output_and_stay_on_the_loop():
    app = DashProxy(__name__, transforms=[MultiplexerTransform()])
    app.layout = shown()

    @app.callback(Output("out", "children"), Input("go", "n_clicks"))
    async def one(clicks):
        return f"go {clicks}, {threading.current_thread() is threading.main_thread()}"

    @app.callback(Output("out", "children"), Input("other", "n_clicks"))
    def two(clicks):
        return f"other {clicks}, {threading.current_thread() is threading.main_thread()}"

    async with FlashClient(app) as client:
        first, second = (name for name in app.callback_map if name.startswith("out."))
        assert (await client.call(first, {"go.n_clicks": 1}))["out.children"] == "go 1, True"
        assert (await client.call(second, {"other.n_clicks": 2}))["out.children"] == (
            "other 2, False"
        )


async def test_a_transform_works_on_what_an_async_callback_returns(kept_on_the_server):
    app = DashProxy(__name__, transforms=[TriggerTransform(), kept_on_the_server])
    app.layout = shown()

    @app.callback(Output("kept", "data"), Trigger("go", "n_clicks"))
    async def make():
        await asyncio.sleep(0)
        return Serverside({1, 2, 3})

    @app.callback(Output("out", "children"), Input("kept", "data"))
    async def use(kept):
        assert on_the_loop()
        return f"{sum(kept)} of {type(kept).__name__}"

    async with FlashClient(app) as client:
        kept = (await client.call("kept.data", {"go.n_clicks": 1}))["kept.data"]
        assert kept.startswith("SERVERSIDE_")
        assert (await client.call("out.children", {"kept.data": kept}))["out.children"] == (
            "6 of set"
        )


async def test_a_transform_sees_the_annotations_of_an_async_callback():
    app = DashProxy(__name__, transforms=[DataclassTransform()])
    app.layout = shown()

    @app.callback(Output("out", "children"), Input("kept", "data"))
    async def use(point: Point):
        return point.x + point.y

    async with FlashClient(app) as client:
        answer = await client.call("out.children", {"kept.data": {"x": 1, "y": 2}})
        assert answer["out.children"] == 3


async def test_an_async_callback_s_error_passes_through_the_transforms(kept_on_the_server):
    app = DashProxy(__name__, transforms=[kept_on_the_server])
    app.layout = shown()

    @app.callback(Output("out", "children"), Input("go", "n_clicks"))
    async def fail(clicks):
        raise LookupError("not there")

    async with FlashClient(app) as client:
        with pytest.raises(CallbackFailed):
            await client.call("out.children", {"go.n_clicks": 1})


async def test_flash_s_callback_options_reach_the_callback():
    app = DashProxy(__name__, transforms=[MultiplexerTransform()])
    app.layout = shown()

    @callback(Output("out", "children"), Input("go", "n_clicks"), run_in="loop")
    def where(clicks):
        return str(on_the_loop())

    async with FlashClient(app) as client:
        assert (await client.call("out.children", {"go.n_clicks": 1}))["out.children"] == "True"


async def test_an_async_layout_is_transformed_like_a_plain_one():
    app = DashProxy(__name__, transforms=[BlockingCallbackTransform()])

    async def layout():
        await asyncio.sleep(0)
        assert on_the_loop()
        return shown()

    app.layout = layout

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), blocking=True)
    def work(clicks):
        return clicks

    async with FlashClient(app) as client:
        for _ in range(2):
            kinds = [each["type"] for each in (await client.layout("/")).children]
            assert kinds == ["Button", "Button", "Store", "P", *["Store"] * 5, "CycleBreaker"]


async def test_a_plain_layout_is_transformed_once_and_a_function_s_each_time():
    for layout in (shown(), shown):
        app = DashProxy(__name__, transforms=[PrefixIdTransform("part")])
        app.layout = layout
        async with FlashClient(app) as client:
            for _ in range(2):
                assert (await client.layout("/")).find("part-out")


async def test_an_async_blueprint_is_embedded():
    part = DashBlueprint(transforms=[PrefixIdTransform("part"), TriggerTransform()])
    part.layout = shown()

    @part.callback(Output("out", "children"), Trigger("go", "n_clicks"))
    async def work():
        return "from the part"

    app = DashProxy(__name__)
    app.layout = html.Main(part.embed(app))
    async with FlashClient(app) as client:
        answer = await client.call("part-out.children", {"part-go.n_clicks": 1})
        assert answer["part-out.children"] == "from the part"


async def test_the_app_with_all_transforms_needs_no_list_of_them(tmp_path, monkeypatch):
    # Where its store of objects goes.
    monkeypatch.chdir(tmp_path)
    app = Dash(__name__)
    app.layout = shown()

    @app.callback(Output("kept", "data"), Trigger("go", "n_clicks"))
    async def make():
        return Serverside(Point(1, 2))

    async with FlashClient(app) as client:
        kept = (await client.call("kept.data", {"go.n_clicks": 1}))["kept.data"]
        assert kept.startswith("SERVERSIDE_")


# Diskcache's manager forks, which newer Pythons warn of.
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["async", "diskcache"])
async def test_a_transform_works_on_what_an_async_background_job_returns(
    kept_on_the_server, tmp_path, kind
):
    with diskcache.Cache(tmp_path / "jobs") as cache:
        manager = AsyncManager() if kind == "async" else DiskcacheManager(cache)
        app = DashProxy(
            __name__, transforms=[kept_on_the_server], background_callback_manager=manager
        )
        app.layout = shown()

        @app.callback(Output("kept", "data"), Input("go", "n_clicks"), background=True)
        async def make(clicks):
            await asyncio.sleep(0)
            return Serverside(set(range(clicks)))

        async with asyncio.timeout(60), FlashClient(app) as client:
            kept = (await client.call("kept.data", {"go.n_clicks": 1}))["kept.data"]
            assert kept.startswith("SERVERSIDE_")


async def test_pages_may_be_async_too(kept_on_the_server):
    app = DashProxy(__name__, use_pages=True, pages_folder="", transforms=[kept_on_the_server])
    app.layout = html.Div([page_container, dcc.Store(id="kept")])

    async def layout(number=None):
        return html.P(f"Number {number}", id="number")

    register_page("numbered", path_template="/number/<number>", layout=layout)
    try:
        async with FlashClient(app) as client:
            assert (await client.layout("/number/7")).find("number").text == "Number 7"
    finally:
        page_registry.clear()


@pytest.mark.parametrize("with_guard", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
async def test_11_20_a_layout_may_need_its_visitor(is_async, with_guard, caplog):
    app = DashProxy(__name__, transforms=[MultiplexerTransform()])
    app.server.secret_key = "secret"
    if with_guard:
        app.server.before_request(lambda: None)

    @app.server.get("/login")
    async def login():
        quart.session["user"] = "ada"
        return "hello"

    def make():
        return html.Div([html.P(quart.session["user"]), *shown().children])

    async def make_later():
        return make()

    app.layout = make_later if is_async else make
    for button in ("go", "other"):
        app.callback(Output("out", "children"), Input(button, "n_clicks"))(str)
    async with FlashClient(app) as client:
        await client.get("/login")
        assert (await client.layout()).text.startswith("ada")
        # The transform has made one output of two.
        assert len([name for name in app.callback_map if name.startswith("out.")]) == 2
    (warning,) = [each for each in caplog.messages if "without a visitor" in each]
    assert "KeyError: 'user'" in warning
    assert f"test_enrich.py:{make.__code__.co_firstlineno + 1})" in warning


async def test_11_20_guards_do_not_let_transforms_see_the_layout_before_the_callbacks():
    app = DashProxy(__name__, transforms=[BlockingCallbackTransform()])
    app.server.before_request(lambda: None)
    app.layout = shown()

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), blocking=True)
    def slow(clicks):
        return clicks

    async with FlashClient(app) as client:
        added = len((await client.layout()).children)
    assert added > len(shown().children)
