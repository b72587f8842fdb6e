"""Loaders on a server, without a browser: what runs, how often, and what the page is told."""

import asyncio
import inspect
import sys
import threading
from contextlib import asynccontextmanager

import pytest
import quart
from dash.exceptions import PreventUpdate

from flash import ConfigurationError, Flash, Input, Output, State, html, no_update
from flash.testing import CallbackFailed, FlashClient
from flash_lazy import LazyLoad, LazyPanel, MemoryCache, configure, lazy
from flash_lazy.panels import panels_of

SECONDS = 10


@asynccontextmanager
async def page_of(app, *panels):
    """A client that looks at these panels, and the panels as it got them."""
    app.layout = lambda: html.Div(list(panels))
    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        layout = await client.layout()
        yield client, layout.find_all("LazyPanel")


async def load(client, panel, token=None, number=1):
    """Ask for a panel as its page does; its children, and whether all went well."""
    children, answer = Output(panel.id, "children"), Output(panel.id, "answer")
    result = await client.call(
        [children, answer],
        {
            Input(panel.id, "request"): {"n": number},
            State(panel.id, "token"): panel["token"] if token is None else token,
        },
    )
    assert result[answer]["n"] == number
    return result[children], result[answer]["ok"]


@pytest.fixture
def app():
    return Flash(__name__)


class Database:
    """Counts its queries and answers when it is told to."""

    def __init__(self) -> None:
        self.queries: list[object] = []
        self.cancelled = 0
        self.may_answer = asyncio.Event()
        self.asked = asyncio.Event()

    async def fetch(self, query: object) -> object:
        self.queries.append(query)
        self.asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return query


@pytest.fixture
async def database():
    return Database()


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  any condition
            await asyncio.sleep(0)


# -- placing


async def test_a_loader_keeps_the_signature_and_the_name_of_its_function():
    @lazy(height=10)
    async def orders(customer: int, *, month: str = "May") -> str:
        """Orders of a month."""
        return month

    assert str(inspect.signature(orders)) == "(customer: int, *, month: str = 'May') -> str"
    assert orders.__name__ == "orders"
    assert orders.__doc__ == "Orders of a month."
    assert isinstance(orders(7), LazyPanel)
    assert isinstance(orders(7), LazyLoad)
    with pytest.raises(TypeError, match="missing a required argument: 'customer'"):
        orders()


async def test_c1_placing_a_panel_runs_nothing_and_sends_nothing_of_it(app, database):
    @lazy
    async def orders(customer: int):
        return html.P(await database.fetch(customer))

    async with page_of(app, *map(orders, range(50))) as (_, panels):
        assert len(panels) == 50
        assert all("children" not in panel.props for panel in panels)
    assert database.queries == []


async def test_every_kind_of_parameter_arrives(app):
    @lazy
    async def show(first, /, second, *rest, third=3, **more):
        return repr((first, second, rest, third, more))

    async with page_of(app, show(1, "2", 4, 5, six=[6])) as (client, [panel]):
        assert await load(client, panel) == ("(1, '2', (4, 5), 3, {'six': [6]})", True)


async def test_a_static_layout_may_be_made_before_there_is_an_app():
    @lazy
    async def greet(name):
        return f"hello {name}"

    layout = html.Div(greet("Ada"))
    app = Flash(__name__)
    app.layout = layout
    async with FlashClient(app) as client:
        [panel] = (await client.layout()).find_all("LazyPanel")
        assert await load(client, panel) == ("hello Ada", True)


async def test_a_plain_function_runs_in_a_thread(app):
    loop_thread = threading.get_ident()

    @lazy
    def where():
        return str(threading.get_ident() == loop_thread)

    async with page_of(app, where()) as (client, [panel]):
        assert await load(client, panel) == ("False", True)


async def test_a_loaded_panel_may_hold_panels(app):
    @lazy
    async def inner(number):
        return f"inner {number}"

    @lazy
    async def outer():
        return html.Div([inner(1), inner(2)])

    async with page_of(app, outer()) as (client, [panel]):
        children, _ = await load(client, panel)
        nested = [child["props"] for child in children["props"]["children"]]
        assert len({str(each["id"]) for each in nested}) == 2
        texts = [await load(client, panel, token=each["token"]) for each in nested]
        assert texts == [("inner 1", True), ("inner 2", True)]


async def test_a_loader_sees_the_request_of_the_page_that_asks(app):
    @lazy
    async def path():
        return quart.request.path

    async with page_of(app, path()) as (client, [panel]):
        assert await load(client, panel) == ("/_dash-update-component", True)


