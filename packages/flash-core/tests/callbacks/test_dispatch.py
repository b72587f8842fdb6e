"""From a request to its answer: where callbacks run, how they meet, how they end."""

import asyncio
import functools
import inspect
import sys
import threading

import dash
import pytest
from dash import MATCH, Input, Output, State, dcc, html, set_props

import flash
from flash import Flash
from flash.callbacks.size import MAX_VALUES_ON_LOOP, is_large
from flash.testing import CallbackFailed, CallbackNotFound, FlashClient

SECONDS = 20


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


def an_app(**options):
    app = Flash(__name__, suppress_callback_exceptions=True, **options)
    app.layout = html.Div()
    return app


@pytest.fixture
def app():
    return an_app()


@pytest.fixture(params=[False, True], ids=["direct", "through Quart"])
def path(request):
    """Both ways to a callback: past Quart, and through it."""

    def take(app):
        if request.param:

            @app.server.before_request
            async def watch():
                """Send every request through Quart."""

        return app

    return take


async def until(condition):
    while not condition():  # noqa: ASYNC110  other threads tell nobody what they do
        await asyncio.sleep(0)


OUT = Output("out", "children")
IN = Input("in", "value")


def call(client, value=1):
    return asyncio.create_task(client.call("out.children", {"in.value": value}))


def on_the_loop():
    return threading.current_thread() is threading.main_thread()


class TestWhere:
    async def test_a_plain_function_runs_in_a_thread(self, app, path):
        app.callback(OUT, IN)(lambda _: on_the_loop())
        async with FlashClient(path(app)) as client:
            assert (await call(client)).value is False

    async def test_an_async_function_runs_on_the_loop(self, app, path):
        @app.callback(OUT, IN)
        async def callback(_):
            return on_the_loop()

        async with FlashClient(path(app)) as client:
            assert (await call(client)).value is True

    async def test_a_trivial_one_may_be_told_to_run_on_the_loop(self, app):
        app.callback(OUT, IN, run_in="loop")(lambda _: on_the_loop())
        async with FlashClient(app) as client:
            assert (await call(client)).value is True

    async def test_a_plain_wrapper_around_an_async_function_is_awaited(self, app):
        async def inner(_):
            return on_the_loop()

        @app.callback(OUT, IN)
        @functools.wraps(inner)
        def outer(value):
            return inner(value)

        async with FlashClient(app) as client:
            assert (await call(client)).value is True

    async def test_a_blocking_function_does_not_hold_up_an_async_one(self, app):
        release = threading.Event()
        app.callback(OUT, IN)(lambda _: release.wait(SECONDS))

        @app.callback(Output("other", "children"), Input("in", "value"))
        async def other(value):
            return value

        async with FlashClient(app) as client:
            blocked = call(client)
            await until(lambda: app.statistics().running)
            assert (await client.call("other.children", {"in.value": 2})).value == 2
            assert not blocked.done()
            release.set()
            assert (await blocked).value is True


