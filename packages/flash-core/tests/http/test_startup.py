"""Without a lifespan the first request starts everything, and the end of the loop ends it."""

import asyncio
import threading
from contextlib import contextmanager

import dash
import pytest
import quart

from flash import Flash, Input, Output, html
from flash.http.gateway import Gateway
from flash.http.startup import _InPlace
from flash.testing import FlashClient


class Host:
    """Passes requests on, and no lifespan, as an app in which another is mounted."""

    def __init__(self, app, root_path=""):
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        path = self._root_path + scope["path"]
        await self._app({**scope, "root_path": self._root_path, "path": path}, receive, send)


@pytest.fixture
def events():
    return []


@pytest.fixture
def ends():
    """In which order this Quart ends what `app` has: until 0.20, generators come last."""
    ended = []

    async def serve():
        server = quart.Quart(__name__)

        @server.while_serving
        async def third():
            yield
            ended.append("third ended")

        server.after_serving(lambda: ended.append("ended"))
        await server.startup()
        await server.shutdown()

    with asyncio.Runner() as runner:
        runner.run(serve())
    return ended


@pytest.fixture
def app(events):
    app = Flash(__name__)
    app.layout = lambda: html.Img(src=app.get_asset_url("a.png"))
    app.server.before_serving(lambda: events.append("first"))

    @app.server.before_serving
    async def second():
        await asyncio.sleep(0)
        events.append("second")

    @app.server.while_serving
    async def third():
        events.append("third")
        yield
        events.append("third ended")

    app.server.after_serving(lambda: events.append("ended"))
    return app