async def test_what_guards_every_request_guards_loads(app, database):
    @lazy
    async def secret():
        return await database.fetch("secret")

    async with page_of(app, secret()) as (client, [panel]):

        @app.server.before_request
        async def guard():
            return quart.Response("log in", 401)

        with pytest.raises(CallbackFailed, match="401"):
            await load(client, panel)
    assert database.queries == []


async def test_two_apps_on_one_server_load_their_own():
    server = quart.Quart(__name__)
    apps = [Flash(__name__, server=server, url_base_pathname=path) for path in ("/a/", "/b/")]

    @lazy
    async def greet():
        return "hello"

    tokens = []
    for app in apps:
        app.layout = lambda: greet()
    for path in ("/a/", "/b/"):
        async with FlashClient(server, base_url=f"http://testserver{path}") as client:
            [panel] = (await client.layout()).find_all("LazyPanel")
            tokens.append(panel["token"])
            assert await load(client, panel) == ("hello", True)
            for other in set(tokens) - {panel["token"]}:
                with pytest.raises(CallbackFailed, match="400"):
                    await load(client, panel, token=other)


# -- C2: once for all


async def test_c2_viewers_at_once_share_one_run(app, database):
    @lazy
    async def orders(customer):
        return await database.fetch(customer)

    async with page_of(app, orders(7), orders(7), orders(8)) as (client, panels):
        loads = [asyncio.create_task(load(client, p)) for _ in range(20) for p in panels]
        await until(lambda: len(database.queries) == 2)
        database.may_answer.set()
        assert {await each for each in loads} == {(7, True), (8, True)}
    assert sorted(database.queries) == [7, 8]


async def test_c2_a_viewer_that_leaves_does_not_disturb_the_others(app, database):
    @lazy
    async def orders():
        return await database.fetch("orders")

    async with page_of(app, orders()) as (client, [panel]):
        leaving, staying = (asyncio.create_task(load(client, panel)) for _ in range(2))
        await database.asked.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        database.may_answer.set()
        assert await staying == ("orders", True)
    assert database.queries == ["orders"]


async def test_c2_the_last_viewer_that_leaves_ends_the_run(app, database):
    @lazy
    async def orders():
        return await database.fetch("orders")

    async with page_of(app, orders()) as (client, [panel]):
        loads = [asyncio.create_task(load(client, panel)) for _ in range(2)]
        await database.asked.wait()
        for each in loads:
            each.cancel()
        await asyncio.wait(loads)
        await until(lambda: database.cancelled == 1)


async def test_c2_a_result_is_kept_for_its_time_and_then_loaded_again(app):
    runs = []

    @lazy(cache=60)
    async def orders():
        runs.append(1)
        return len(runs)

    now = 1000.0
    panels_of(app).clock = lambda: now
    async with page_of(app, orders()) as (client, [panel]):
        assert await load(client, panel) == (1, True)
        now += 59
        assert await load(client, panel) == (1, True)
        now += 2
        assert await load(client, panel) == (2, True)


async def test_c2_a_stale_result_is_shown_while_one_run_loads_a_new_one(app):
    runs = []
    may_go_on = asyncio.Event()
    may_go_on.set()

    @lazy(cache=60, stale=600)
    async def orders():
        runs.append(1)
        number = len(runs)
        await may_go_on.wait()
        return number

    now = 1000.0
    panels_of(app).clock = lambda: now
    async with page_of(app, orders()) as (client, [panel]):
        assert await load(client, panel) == (1, True)
        now += 100
        may_go_on.clear()
        for _ in range(3):
            assert await load(client, panel) == (1, True)
        may_go_on.set()
        await until(lambda: len(runs) == 2)
        while await load(client, panel) != (2, True):  # noqa: ASYNC110
            await asyncio.sleep(0)
        now += 1000
        assert await load(client, panel) == (3, True)


async def test_a_stale_result_outlives_a_loader_that_fails(app, caplog):
    fails = False

    @lazy(cache=60, stale=600)
    async def orders():
        if fails:
            raise ValueError("down")
        return "orders"

    now = 1000.0
    panels_of(app).clock = lambda: now
    async with page_of(app, orders()) as (client, [panel]):
        await load(client, panel)
        fails = True
        now += 100
        assert await load(client, panel) == ("orders", True)
        await until(lambda: "the stale result could not be replaced" in caplog.text)
        assert await load(client, panel) == ("orders", True)