class TestOverload:
    async def test_one_more_than_may_wait_is_answered_503_with_retry_after(self, path):
        app, release = path(an_app(max_threads=1, max_waiting=1)), threading.Event()
        app.callback(OUT, IN)(lambda _: release.wait(SECONDS))
        async with FlashClient(app) as client:
            first = call(client)
            await until(lambda: app.statistics().running == 1)
            second = call(client)
            await until(lambda: app.statistics().waiting == 1)
            page = await client.get("/")
            assert page.status == 200
            answer = await client.post(
                "/_dash-update-component",
                json={
                    "output": "out.children",
                    "outputs": {"id": "out", "property": "children"},
                    "inputs": [{"id": "in", "property": "value"}],
                },
            )
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert "max_threads" in answer.text
            assert app.statistics().refused == 1
            release.set()
            assert (await first).value is (await second).value is True

    async def test_an_overload_is_not_the_callback_s_error(self):
        app, release, errors = an_app(max_threads=1, max_waiting=0), threading.Event(), []
        app.callback(OUT, IN, on_error=errors.append)(lambda _: release.wait(SECONDS))
        async with FlashClient(app) as client:
            first = call(client)
            await until(lambda: app.statistics().running == 1)
            with pytest.raises(CallbackFailed, match="503"):
                await call(client)
            release.set()
            await first
        assert not errors

    async def test_a_large_answer_of_an_async_one_waits_for_no_plain_one(self, path):
        app, release = path(an_app(max_threads=1, max_waiting=0)), threading.Event()
        app.callback(OUT, IN)(lambda _: release.wait(SECONDS))

        @app.callback(Output("other", "children"), Input("in", "value"))
        async def other(_):
            return list(range(MAX_VALUES_ON_LOOP + 1))

        async with FlashClient(app) as client:
            blocked = call(client)
            await until(lambda: app.statistics().running == 1)
            answer = await client.call("other.children", {"in.value": 2})
            assert len(answer.value) == MAX_VALUES_ON_LOOP + 1
            assert not blocked.done()
            release.set()
            await blocked


class TestTimeout:
    async def test_an_async_one_is_cancelled_and_answered_504(self, app, path):
        cancelled = asyncio.Event()

        @app.callback(OUT, IN, timeout=0.01)
        async def callback(_):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with FlashClient(path(app)) as client:
            with pytest.raises(
                CallbackFailed, match=r"504.*'out.children' took longer than its timeout of 0.01 s"
            ):
                await call(client)
        assert cancelled.is_set()

    async def test_a_plain_one_is_left_behind_and_counted(self, app):
        release = threading.Event()
        app.callback(OUT, IN, timeout=0.01)(lambda _: release.wait(SECONDS))
        async with FlashClient(app) as client:
            with pytest.raises(CallbackFailed, match="504"):
                await call(client)
            assert app.statistics().abandoned == 1
            release.set()
            await until(lambda: app.statistics().abandoned == 0)

    async def test_the_function_s_own_timeout_error_is_its_own(self, app):
        @app.callback(OUT, IN, timeout=SECONDS, on_error=lambda error: f"own: {error}")
        async def callback(_):
            raise TimeoutError("the database")

        async with FlashClient(app) as client:
            assert (await call(client)).value == "own: the database"

    async def test_on_error_may_answer_for_it(self, app):
        @app.callback(OUT, IN, timeout=0.01, on_error=lambda error: type(error).__name__)
        async def callback(_):
            await asyncio.Event().wait()

        async with FlashClient(app) as client:
            assert (await call(client)).value == "CallbackTimeout"