async def test_requests_at_the_same_time_start_everything_once_and_in_order(app, events):
    async with FlashClient(Host(app)) as client:
        answers = await asyncio.gather(*(client.get("/_dash-layout") for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    assert events == ["first", "second", "third"]
    assert app.has_started


def test_the_end_of_the_loop_ends_it_and_another_loop_starts_it_again(app, events, ends):
    async def once():
        async with FlashClient(Host(app)) as client:
            assert (await client.get("/_dash-layout")).status == 200

    whole = ["first", "second", "third", *ends]
    asyncio.run(once())
    assert events == whole
    # Quart runs such a generator once.
    app.server.while_serving_gens.clear()
    asyncio.run(once())
    assert events == [*whole, "first", "second", "ended"]


async def test_the_lifespan_of_a_host_starts_and_ends_it(app, events, ends):
    async with app.lifespan(object()):
        assert events == ["first", "second", "third"]
        async with FlashClient(Host(app)) as client:
            assert (await client.get("/_dash-layout")).status == 200
        assert events == ["first", "second", "third"]
    assert events[-2:] == ends


async def test_a_start_that_fails_is_ended_and_tried_again(events):
    app = Flash(__name__)
    app.layout = html.P("hello")
    app.server.before_serving(lambda: events.append("first"))

    @app.server.before_serving
    def second():
        if events.count("first") == 1:
            raise RuntimeError("no database")

    app.server.after_serving(lambda: events.append("ended"))
    async with FlashClient(Host(app)) as client:
        with pytest.raises(RuntimeError, match="no database"):
            await client.get("/")
        # The request has the error; asyncio would log that nobody has taken it from the task.
        holder = Gateway.of(app.server).startup._holder
        await asyncio.wait({holder})
        assert holder.exception() is None
        assert (await client.get("/")).status == 200
    assert events == ["first", "ended", "first"]


async def test_the_prefix_is_the_root_path_where_the_app_has_none(app):
    async with FlashClient(Host(app, "/dash")) as client:
        page = await client.get("/")
        layout = await client.get("/_dash-layout")
    assert '"requests_pathname_prefix":"/dash/"' in page.text
    assert 'src="/dash/_dash-component-suites/' in page.text
    assert layout.json()["props"]["src"] == "/dash/assets/a.png"


@pytest.mark.parametrize(
    "given", [{"requests_pathname_prefix": "/sales/"}, {"requests_pathname_prefix": "/"}]
)
async def test_a_prefix_that_was_given_stays(given):
    app = Flash(__name__, **given)
    app.layout = html.P("hello")
    async with FlashClient(Host(app, "/dash")) as client:
        page = (await client.get("/")).text
    assert f'"requests_pathname_prefix":"{given["requests_pathname_prefix"]}"' in page


async def test_a_lifespan_that_follows_ends_what_a_request_has_started(app, events):
    # Quart runs such a generator once.
    app.server.while_serving_gens.clear()
    async with FlashClient(Host(app)) as client:
        await client.get("/")
    async with FlashClient(app):
        assert Gateway.of(app.server).startup.is_complete
        assert events == ["first", "second", "ended", "first", "second"]


@pytest.mark.parametrize("mended", [False, True])
async def test_a_start_that_has_failed_is_repeated_as_a_whole(mended, tmp_path):
    (tmp_path / "own.js").write_text("1")
    app = Flash(__name__, assets_folder=str(tmp_path), use_pages=True, pages_folder="")
    dash.register_page("home", path="/", layout=html.P("home"))
    dash.callback(Output("out", "children"), Input("in", "value"))(str)
    broken = html.Div([html.P(id="same"), html.P(id="same"), dash.page_container])
    app.layout = broken
    async with FlashClient(Host(app)) as client:
        for _ in range(2):
            with pytest.raises(dash.exceptions.DuplicateIdError):
                await client.get("/_dash-layout")
        if not mended:
            return
        app.layout = html.Div(dash.page_container)
        assert (await client.get("/_dash-layout")).status == 200
        assert (await client.get("/")).text.count("own.js") == 1
        outputs = [each["output"] for each in (await client.get("/_dash-dependencies")).json()]
    assert sorted(outputs) == sorted(set(outputs))
    assert "out.children" in outputs


# -- the end of a process whose loop has not ended


@contextmanager
def loop_of(*, is_running):
    """How to run something on a loop that stands still otherwise, or runs in its own thread."""
    loop = asyncio.new_event_loop()
    if not is_running:
        yield loop.run_until_complete
        loop.close()
        return
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


@pytest.mark.parametrize("is_running", [False, True], ids=["still", "running"])
def test_what_a_request_has_started_ends_with_the_process(app, events, ends, is_running):
    threads = []

    @app.server.after_serving
    async def note_threads():
        threads.append(threading.current_thread())
        threads.append(await asyncio.to_thread(threading.current_thread))

    async def ask():
        async with FlashClient(Host(app)) as client:
            assert (await client.get("/_dash-layout")).status == 200

    with loop_of(is_running=is_running) as run:
        run(ask())
        startup = Gateway.of(app.server).startup
        assert startup.is_complete
        startup._end_with_process()
        assert events == ["first", "second", "third", *ends]
        assert not startup.is_complete
        # A process that ends can start no thread.
        assert threads[0] is threads[1]
    # It has ended, and so has its loop.
    startup._end_with_process()
    assert events == ["first", "second", "third", *ends]


async def test_a_lifespan_on_another_loop_ends_what_a_request_has_started(app, events):
    # Quart runs such a generator once.
    app.server.while_serving_gens.clear()

    async def ask():
        async with FlashClient(Host(app)) as client:
            assert (await client.get("/_dash-layout")).status == 200

    with loop_of(is_running=True) as run:
        await asyncio.to_thread(run, ask())
        assert events == ["first", "second"]
        async with app.lifespan(object()):
            assert events == ["first", "second", "ended", "first", "second"]


def test_an_executor_in_place_gives_results_and_errors():
    executor = _InPlace()
    assert executor.submit(divmod, 7, 2).result(0) == (3, 1)
    assert executor.submit(int, "11", base=2).result(0) == 3
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 1, 0).result(0)


def test_a_server_is_not_run_while_a_command_imports_its_module(app, monkeypatch):
    ran = []
    startup = Gateway.of(app.server).startup
    monkeypatch.setattr(startup, "_run", lambda *args, **options: ran.append((args, options)))
    for ignores in (True, False):
        monkeypatch.setattr("flash.http.startup.ignores_run", lambda ignores=ignores: ignores)
        app.server.run("host", port=1)
    assert ran == [(("host",), {"port": 1})]