async def test_key_tells_apart_what_the_arguments_do_not(app):
    tenant = "a"

    @lazy(cache=60, key=lambda customer: tenant)
    async def orders(customer):
        return f"{tenant}{customer}"

    async with page_of(app, orders(7)) as (client, [panel]):
        assert await load(client, panel) == ("a7", True)
        tenant = "b"
        assert await load(client, panel) == ("b7", True)
        tenant = "a"
        assert await load(client, panel) == ("a7", True)


@pytest.mark.parametrize("whose", ["loader", "app"])
async def test_c2_no_more_loads_run_at_a_time_than_allowed(app, whose):
    running = most = 0

    @lazy(max_concurrency=2 if whose == "loader" else None)
    async def orders(customer):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return customer

    if whose == "app":
        configure(app, max_concurrency=2)
    async with page_of(app, *map(orders, range(12))) as (client, panels):
        found = await asyncio.gather(*(load(client, panel) for panel in panels))
    assert [number for number, _ in found] == list(range(12))
    assert most == 2


async def test_more_loads_than_may_wait_are_answered_503(app, database):
    @lazy
    async def orders(customer):
        return await database.fetch(customer)

    configure(app, max_concurrency=1, max_waiting=1)
    async with page_of(app, *map(orders, range(3))) as (client, panels):
        loads = [asyncio.create_task(load(client, panel)) for panel in panels[:2]]
        await database.asked.wait()
        with pytest.raises(CallbackFailed, match=r"503.*raise max_concurrency="):
            await load(client, panels[2])
        database.may_answer.set()
        await asyncio.gather(*loads)


@pytest.mark.parametrize("thread", [False, True])
async def test_c2_what_is_invalidated_is_loaded_again(app, thread):
    runs = []

    @lazy(cache=60)
    async def orders(customer):
        runs.append(customer)
        return len(runs)

    async def invalidate(*arguments):
        await (asyncio.to_thread if thread else call)(orders.invalidate, *arguments)
        await asyncio.sleep(0)

    async def call(function, *arguments):
        function(*arguments)

    async with page_of(app, orders(7), orders(8)) as (client, [seven, eight]):
        assert await load(client, seven) == (1, True)
        assert await load(client, eight) == (2, True)
        await invalidate(7)
        assert await load(client, seven) == (3, True)
        assert await load(client, eight) == (2, True)
        await invalidate()
        assert await load(client, eight) == (4, True)
    assert runs == [7, 8, 7, 8]


async def test_a_load_from_before_an_invalidation_is_neither_kept_nor_joined(app, database):
    @lazy(cache=60)
    async def orders():
        return await database.fetch(len(database.queries))

    async with page_of(app, orders()) as (client, [panel]):
        early = asyncio.create_task(load(client, panel))
        await database.asked.wait()
        orders.invalidate()
        late = asyncio.create_task(load(client, panel))
        await until(lambda: len(database.queries) == 2)
        database.may_answer.set()
        assert await early == (0, True)
        assert await late == (1, True)
        assert await load(client, panel) == (1, True)


async def test_an_app_may_bring_its_own_cache(app):
    cache = MemoryCache(max_entries=1)
    configure(app, cache=cache)

    @lazy(cache=60)
    async def orders(customer):
        return customer

    async with page_of(app, *map(orders, range(3))) as (client, panels):
        for panel in panels:
            await load(client, panel)
        assert len(cache) == 1


async def test_configure_comes_too_late_for_an_app_that_is_served(app):
    async with page_of(app):
        with pytest.raises(ConfigurationError, match="while the app is being served"):
            configure(app, max_concurrency=3)


# -- C3: signed


async def test_c3_a_tampered_token_is_answered_400_in_one_line_and_runs_nothing(app, database):
    @lazy
    async def orders(customer):
        return await database.fetch(customer)

    async with page_of(app, orders(7)) as (client, [panel]):
        good = panel["token"]
        for bad in ("", "nonsense", good[:-1], good + "A", good[::-1], 7, ["x"], {"a": 1}):
            with pytest.raises(CallbackFailed) as refused:
                await load(client, panel, token=bad)
            assert refused.value.status == 400
            assert refused.value.text.count("\n") == 0
            assert "reload the page" in refused.value.text
    assert database.queries == []


@pytest.mark.parametrize("request_", [None, 1, {}, {"n": "1"}, [1]])
async def test_c3_a_request_of_another_shape_is_answered_400(app, request_):
    @lazy
    async def orders():
        return "orders"

    async with page_of(app, orders()) as (client, [panel]):
        with pytest.raises(CallbackFailed, match="400"):
            await client.call(
                Output(panel.id, "answer"),
                {
                    Input(panel.id, "request"): request_,
                    State(panel.id, "token"): panel["token"],
                },
            )