class TestSupersede:
    async def test_the_newer_call_of_a_page_cancels_the_older(self, app, path):
        started, cancelled = asyncio.Event(), asyncio.Event()

        @app.callback(OUT, IN, supersede=True)
        async def callback(value):
            if value == "newer":
                return value
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with FlashClient(path(app)) as client:
            await client.layout()
            older = call(client, "older")
            await started.wait()
            assert (await call(client, "newer")).value == "newer"
            assert (await older).response.status == 204
        assert cancelled.is_set()

    async def test_another_page_goes_on(self, app):
        started, go = [], asyncio.Event()

        @app.callback(OUT, IN, supersede=True)
        async def callback(value):
            started.append(value)
            await go.wait()
            return value

        other = FlashClient(app)
        async with FlashClient(app) as client:
            await client.layout()
            await other.layout()
            first, second = call(client, 1), call(other, 2)
            await until(lambda: len(started) == 2)
            go.set()
            assert [(await first).value, (await second).value] == [1, 2]

    async def test_one_in_a_thread_is_left_behind(self, app):
        release = threading.Event()

        @app.callback(OUT, IN, supersede=True)
        def callback(value):
            return value if value == "newer" else release.wait(SECONDS)

        async with FlashClient(app) as client:
            await client.layout()
            older = call(client, "older")
            await until(lambda: app.statistics().running == 1)
            assert (await call(client, "newer")).value == "newer"
            assert (await older).response.status == 204
            assert app.statistics().abandoned == 1
            release.set()
            await until(lambda: app.statistics().abandoned == 0)

    async def test_a_call_for_another_output_goes_on(self, app):
        started, go = [], asyncio.Event()

        @app.callback(
            Output({"row": MATCH}, "children"), Input({"row": MATCH}, "value"), supersede=True
        )
        async def callback(value):
            started.append(value)
            await go.wait()
            return value

        def call_row(client, row, value):
            component = f'{{"row":{row}}}'
            return asyncio.create_task(
                client.call(f"{component}.children", {f"{component}.value": value})
            )

        async with FlashClient(app) as client:
            await client.layout()
            one, two = call_row(client, 1, "one"), call_row(client, 2, "two")
            await until(lambda: len(started) == 2)
            newer = call_row(client, 1, "newer")
            assert (await one).response.status == 204
            go.set()
            assert [(await two).value, (await newer).value] == ["two", "newer"]

    async def test_a_caller_that_names_no_page_supersedes_nobody(self, app):
        started, go = [], asyncio.Event()

        @app.callback(OUT, IN, supersede=True)
        async def callback(value):
            started.append(value)
            await go.wait()
            return value

        async with FlashClient(app) as client:
            calls = [
                asyncio.create_task(client.post("/_dash-update-component", json=a_body(value)))
                for value in (1, 2)
            ]
            await until(lambda: len(started) == 2)
            go.set()
            assert [(await each).json()["response"]["out"]["children"] for each in calls] == [1, 2]


def a_body(value, **changes):
    return {
        "output": "out.children",
        "outputs": {"id": "out", "property": "children"},
        "inputs": [{"id": "in", "property": "value", "value": value}],
        "changedPropIds": ["in.value"],
        **changes,
    }


class TestCoalesce:
    @pytest.mark.parametrize(
        "change",
        [
            {"inputs": [{"id": "in", "property": "value", "value": 2}]},
            {"state": [{"id": "s", "property": "data", "value": 2}]},
            {"changedPropIds": []},
        ],
    )
    async def test_calls_that_differ_in_anything_run_each(self, app, change):
        runs, go = [], asyncio.Event()

        @app.callback(OUT, IN, State("s", "data"), coalesce=True)
        async def callback(value, data):
            runs.append(1)
            await go.wait()

        body = a_body(1, state=[{"id": "s", "property": "data", "value": 1}])
        calls = [
            asyncio.create_task(app.dispatcher.respond(each)) for each in (body, {**body, **change})
        ]
        await until(lambda: len(runs) == 2)
        go.set()
        assert [(await each).status for each in calls] == [200, 200]

    @pytest.mark.parametrize("odd", ["x", "\ud800", 2**70])
    async def test_the_order_of_keys_makes_no_difference(self, app, odd):
        runs, go = [], asyncio.Event()

        @app.callback(OUT, IN, coalesce=True)
        async def callback(value):
            runs.append(1)
            await go.wait()

        values = {"a": odd, "b": 1}, {"b": 1, "a": odd}
        calls = [asyncio.create_task(app.dispatcher.respond(a_body(each))) for each in values]
        await until(lambda: sum(shared.callers for shared in shared_calls(app)) == 2)
        go.set()
        assert [(await each).status for each in calls] == [200, 200]
        assert len(runs) == 1

    async def test_equal_calls_in_flight_run_once(self, app, path):
        runs, go = [], asyncio.Event()

        @app.callback(OUT, IN, coalesce=True)
        async def callback(value):
            runs.append(value)
            await go.wait()
            return value

        async with FlashClient(path(app)) as client:
            await client.layout()
            calls = [call(client, value) for value in (1, 1, 1, 2)]
            await until(lambda: len(runs) == 2)
            await until(lambda: sum(shared.callers for shared in shared_calls(app)) == 4)
            go.set()
            assert [(await each).value for each in calls] == [1, 1, 1, 2]
        assert sorted(runs) == [1, 2]

    async def test_the_last_one_leaving_cancels_it(self, app):
        cancelled = asyncio.Event()

        @app.callback(OUT, IN, coalesce=True)
        async def callback(_):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with FlashClient(app) as client:
            await client.layout()
            calls = [call(client), call(client)]
            await until(lambda: sum(shared.callers for shared in shared_calls(app)) == 2)
            calls[0].cancel()
            await until(lambda: sum(shared.callers for shared in shared_calls(app)) == 1)
            assert not cancelled.is_set()
            calls[1].cancel()
            await cancelled.wait()
            await asyncio.wait(calls)

    async def test_an_error_reaches_every_caller(self, app):
        go = asyncio.Event()

        @app.callback(OUT, IN, coalesce=True)
        async def callback(_):
            await go.wait()
            raise KeyError("x")

        async with FlashClient(app) as client:
            await client.layout()
            calls = [call(client), call(client)]
            await until(lambda: sum(shared.callers for shared in shared_calls(app)) == 2)
            go.set()
            for each in calls:
                with pytest.raises(CallbackFailed, match="500"):
                    await each

    async def test_half_a_surrogate_pair_is_no_obstacle(self, app):
        app.callback(OUT, IN, coalesce=True)(len)
        async with FlashClient(app) as client:
            assert (await call(client, "\ud800")).value == 1


