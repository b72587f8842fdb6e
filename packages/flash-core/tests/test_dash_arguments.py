"""Arguments of `dash.Dash` that only some of the versions that Flash allows have."""

import asyncio
import inspect
from functools import partial

import dash
import pytest
import quart
from dash import Input, Output, dcc, html

import flash
from flash import Flash
from flash.errors import ConfigurationError
from flash.testing import FlashClient

SECONDS = 20

KNOWN = inspect.signature(dash.Dash.__init__).parameters

with_dash_4_5 = pytest.mark.skipif("shared_storage" not in KNOWN, reason="Dash is older than 4.5")
before_dash_4_5 = pytest.mark.skipif("shared_storage" in KNOWN, reason="Dash is 4.5 or later")

OUT = Output("out", "children")
IN = Input("in", "value")
PATH = "/_dash-update-component"
CALL = {
    "output": "out.children",
    "outputs": {"id": "out", "property": "children"},
    "inputs": [{"id": "in", "property": "value", "value": "a"}],
    "changedPropIds": ["in.value"],
}


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


def an_app(**options):
    app = Flash(__name__, **options)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    return app


@before_dash_4_5
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", "card.png"),
        ("shared_storage", None),
        ("stream_keepalive_interval", 5000),
        ("stream_poll_interval", 500),
    ],
)
def test_an_argument_that_came_later_names_the_dash_that_has_it(name, value):
    with pytest.raises(TypeError) as refused:
        Flash(__name__, **{name: value})
    assert f"{name}=… needs Dash 4.5 or later, and this is Dash {dash.__version__}" in str(
        refused.value
    )
    assert "pip install 'dash>=4.5'" in str(refused.value)
    assert "test_dash_arguments.py" in str(refused.value)


@before_dash_4_5
@pytest.mark.parametrize(("name", "value"), [("compress_payload", True), ("compress_threshold", 1)])
def test_an_option_of_callbacks_that_came_later_names_the_dash_that_has_it(name, value):
    for register in (an_app().callback, flash.callback):
        with pytest.raises(TypeError, match=f"{name}=… needs Dash 4.5 or later, and this is Dash"):
            register(OUT, IN, **{name: value})


def test_a_default_that_is_written_out_is_taken_by_every_dash():
    options = {"image": None, "stream_keepalive_interval": 15_000, "stream_poll_interval": 100}
    assert Flash(__name__, **options).config.title == "Dash"


@with_dash_4_5
class TestDash45:
    async def test_an_image_stands_in_the_meta_tags_of_the_page(self):
        async with FlashClient(an_app(image="https://example.org/card.png")) as client:
            page = (await client.get("/")).text
        assert '<meta property="og:image" content="https://example.org/card.png">' in page

    async def test_callbacks_in_threads_and_on_the_loop_use_the_storage_that_is_given(self):
        storage = in_memory()()
        app = an_app(shared_storage=storage)

        @app.callback(OUT, IN)
        def written(value):
            dash.ctx.shared_storage.set("key", value)
            return dash.ctx.shared_storage.get("key")

        @app.callback(Output("in", "placeholder"), IN)
        async def read(value):
            return dash.ctx.shared_storage.get("key")

        async with FlashClient(app) as client:
            assert (await client.call("out.children", {"in.value": "a"})).value == "a"
            assert (await client.call("in.placeholder", {"in.value": "b"})).value == "a"
        assert storage.get("key") == "a"

    async def test_a_class_and_a_partial_make_the_storage(self):
        for storage in (in_memory(), partial(in_memory())):
            assert an_app(shared_storage=storage).shared_storage.get("none", 1) == 1

    async def test_without_a_storage_a_page_is_told_that_there_is_none(self):
        async with FlashClient(an_app(shared_storage=None)) as client:
            page = (await client.get("/")).text
        assert '"stream":{"enabled":false}' in page

    async def test_the_environment_chooses_where_no_storage_is_given(self, monkeypatch):
        monkeypatch.setenv("DASH_SHARED_STORAGE", "none")
        assert not an_app().shared_storage_enabled

    async def test_what_is_no_storage_is_refused_where_it_is_given(self):
        for wrong in ("redis://127.0.0.1/0", dict, 1):
            with pytest.raises(
                ConfigurationError, match=r"shared_storage=.* a dash\.BaseSharedStorage"
            ):
                an_app(shared_storage=wrong)

    async def test_a_stream_without_news_is_kept_alive(self):
        app = an_app(stream_keepalive_interval=10)

        async def slow(value):
            yield "first"
            await asyncio.sleep(0.5)
            yield "last"

        app.callback(OUT, IN)(slow)
        async with FlashClient(app) as client:
            lines = (await client.post(PATH, json=CALL)).text.splitlines()
        first, last = (
            next(place for place, line in enumerate(lines) if text in line)
            for text in ("first", "last")
        )
        assert "" in lines[first + 1 : last], lines

    async def test_a_stream_is_not_kept_alive_where_that_is_turned_off(self):
        app = an_app(stream_keepalive_interval=None)

        async def slow(value):
            yield "first"
            await asyncio.sleep(0.1)
            yield "last"

        app.callback(OUT, IN)(slow)
        async with FlashClient(app) as client:
            assert "" not in (await client.post(PATH, json=CALL)).text.splitlines()

    async def test_a_callback_reads_a_compressed_request(self):
        app = an_app()

        @app.callback(OUT, IN, compress_payload=True, compress_threshold=1000)
        def told(value):
            return f"{len(value)} {quart.request.headers.get('Content-Encoding')}"

        async with FlashClient(app) as client:
            assert (await client.call("out.children", {"in.value": "a"})).value == "1 None"
            large = await client.call("out.children", {"in.value": "a" * 20_000})
        assert large.value == "20000 gzip"

    @pytest.mark.parametrize(
        ("name", "value"), [("compress_payload", "gzip"), ("compress_threshold", -1)]
    )
    def test_a_wrong_option_of_compression_is_refused(self, name, value):
        with pytest.raises(ConfigurationError, match=f"{name}={value!r}"):
            an_app().callback(OUT, IN, **{name: value})

    @pytest.mark.parametrize("wrong", [-1, "fast", True])
    async def test_an_interval_that_is_none_is_refused(self, wrong):
        with pytest.raises(ConfigurationError, match=r"stream_keepalive_interval=.*milliseconds"):
            an_app(stream_keepalive_interval=wrong)

    async def test_an_interval_of_polls_is_refused_since_nothing_polls(self):
        with pytest.raises(ConfigurationError, match="stream_poll_interval=500: has no effect"):
            an_app(stream_poll_interval=500)


def in_memory():
    """Return a class of storages that keep keys in a dictionary and have no topics."""

    class Memory(dash.BaseSharedStorage):
        def __init__(self):
            self.keys = {}

        def get(self, key, default=None):
            return self.keys.get(key, default)

        def set(self, key, value, ttl=None):
            self.keys[key] = value

        def delete(self, key):
            self.keys.pop(key, None)

        def publish(self, topic, message, ttl=None):
            raise NotImplementedError

        def subscribe(self, topic, from_seq=None, **_):
            raise NotImplementedError

    return Memory