async def test_c3_a_token_outlives_a_restart_where_the_app_has_a_secret(app, caplog):
    @lazy
    async def orders():
        return "orders"

    def served(secret):
        app = Flash(__name__)
        app.server.secret_key = secret
        return page_of(app, orders())

    async with served("shared") as (_, [panel]):
        pass
    async with served("shared") as (client, _):
        assert await load(client, panel) == ("orders", True)
    assert "secret_key" not in caplog.text
    async with served(None) as (client, _):
        with pytest.raises(CallbackFailed, match="400"):
            await load(client, panel)
    assert "valid in this process only; set one, the same for all workers" in caplog.text


async def test_c3_a_panel_bound_to_the_session_works_for_its_visitor_alone(app):
    app.server.secret_key = "secret"

    @lazy(bind="session", cache=60)
    async def account(number):
        return f"account {number}"

    async with page_of(app, account(7)) as (client, [panel]):
        assert await load(client, panel) == ("account 7", True)
        other = FlashClient(app)
        await other.layout()
        with pytest.raises(CallbackFailed, match="400"):
            await load(other, panel)


async def test_c2_what_is_bound_to_a_visitor_is_shared_with_no_other(app):
    app.server.secret_key = "secret"
    runs = []

    @lazy(bind=lambda: quart.request.headers["x-user"], cache=60)
    async def account():
        runs.append(quart.request.headers["x-user"])
        return runs[-1]

    app.layout = lambda: account()
    for user in ("ada", "bob", "ada"):
        async with FlashClient(app, headers={"x-user": user}) as client:
            [panel] = (await client.layout()).find_all("LazyPanel")
            assert await load(client, panel) == (user, True)
    assert runs == ["ada", "bob"]


async def test_a_panel_for_one_visitor_cannot_stand_in_one_for_all(app):
    app.server.secret_key = "secret"

    @lazy(bind="session")
    async def account():
        return "account"

    @lazy(error=str)
    async def shared():
        return html.Div(account())

    @lazy(bind="session")
    async def own():
        return html.Div(account())

    async with page_of(app, shared(), own()) as (client, [one, other]):
        text, ok = await load(client, one)
        assert "give the outer loader the same bind=" in text
        assert not ok
        _, ok = await load(client, other)
        assert ok


async def test_binding_to_the_session_asks_for_a_secret(app):
    @lazy(bind="session")
    async def account():
        return "account"

    app.layout = lambda: account()
    async with FlashClient(app) as client:
        answer = await client.get("/_dash-layout")
        assert answer.status == 500


async def test_loaders_of_one_name_are_told_apart_where_they_were_placed():
    def make(text):
        app = Flash(__name__)
        app.server.secret_key = "shared"

        @lazy
        async def show():
            return text

        app.layout = lambda: html.Div(show())
        return app

    apps = [make(text) for text in ("one", "other")]
    found, panels = [], []
    for app in apps:
        async with FlashClient(app) as client:
            panels += (await client.layout()).find_all("LazyPanel")
            found.append(await load(client, panels[-1]))
    assert found == [("one", True), ("other", True)]
    # An app that has placed neither refuses what it has not signed.
    third = Flash(__name__)
    third.server.secret_key = "shared"
    third.layout = html.Div()
    async with FlashClient(third) as client:
        with pytest.raises(CallbackFailed, match="400"):
            await load(client, panels[0], token="A" + panels[0]["token"][1:])


# -- errors


async def test_an_exception_is_an_error_of_the_callback(app):
    seen = []

    @lazy
    async def orders():
        raise ValueError("down")

    def on_error(error):
        seen.append(str(error))

    app = Flash(__name__, on_error=on_error)
    async with page_of(app, orders()) as (client, [panel]):
        result = await client.call(
            Output(panel.id, "answer"),
            {Input(panel.id, "request"): {"n": 1}, State(panel.id, "token"): panel["token"]},
        )
        assert result.prevented
    assert seen == ["down"]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("sorry", "sorry"),
        (lambda error: f"sorry: {error}", "sorry: down"),
    ],
)
async def test_an_error_is_shown_and_a_retry_loads(app, caplog, error, shown):
    runs = []

    @lazy(error=error, cache=60)
    async def orders(customer):
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("down")
        return "orders"

    async with page_of(app, orders(7)) as (client, [panel]):
        assert await load(client, panel) == (shown, False)
        assert 'orders({"customer":7}) failed' in caplog.text
        assert await load(client, panel, number=2) == ("orders", True)