def shared_calls(app):
    return app.dispatcher._shared._calls.values()


class TestDisconnect:
    async def test_a_page_that_goes_away_cancels_its_callback(self, app, path):
        started, cancelled = asyncio.Event(), asyncio.Event()

        @app.callback(OUT, IN)
        async def callback(_):
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with FlashClient(path(app)) as client:
            await client.layout()
            gone = call(client)
            await started.wait()
            gone.cancel()
            await cancelled.wait()
            await asyncio.wait({gone})

    async def test_a_plain_callback_is_left_behind_and_counted(self, app, path):
        release = threading.Event()
        app.callback(OUT, IN)(lambda _: release.wait(SECONDS))
        async with FlashClient(path(app)) as client:
            await client.layout()
            gone = call(client)
            await until(lambda: app.statistics().running == 1)
            gone.cancel()
            await until(lambda: app.statistics().abandoned == 1)
            release.set()
            await until(lambda: app.statistics().abandoned == 0)
            await asyncio.wait({gone})

    async def test_no_task_is_left(self, app, path):
        started = asyncio.Event()

        @app.callback(OUT, IN)
        async def callback(_):
            started.set()
            await asyncio.Event().wait()

        async with FlashClient(path(app)) as client:
            await client.layout()
            before = asyncio.all_tasks()
            gone = call(client)
            await started.wait()
            gone.cancel()
            await asyncio.wait({gone})
            await until(lambda: asyncio.all_tasks() <= before)


class TestErrors:
    async def test_on_error_may_be_async_and_sets_properties(self, app):
        async def handle(error):
            await asyncio.sleep(0)
            set_props("log", {"children": repr(error)})
            return "handled"

        @app.callback(OUT, IN, on_error=handle)
        def callback(_):
            raise KeyError("x")

        async with FlashClient(app) as client:
            result = await call(client)
        assert result.value == "handled"
        assert result.side_updates == {"log.children": "KeyError('x')"}

    async def test_a_plain_on_error_runs_in_a_thread(self):
        app = an_app(on_error=lambda error: on_the_loop())

        @app.callback(OUT, IN)
        async def callback(_):
            raise KeyError("x")

        async with FlashClient(app) as client:
            assert (await call(client)).value is False

    async def test_the_app_s_handler_is_followed_by_the_hooks(self):
        heard = []

        @dash.hooks.error()
        async def hook(error):
            heard.append(("hook", str(error)))
            return "hook's"

        app = an_app(on_error=lambda error: heard.append(("app", str(error))))

        @app.callback(OUT, IN)
        def callback(_):
            raise ValueError("x")

        async with FlashClient(app) as client:
            assert (await call(client)).value == "hook's"
        assert heard == [("app", "x"), ("hook", "x")]

    async def test_a_callback_s_own_handler_keeps_the_hooks_out(self, app):
        heard = []
        dash.hooks.error()(heard.append)

        @app.callback(OUT, IN, on_error=lambda error: "own")
        def callback(_):
            raise ValueError("x")

        async with FlashClient(app) as client:
            assert (await call(client)).value == "own"
        assert not heard

    async def test_the_app_s_answer_counts_and_else_the_last_hook_s(self):
        for answer in ("first", "last"):
            dash.hooks.error()(lambda error, answer=answer: answer)
        apps_answer = ["app's"]
        app = an_app(on_error=lambda error: apps_answer[0])

        @app.callback(OUT, IN)
        def callback(_):
            raise ValueError("x")

        async with FlashClient(app) as client:
            assert (await call(client)).value == "app's"
            apps_answer[0] = None
            assert (await call(client)).value == "last"

    @pytest.mark.parametrize("run_in", ["thread", "loop"])
    async def test_a_callback_that_exits_does_not_end_the_server(self, app, run_in, path, caplog):
        @app.callback(OUT, IN, run_in=run_in)
        def callback(value):
            return sys.exit("enough") if value else "alive"

        async with FlashClient(path(app)) as client:
            with pytest.raises(CallbackFailed, match="500"):
                await call(client, 1)
            assert (await call(client, 0)).value == "alive"
        assert "callback 'out.children' raised SystemExit('enough')" in caplog.text


class TestRegistration:
    async def test_callbacks_registered_without_an_app_are_served(self, app):
        @flash.callback(OUT, IN, run_in="loop")
        def ours(_):
            return on_the_loop()

        @dash.callback(Output("other", "children"), Input("in", "value"))
        def dashs(_):
            return on_the_loop()

        async with FlashClient(app) as client:
            assert (await call(client)).value is True
            assert (await client.call("other.children", {"in.value": 1})).value is False

    async def test_one_registered_while_the_app_is_served_is_served(self, app):
        async with FlashClient(app) as client:
            with pytest.raises(CallbackNotFound):
                await call(client)

            @app.callback(OUT, IN)
            def late(value):
                return value

            await client.layout()
            assert (await call(client)).value == 1

    async def test_an_entry_that_a_plugin_wraps_is_called_through_the_plugin(self, app):
        app.callback(OUT, IN)(lambda value: value)
        entry = app.callback_map["out.children"]
        original = entry["callback"]

        @functools.wraps(original)
        def wrapped(*args, **kwargs):
            wrapped.on_the_loop = on_the_loop()
            return original(*args, **kwargs)

        entry["callback"] = wrapped
        async with FlashClient(app) as client:
            assert (await call(client, 5)).value == 5
        assert wrapped.on_the_loop is False

    async def test_an_entry_that_a_plugin_wraps_later_is_called_through_the_plugin(self, app):
        app.callback(OUT, IN)(lambda value: value)
        seen = []
        async with FlashClient(app) as client:
            assert (await call(client, 5)).value == 5
            entry = app.callback_map["out.children"]
            original = entry["callback"]

            async def wrapped(*args, **kwargs):
                seen.append(args)
                return await original(*args, **kwargs)

            entry["callback"] = wrapped
            assert (await call(client, 6)).value == 6
        assert seen == [(6,)]

    async def test_duplicate_callbacks_of_dash_and_app_are_an_error_at_start(self, app):
        app.callback(OUT, IN)(lambda value: value)
        dash.callback(OUT, IN)(lambda value: value)
        with pytest.raises(Exception, match="already assigned"):
            async with FlashClient(app):
                pass

    async def test_a_library_that_comes_with_a_call_is_refused_unless_allowed(
        self, app, monkeypatch, caplog
    ):
        registry = dash.development.base_component.ComponentRegistry
        told = []
        monkeypatch.setattr(registry, "registry", set(registry.registry))
        monkeypatch.setattr(app, "get_dist", lambda libraries: told.append(libraries) or ["dist"])

        def imports(value):
            registry.registry.update(value)
            return 1

        app.callback(OUT, IN)(imports)
        app.callback(
            Output("free", "children"), Input("in", "value"), _allow_dynamic_callbacks=True
        )(imports)
        async with FlashClient(app) as client:
            with pytest.raises(CallbackFailed, match="500"):
                await call(client, ["a_library"])
            assert "Component library was imported during callback: a_library." in caplog.text
            with pytest.raises(CallbackFailed, match="500"):
                await call(client, ["c", "b"])
            assert "Component libraries were imported during callback: b, c." in caplog.text
            assert "_allow_dynamic_callbacks" in caplog.text
            result = await client.call("free.children", {"in.value": ["z", "y"]})
            assert result.response.json()["dist"] == ["dist"]
            assert told == [["y", "z"]]
            result = await client.call("free.children", {"in.value": ["z"]})
        assert "dist" not in result.response.json()