async def test_a_loader_that_takes_too_long_is_cancelled_and_answered_504(app, database):
    @lazy(timeout=0.01)
    async def orders():
        return await database.fetch("orders")

    async with page_of(app, orders()) as (client, [panel]):
        with pytest.raises(CallbackFailed, match=r"504.*orders' took longer than .* 0\.01 s"):
            await load(client, panel)
    assert database.cancelled == 1


async def test_a_timeout_can_be_shown(app, database):
    @lazy(timeout=0.01, error=lambda error: type(error).__name__)
    async def orders():
        return await database.fetch("orders")

    async with page_of(app, orders()) as (client, [panel]):
        assert await load(client, panel) == ("LoaderTimeout", False)


async def test_prevent_update_leaves_what_the_panel_shows(app):
    @lazy
    async def orders():
        raise PreventUpdate

    async with page_of(app, orders()) as (client, [panel]):
        assert await load(client, panel) == (no_update, True)


async def test_a_function_whose_parameters_changed_refuses_old_tokens(app):
    app.server.secret_key = "secret"

    @lazy(name="orders")
    async def old(customer):
        return customer

    async with page_of(app, old(7)) as (client, [panel]):
        pass

    other = Flash(__name__)
    other.server.secret_key = "secret"

    @lazy(name="orders")
    async def new(customer, month):
        return customer

    async with page_of(other, new(7, 8)) as (client, _):
        with pytest.raises(CallbackFailed, match="400"):
            await load(client, panel)


def test_where_results_are_kept_is_not_for_a_loader_to_say():
    with pytest.raises(ConfigurationError, match=r"configure\(app, cache='redis://localhost'\)"):
        lazy(cache="redis://localhost")


# -- live


async def test_live_asks_for_flash_ws_where_it_is_missing(app, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "flash_ws.callbacks.deferred", None)

    @lazy(live=True)
    async def orders():
        return "orders"

    app.layout = lambda: orders()
    async with FlashClient(app) as client:
        assert (await client.get("/_dash-layout")).status == 500
    assert 'live=True needs flash-ws: pip install "flash-core[ws]"' in caplog.text


async def test_11_7_a_stale_result_outlives_a_cache_that_meets_a_cancelled_task(
    app, caplog, monkeypatch
):
    @lazy(cache=60, stale=600)
    async def orders():
        return "orders"

    now = 1000.0
    panels = panels_of(app)
    panels.clock = lambda: now
    async with page_of(app, orders()) as (client, [panel]):
        await load(client, panel)
        now += 100

        async def fail(*_, **__):
            raise asyncio.CancelledError

        with monkeypatch.context() as patched:
            patched.setattr(panels.cache, "load", fail)
            assert await load(client, panel) == ("orders", True)
            await until(lambda: "the stale result could not be replaced" in caplog.text)
        assert await load(client, panel) == ("orders", True)


class NotedSpan:
    """A span that is kept, and the block in which it is timed."""

    def __init__(self, name, attributes):
        self.name, self.attributes = name, dict(attributes)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def set(self, attributes):
        self.attributes.update(attributes)

    def fail(self, error):
        self.attributes["error"] = error


class NotedTracing:
    """A tracing that keeps its spans."""

    def __init__(self):
        self.spans = []

    def span(self, name, attributes, **_):
        self.spans.append(NotedSpan(name, attributes))
        return self.spans[-1]

    def current(self):
        return None


async def test_a_trace_says_where_a_panel_s_content_came_from():
    tracing, db = NotedTracing(), Database()
    app = Flash(__name__, tracing=tracing)

    @lazy(cache=60, name="traced stock")
    async def stock(item):
        return html.B(str(await db.fetch(item)))

    async with page_of(app, stock("tea"), stock("tea"), stock("tea")) as (client, panels):
        first, second, third = panels
        loads = [asyncio.create_task(load(client, panel)) for panel in (first, second)]
        await db.asked.wait()
        await asyncio.sleep(0.05)
        db.may_answer.set()
        await asyncio.gather(*loads)
        await load(client, third)
    found = [span for span in tracing.spans if span.name == "loader traced stock"]
    assert [span.attributes["flash.loader.source"] for span in found] == ["run", "shared", "cache"]
    assert all(span.attributes["flash.response.bytes"] > 10 for span in found)
    assert db.queries == ["tea"]