class TestState:
    async def test_a_state_does_not_trigger_but_is_there(self, app):
        app.callback(OUT, IN, State("s", "data"))(lambda value, data: [value, data])
        async with FlashClient(app) as client:
            result = await client.call("out.children", {"in.value": 1}, {"s.data": 2})
        assert result.value == [1, 2]


class TestSize:
    @pytest.mark.parametrize(
        "value",
        [
            list(range(2000)),
            {"a": [[0] * 20] * 100},
            html.Div([html.P(str(number)) for number in range(600)]),
            "x" * 2_000_000,
            [dcc.Graph(figure={"data": [{"y": list(range(2000))}]})],
            range(10),
        ],
        ids=["list", "nested", "components", "text", "graph", "unknown"],
    )
    def test_what_takes_long_to_write_is_large(self, value):
        assert is_large(value, 1000)

    @pytest.mark.parametrize(
        "value", [None, 1, "x" * 100, [1, 2], html.Div([html.P("x")], id="y"), {"a": {"b": None}}]
    )
    def test_what_is_written_at_once_is_not(self, value):
        assert not is_large(value, 1000)

    @pytest.mark.parametrize(("count", "where"), [(MAX_VALUES_ON_LOOP + 1, False), (10, True)])
    async def test_a_large_result_is_written_in_a_thread(self, app, count, where):
        seen = []

        class Watching(html.Div):
            __module__ = html.Div.__module__

            def to_plotly_json(self):
                seen.append(on_the_loop())
                return super().to_plotly_json()

        app.callback(OUT, IN)(lambda _: [Watching(), *range(count)])
        async with FlashClient(app) as client:
            assert len((await call(client)).value) == count + 1
        assert set(seen) == {where}

    async def test_a_large_result_is_whole(self, app, path):
        app.callback(OUT, IN)(lambda _: list(range(5000)))
        async with FlashClient(path(app)) as client:
            assert (await call(client)).value == list(range(5000))


async def test_one_registered_while_the_app_is_served_is_compiled_for_dash_s_own_handlers_too(app):
    async with FlashClient(app) as client:

        @app.callback(Output("late", "children"), Input("in", "value"))
        def late(value):
            return value + 1

        # Dash's socket decides by this whether to call it in a thread, without a request.
        assert inspect.iscoroutinefunction(app.callback_map["late.children"]["callback"])
        assert (await client.call("late.children", {"in.value": 1})).value == 2
