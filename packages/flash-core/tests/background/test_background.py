"""Background callbacks: one contract for every manager, then what each adds to it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import time
from dataclasses import dataclass
from itertools import count, zip_longest
from typing import TYPE_CHECKING, Any

import dash
import pytest
import quart
from dash import Input, Output, State, ctx, dcc, html, no_update, set_props
from dash.exceptions import (
    BackgroundCallbackError,
    MissingLongCallbackManagerError,
    PreventUpdate,
)

from flash.background import AsyncManager, BackgroundCall, JobManager, RedisManager, adapt, respond
from flash.background.job import SetProgress, UpdateBuffer
from flash.background.tasks import JobTasks
from flash.callbacks.dispatch import Dispatcher
from flash.callbacks.execution import WorkerPool
from flash.callbacks.hook_registry import Hooks
from flash.callbacks.plan import CallbackOptions
from flash.errors import ConfigurationError
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

# Dash's own manager forks the server, as it does under any threaded server.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

SECONDS = 30


class Signal:
    """Seen by a test and by a plain function, in a thread or in a process that may be killed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self) -> None:
        self.path.touch()

    def is_set(self) -> bool:
        return self.path.exists()

    def wait(self) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.is_set() and time.monotonic() < deadline:
            time.sleep(0.005)


@pytest.fixture
def signals(tmp_path: Path) -> Iterator[Signal]:
    return (Signal(tmp_path / f"signal{number}") for number in count())


class App:
    """A Dash app as the dispatcher sees it, and the server that its pages speak to."""

    def __init__(self, manager: Any) -> None:
        self.dash = dash.Dash(__name__, backend="quart", background_callback_manager=manager)
        self.callback = self.dash.callback
        self.background_manager = manager
        self.on_error = None
        self.tracing = None
        self.pool = WorkerPool(max_threads=8)
        self.dispatcher = Dispatcher(self, self.pool, self.pool, Hooks(self.pool))
        self.secret = b"secret of this app"
        self.background_jobs = self

    @property
    def callback_map(self) -> dict[str, Any]:
        return self.dash.callback_map

    def signing_secret(self) -> bytes:
        return self.secret

    async def respond(self, plan: Any, ctx: Any, args: Any, kwargs: Any, handle_error: Any) -> Any:
        call = BackgroundCall(plan, ctx, args, kwargs, self.signing_secret)
        return await respond(call, self.pool, handle_error)

    def get_dist(self, libraries: Any) -> list[Any]:
        return []


@dataclass
class Answer:
    status: int
    body: dict[str, Any]

    @property
    def pending(self) -> bool:
        return self.status == 200 and "response" not in self.body


class Page:
    """What the renderer does: start, then poll with the handles it was given."""

    numbers = count()

    def __init__(self, app: App) -> None:
        self.app = app
        self.end_id = dash_seam.sign(app.secret, dash_seam.END_SCOPE, f"page{next(self.numbers)}")

    async def send(self, output: str, value: Any = None, **query: Any) -> Answer:
        app = self.app
        entry = app.callback_map[output]
        values = value if isinstance(value, list) else [value]
        declared = (*entry["inputs"], *entry["state"])
        slots = [
            {**slot, "value": given}
            for slot, given in zip_longest(declared, values[: len(declared)])
        ]
        body: dict[str, Any] = {
            "output": output,
            "inputs": slots[: len(entry["inputs"])],
            "state": slots[len(entry["inputs"]) :],
            "changedPropIds": ["go.n_clicks"],
        }
        if not entry["no_output"]:
            body["outputs"] = _named(entry["output"])
        async with app.dash.server.test_request_context(
            "/_dash-update-component",
            method="POST",
            query_string={"endId": self.end_id, **query},
            headers={"Cookie": "user=ada", "X-Team": "engines"},
        ):
            answer = await app.dispatcher.respond(body)
        text = answer.body.decode()
        is_json = answer.status == 200
        return Answer(int(answer.status), json.loads(text) if is_json else {"text": text})

    async def start(self, output: str, value: Any = None, **query: Any) -> dict[str, Any]:
        answer = await self.send(output, value, **query)
        assert answer.status == 200, answer
        assert {"cacheKey", "job"} <= answer.body.keys()
        return answer.body

    async def poll(self, output: str, started: dict[str, Any]) -> Answer:
        return await self.send(output, cacheKey=started["cacheKey"], job=started["job"])

    async def until(
        self, output: str, started: dict[str, Any], wanted: Callable[[Answer], Any]
    ) -> Answer:
        async with asyncio.timeout(SECONDS):
            while True:
                answer = await self.poll(output, started)
                if wanted(answer):
                    return answer
                await asyncio.sleep(0.01)

    async def gather(self, output: str, started: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
        """Poll to the end; also give everything that came beside the result, as the page has it."""
        seen: dict[str, Any] = {}

        def collect(answer: Answer) -> bool:
            seen.update(answer.body.get("progress", {}))
            seen.update(answer.body.get("sideUpdate", {}))
            return not answer.pending

        return await self.until(output, started, collect), seen

    async def finish(self, output: str, started: dict[str, Any]) -> Answer:
        return await self.until(output, started, lambda answer: not answer.pending)

    async def run(self, output: str, value: Any = None) -> Answer:
        return await self.finish(output, await self.start(output, value))


def _named(output: Any) -> Any:
    if isinstance(output, list):
        return [_named(each) for each in output]
    return {"id": output.component_id, "property": output.component_property}


async def become(condition: Callable[[], Any]) -> None:
    """Wait until ``condition()``, or what awaiting it gives, is true."""
    async with asyncio.timeout(SECONDS):
        while True:
            now = condition()
            if await now if inspect.isawaitable(now) else now:
                return
            await asyncio.sleep(0.005)


REDIS_KINDS = ("redis", "cluster", "sentinel")
KINDS = ("async", *REDIS_KINDS, "diskcache")
SERVERS = {
    "redis": "redis_server",
    "cluster": "redis_cluster",
    "sentinel": "redis_sentinel",
}
names = count()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def make(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[..., Any]]:
    """Makes a manager of each kind; closes what it made."""
    made: list[Any] = []

    def make(**options: Any) -> Any:
        if kind == "async":
            manager: Any = AsyncManager(**options)
        elif kind in REDIS_KINDS:
            url = request.getfixturevalue(SERVERS[kind]).url
            manager = RedisManager(url, prefix=f"test{next(names)}:", **options)
        else:
            diskcache = pytest.importorskip("diskcache")
            manager = dash.DiskcacheManager(diskcache.Cache(str(tmp_path / "cache")), **options)
        made.append(manager)
        return manager

    if kind in REDIS_KINDS:
        # Before the loop is watched: starting servers blocks.
        request.getfixturevalue(SERVERS[kind])
    yield make
    for manager in made:
        if kind == "diskcache":
            manager.handle.close()
        else:
            await manager.close()


@pytest.fixture
def app(make: Callable[..., Any]) -> App:
    return App(make())


# -- the contract ----------------------------------------------------------------------------------


async def test_a_plain_functions_result_comes_with_a_poll(app: App):
    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def double(n):
        return n * 2

    answer = await Page(app).run("out.children", 21)
    assert answer.body == {"multi": True, "response": {"out": {"children": 42}}}


async def test_an_async_functions_result_comes_with_a_poll(app: App, kind: str):
    if kind == "diskcache":
        pytest.skip("tested below: the detector of blocking calls follows the fork into the job")

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def double(n):
        await asyncio.sleep(0)
        return n * 2

    answer = await Page(app).run("out.children", 21)
    assert answer.body["response"] == {"out": {"children": 42}}


async def test_progress_is_told_while_it_runs_and_with_the_result(
    app: App, kind: str, signals: Iterator[Signal]
):
    first, gate = next(signals), next(signals)

    @app.callback(
        Output("out", "children"),
        Input("go", "n_clicks"),
        background=True,
        progress=[Output("bar", "value"), Output("bar", "max")],
        progress_default=[0, 1],
        cancel=[Input("stop", "n_clicks")],
    )
    def work(set_progress, n):
        set_progress([1, 3])
        first.set()
        gate.wait()
        set_progress((3, 3))
        return "done"

    page = Page(app)
    started = await page.start("out.children", 1)
    assert started["progressDefault"] == {"bar.value": 0, "bar.max": 1}
    assert started["cancel"] == [{"id": "stop", "property": "n_clicks"}]
    answer = await page.until("out.children", started, lambda answer: "progress" in answer.body)
    assert answer.body == {"multi": True, "progress": {"bar.value": 1, "bar.max": 3}}
    await become(first.is_set)
    assert (await page.poll("out.children", started)).body == {"multi": True}, "told once"
    gate.set()
    last, seen = await page.gather("out.children", started)
    assert last.body["response"] == {"out": {"children": "done"}}
    if kind != "diskcache":  # which erases progress together with the result it hands out
        assert seen == {"bar.value": 3, "bar.max": 3}, "the last progress is never lost"


async def test_what_set_props_sets_reaches_the_page_before_and_with_the_result(
    app: App, signals: Iterator[Signal]
):
    gate = next(signals)

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        set_props("log", {"children": "started"})
        gate.wait()
        set_props({"type": "row", "index": 1}, {"title": "late"})
        return n

    page = Page(app)
    started = await page.start("out.children", 1)
    answer = await page.until("out.children", started, lambda answer: "sideUpdate" in answer.body)
    assert answer.pending
    assert answer.body["sideUpdate"] == {"log": {"children": "started"}}
    gate.set()
    _, seen = await page.gather("out.children", started)
    assert seen == {'{"index":1,"type":"row"}': {"title": "late"}}


async def test_the_context_is_that_of_the_request_that_started_the_job(app: App):
    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        return [
            ctx.triggered_id,
            ctx.triggered,
            ctx.inputs,
            ctx.cookies["user"],
            ctx.headers["X-Team"],
            ctx.path.partition("?")[0],
        ]

    answer = await Page(app).run("out.children", 5)
    assert answer.body["response"]["out"]["children"] == [
        "go",
        [{"prop_id": "go.n_clicks", "value": 5}],
        {"go.n_clicks": 5},
        "ada",
        "engines",
        "/_dash-update-component",
    ]


async def test_an_error_is_raised_with_its_message_and_traceback(app: App):
    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        raise ValueError("no such region")

    with pytest.raises(BackgroundCallbackError) as raised:
        await Page(app).run("out.children", 1)
    text = str(raised.value)
    assert text.startswith("An error occurred inside a background callback: no such region\n")
    assert "Traceback (most recent call last)" in text
    assert 'raise ValueError("no such region")' in text


async def test_on_error_answers_for_the_job_and_may_set_props(app: App):
    def on_error(error):
        set_props("alert", {"is_open": True})
        return type(error).__name__

    @app.callback(
        Output("out", "children"), Input("go", "n_clicks"), background=True, on_error=on_error
    )
    def work(n):
        set_props("log", {"children": "before"})
        raise ValueError("no")

    page = Page(app)
    started = await page.start("out.children", 1)
    answer, seen = await page.gather("out.children", started)
    assert answer.body["response"] == {"out": {"children": "BackgroundCallbackError"}}
    assert seen == {"log": {"children": "before"}, "alert": {"is_open": True}}


async def test_prevent_update_ends_the_job_without_an_answer(app: App):
    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        raise PreventUpdate

    assert (await Page(app).run("out.children", 1)).status == 204


async def test_some_outputs_may_be_left_alone(app: App):
    @app.callback(
        Output("a", "children"), Output("b", "children"), Input("go", "n_clicks"), background=True
    )
    def work(n):
        return no_update, [html.B("bold"), dcc.Graph(id="graph")]

    answer = await Page(app).run("..a.children...b.children..", 1)
    assert list(answer.body["response"]) == ["b"]
    bold, graph = answer.body["response"]["b"]["children"]
    assert bold["props"] == {"children": "bold"}
    assert graph["type"] == "Graph"


async def test_a_callback_without_outputs_sets_props(app: App):
    @app.callback(Input("go", "n_clicks"), background=True)
    def work(n):
        set_props("log", {"children": n})

    (output,) = app.callback_map
    page = Page(app)
    last, seen = await page.gather(output, await page.start(output, 7))
    assert seen == {"log": {"children": 7}}
    assert last.status in (200, 204)


async def test_arguments_by_name_and_state_are_bound(app: App):
    @app.callback(
        output=Output("out", "children"),
        inputs={"clicks": Input("go", "n_clicks")},
        state={"name": State("name", "value")},
        background=True,
        progress=Output("bar", "value"),
    )
    def work(set_progress, clicks, name):
        set_progress("1")
        return f"{name}{clicks}"

    answer = await Page(app).run("out.children", [3, "ada"])
    assert answer.body["response"] == {"out": {"children": "ada3"}}


async def test_a_job_cancelled_by_dashs_own_callback_ends_without_an_answer(
    app: App, signals: Iterator[Signal]
):
    begun, gate = next(signals), next(signals)

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        begun.set()
        gate.wait()
        return "too late"

    page = Page(app)
    started = await page.start("out.children", 1)
    await become(begun.is_set)
    secret, page_id = app.secret, dash_seam.unsign(app.secret, dash_seam.END_SCOPE, page.end_id)
    job = dash_seam.unsign(secret, dash_seam.job_scope(page_id), started["job"])
    # As Dash's cancel callback does: blocking, in a thread.
    await app.pool.run(app.background_manager.terminate_job, job)
    assert (await page.poll("out.children", started)).status == 204
    gate.set()
    assert not (await app.pool.run(app.background_manager.job_running, job))


async def test_a_newer_start_ends_the_older_job(app: App, signals: Iterator[Signal]):
    begun, gate = next(signals), next(signals)

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        if n == 1:
            begun.set()
            gate.wait()
        return n

    page = Page(app)
    older = await page.start("out.children", 1)
    await become(begun.is_set)
    newer = await page.start("out.children", 2, oldJob=older["job"])
    assert (await page.poll("out.children", older)).status == 204
    assert (await page.finish("out.children", newer)).body["response"]["out"]["children"] == 2
    gate.set()


async def test_another_page_can_neither_read_nor_end_a_job(app: App, signals: Iterator[Signal]):
    begun, gate = next(signals), next(signals)

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        begun.set()
        gate.wait()
        return "secret"

    owner, thief = Page(app), Page(app)
    started = await owner.start("out.children", 1)
    await become(begun.is_set)
    answer = await thief.poll("out.children", started)
    assert answer.status == 403
    assert "not started from this page" in answer.body["text"]
    other = await thief.start("out.children", 2, oldJob=started["job"])
    gate.set()
    answer = await owner.finish("out.children", started)
    assert answer.body["response"] == {"out": {"children": "secret"}}
    await thief.finish("out.children", other)


@pytest.mark.parametrize("forged", ["1", "1~0", "~", "x~" + "0" * 64, "💥~💥"])
async def test_a_forged_handle_reads_and_ends_nothing(app: App, forged: str):
    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        return n

    page = Page(app)
    answer = await page.send("out.children", 1, cacheKey=forged, job=forged)
    assert answer.status == 403
    started = await page.start("out.children", 5, oldJob=forged)
    assert (await page.finish("out.children", started)).body["response"]["out"]["children"] == 5


async def test_equal_calls_share_a_result_where_caching_is_on(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    manager = make(cache_by=[lambda: "v1"])
    app = App(manager)

    @app.callback(
        Output("out", "children"),
        Input("go", "n_clicks"),
        State("name", "value"),
        background=True,
        cache_args_to_ignore=[0],
    )
    def work(n, name):
        return f"{name} at {n}"

    assert (await Page(app).run("out.children", [1, "ada"])).body["response"] == {
        "out": {"children": "ada at 1"}
    }
    with monkeypatch.context() as patch:
        # Dash starts a job all the same, and a page that asks late gets the result of that one.
        patch.setattr(manager, "call_job_fn", lambda *_: pytest.fail("a job was started"))
        again = await Page(app).run("out.children", [2, "ada"])
    assert again.body["response"] == {"out": {"children": "ada at 1"}}, "the clicks are ignored"
    other = await Page(app).run("out.children", [2, "bob"])
    assert other.body["response"] == {"out": {"children": "bob at 2"}}


async def test_many_pages_run_jobs_at_once(app: App):
    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    def work(n):
        return n

    answers = await asyncio.gather(*(Page(app).run("out.children", n) for n in range(8)))
    assert [answer.body["response"]["out"]["children"] for answer in answers] == list(range(8))


async def test_all_workers_sign_with_the_first_ones_secret(app: App):
    get = app.background_manager.get_or_create_signing_secret
    first = await app.pool.run(get, lambda: b"first")
    assert first == b"first"
    assert await app.pool.run(get, lambda: b"second") == b"first"


async def test_every_manager_can_be_awaited(app: App):
    manager = adapt(app.background_manager, app.pool)
    assert isinstance(manager, JobManager)
    await manager.close()
    await manager.close()


async def test_11_4_jobs_of_one_factory_get_their_own_results(app: App):
    def make_callback(tenant: str) -> None:
        @app.callback(Output(tenant, "children"), Input("go", "n_clicks"), background=True)
        def figures(n):
            time.sleep(1.0 if tenant == "one" else 0.1)
            return f"figures of {tenant}"

    tenants = ["one", "other"]
    for tenant in tenants:
        make_callback(tenant)
    page = Page(app)
    started = [await page.start(f"{tenant}.children", 1) for tenant in tenants]
    for tenant, each in zip(tenants, started, strict=True):
        answer = await page.finish(f"{tenant}.children", each)
        assert answer.body["response"] == {tenant: {"children": f"figures of {tenant}"}}


def test_dashs_diskcache_manager_runs_async_functions(tmp_path: Path):
    diskcache = pytest.importorskip("diskcache")

    async def run() -> Answer:
        with diskcache.Cache(str(tmp_path)) as cache:
            app = App(dash.DiskcacheManager(cache))

            @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
            async def double(n):
                await asyncio.sleep(0)
                return n * 2

            return await Page(app).run("out.children", 21)

    assert asyncio.run(run()).body["response"] == {"out": {"children": 42}}


# -- AsyncManager and RedisManager -----------------------------------------------------------------

ours = pytest.mark.parametrize("kind", ["async", *REDIS_KINDS], indirect=True)


@ours
async def test_uncached_jobs_with_equal_arguments_are_strangers(app: App):
    gate = asyncio.Event()
    numbers = count(1)

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(n):
        number = next(numbers)
        await gate.wait()
        return number

    pages = [Page(app), Page(app)]
    started = [await page.start("out.children", 1) for page in pages]
    gate.set()
    answers = [
        (await page.finish("out.children", each)).body["response"]["out"]["children"]
        for page, each in zip(pages, started, strict=True)
    ]
    assert sorted(answers) == [1, 2]


@ours
async def test_a_cancelled_async_job_sees_its_cancellation(app: App):
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(n):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    page = Page(app)
    started = await page.start("out.children", 1)
    await become(begun.is_set)
    newer = await page.start("out.children", 2, oldJob=started["job"])
    await become(cancelled.is_set)
    assert (await page.poll("out.children", started)).status == 204
    await app.background_manager.close()
    with pytest.raises(BackgroundCallbackError):
        await page.poll("out.children", newer)


@ours
async def test_a_cancelled_plain_job_is_told_when_it_next_speaks(
    app: App, signals: Iterator[Signal]
):
    begun, gate, told = next(signals), next(signals), next(signals)

    @app.callback(
        Output("out", "children"),
        Input("go", "n_clicks"),
        background=True,
        progress=Output("bar", "value"),
    )
    def work(set_progress, n):
        if n == 2:
            return n
        begun.set()
        gate.wait()
        try:
            set_progress(1)
        except Exception:  # noqa: BLE001  what a careless callback does
            pytest.fail("a job must not mistake its cancellation for an error")
        except BaseException:
            told.set()
            raise

    page = Page(app)
    started = await page.start("out.children", 1)
    await become(begun.is_set)
    await page.run("out.children", 2)
    await page.start("out.children", 2, oldJob=started["job"])
    assert (await page.poll("out.children", started)).status == 204
    await become(lambda: not app.background_manager.running)
    gate.set()
    await become(told.is_set)


@ours
async def test_set_progress_may_be_awaited(app: App):
    @app.callback(
        Output("out", "children"),
        Input("go", "n_clicks"),
        background=True,
        progress=Output("bar", "value"),
    )
    async def work(set_progress, n):
        for step in range(3):
            await set_progress(step)
        return "done"

    page = Page(app)
    _, seen = await page.gather("out.children", await page.start("out.children", 1))
    assert seen == {"bar.value": 2}


@ours
async def test_set_progress_refuses_values_that_do_not_fit(app: App):
    @app.callback(
        Output("out", "children"),
        Input("go", "n_clicks"),
        background=True,
        progress=[Output("bar", "value"), Output("bar", "max")],
    )
    def work(set_progress, n):
        set_progress(1)

    with pytest.raises(BackgroundCallbackError, match="1 values for 2 progress outputs"):
        await Page(app).run("out.children", 1)


@ours
async def test_one_job_more_than_allowed_is_refused_with_503(make: Callable[..., Any]):
    app = App(make(max_jobs=1, max_waiting=1))
    gate = asyncio.Event()
    running: list[int] = []

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(n):
        running.append(n)
        await gate.wait()
        return n

    page = Page(app)
    started = [await page.start("out.children", n) for n in (1, 2)]
    refused = await page.send("out.children", 3)
    assert refused.status == 503
    assert "max_jobs" in refused.body["text"]
    await become(lambda: running)
    assert running == [1], "the second waits for the first"
    gate.set()
    for n, each in enumerate(started, start=1):
        answer = await page.finish("out.children", each)
        assert answer.body["response"]["out"]["children"] == n


@ours
async def test_sys_exit_in_a_job_ends_the_job_and_not_the_server(app: App):
    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(n):
        raise SystemExit(3)

    with pytest.raises(BackgroundCallbackError, match="3"):
        await Page(app).run("out.children", 1)


@ours
async def test_a_jobs_timeout_is_an_error_of_the_job(app: App):
    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(n):
        await asyncio.Event().wait()

    app.callback_map["out.children"]["flash_options"] = CallbackOptions(timeout=0.01)
    with pytest.raises(BackgroundCallbackError, match=r"timeout of 0.01 s"):
        await Page(app).run("out.children", 1)


@ours
async def test_closing_ends_the_jobs_and_leaves_no_task(app: App):
    begun = asyncio.Event()

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(n):
        begun.set()
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    await Page(app).start("out.children", 1)
    await Page(app).start("out.children", 2)
    await become(begun.is_set)
    await app.background_manager.close()
    await become(lambda: asyncio.all_tasks() == before)


@ours
async def test_cache_by_may_be_async_and_sees_the_request(make: Callable[..., Any]):
    async def user() -> str:
        return quart.request.cookies["user"]

    app = App(make(cache_by=user))
    numbers = count(1)

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(n):
        return next(numbers)

    first = await Page(app).run("out.children", 1)
    assert (await Page(app).run("out.children", 1)).body == first.body
    assert (await Page(app).run("out.children", 2)).body != first.body


@ours
async def test_what_triggered_the_callback_may_count_for_the_cache(make: Callable[..., Any]):
    app = App(make(cache_by=[]))
    numbers = count(1)

    @app.callback(
        Output("out", "children"),
        Input("go", "n_clicks"),
        background=True,
        cache_ignore_triggered=False,
        cache_args_to_ignore=[0],
    )
    async def work(n):
        return next(numbers)

    # The value is part of what triggered it.
    first = await Page(app).run("out.children", 1)
    assert (await Page(app).run("out.children", 1)).body == first.body
    assert (await Page(app).run("out.children", 2)).body != first.body


@ours
async def test_a_plain_dash_app_is_told_what_the_manager_needs(app: App):
    with pytest.raises(ConfigurationError, match=r"flash\.Flash"):
        app.background_manager.call_job_fn("key", print, [], {})


@ours
async def test_dashs_mcp_tools_can_follow_a_job(app: App):
    gate = asyncio.Event()

    @app.callback(
        Output("out", "children"),
        Input("go", "n_clicks"),
        background=True,
        progress=Output("bar", "value"),
    )
    async def work(set_progress, n):
        set_progress("half")
        await gate.wait()
        return "done"

    page = Page(app)
    started = await page.start("out.children", 1)
    key = started["cacheKey"].rpartition("~")[0]
    manager, run = app.background_manager, app.pool.run

    async def progress() -> bool:
        return await run(manager.get_progress, key) == ["half"]

    await become(progress)
    assert await run(manager.job_running, key)
    assert not await run(manager.result_ready, key)
    assert await run(manager.get_result, key, key) is manager.UNDEFINED
    gate.set()
    await become(lambda: run(manager.result_ready, key))
    assert await run(manager.get_result, key, key) == "done"
    assert await run(manager.get_updated_props, key) == {}
    assert not await run(manager.job_running, key)


# -- AsyncManager ----------------------------------------------------------------------------------


def stored(app: App) -> tuple[int, int, int]:
    now = app.background_manager.statistics()
    return now.running, now.uncollected, now.cached


async def test_nothing_is_left_of_a_job_whose_result_was_collected():
    async with AsyncManager() as manager:
        app = App(manager)

        @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
        async def work(n):
            return Thing()

        class Thing(dict[str, Any]):
            pass

        await Page(app).run("out.children", 1)
        assert stored(app) == (0, 0, 0)
        gc.collect()
        assert not [each for each in gc.get_objects() if type(each) is Thing]


async def test_results_that_nobody_comes_for_are_dropped_by_age():
    async with AsyncManager(expire=0.05) as manager:
        app = App(manager)
        ran = []

        @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
        async def work(n):
            ran.append(n)
            return n

        page = Page(app)
        started = await page.start("out.children", 1)
        await become(lambda: ran and stored(app) == (0, 0, 0))
        with pytest.raises(BackgroundCallbackError, match="this job is no longer known"):
            await page.poll("out.children", started)


async def test_results_that_nobody_comes_for_are_dropped_by_number_oldest_first():
    async with AsyncManager(max_results=2, cache_by=[]) as manager:
        app = App(manager)

        @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
        async def work(n):
            return n

        page = Page(app)
        started = [await page.start("out.children", n) for n in range(3)]
        await become(lambda: manager.statistics().dropped == 1)
        assert stored(app) == (0, 2, 2)
        with pytest.raises(BackgroundCallbackError, match="max_results=2"):
            await page.poll("out.children", started[0])
        for n in (1, 2):
            answer = await page.finish("out.children", started[n])
            assert answer.body["response"]["out"]["children"] == n


async def test_a_cached_result_lives_on_while_it_is_used():
    async with AsyncManager(expire=0.05, cache_by=[]) as manager:
        app = App(manager)

        @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
        async def work(n):
            return n

        await Page(app).run("out.children", 1)
        assert stored(app)[2] == 1
        await Page(app).run("out.children", 1)
        assert stored(app)[2] == 1
        await become(lambda: stored(app) == (0, 0, 0))


async def test_a_job_runs_on_without_a_page_unless_told_otherwise():
    cancelled = asyncio.Event()
    async with AsyncManager(abandon_after=0.05) as manager:
        app = App(manager)

        @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
        async def work(n):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        await Page(app).start("out.children", 1)
        await become(cancelled.is_set)
        await become(lambda: stored(app) == (0, 0, 0))
        assert manager.statistics().abandoned == 1


async def test_a_poll_that_reaches_another_process_is_an_error_that_names_the_remedy():
    async with AsyncManager() as here, AsyncManager() as there:
        app = App(here)

        @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
        async def work(n):
            return n

        page = Page(app)
        started = await page.start("out.children", 1)
        # Another worker of the same app, with the same secret_key.
        app.background_manager = there
        with pytest.raises(BackgroundCallbackError, match="RedisManager"):
            await page.poll("out.children", started)


async def test_a_long_plain_job_takes_no_thread_from_the_apps_own_callbacks(
    signals: Iterator[Signal],
):
    async with AsyncManager(max_jobs=4) as manager:
        app = App(manager)
        app.pool = WorkerPool(max_threads=1)
        app.dispatcher = Dispatcher(app, app.pool, app.pool, Hooks(app.pool))
        gate = next(signals)

        @app.callback(Output("slow", "children"), Input("go", "n_clicks"), background=True)
        def slow(n):
            gate.wait()

        @app.callback(Output("quick", "children"), Input("go", "n_clicks"))
        def quick(n):
            return n

        page = Page(app)
        started = [await page.start("slow.children", n) for n in range(4)]
        assert (await page.send("quick.children", 1)).status == 200
        gate.set()
        for each in started:
            await page.finish("slow.children", each)


async def test_a_result_that_has_no_json_form_is_dashs_error():
    async with AsyncManager() as manager:
        app = App(manager)

        @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
        async def work(n):
            return object()

        with pytest.raises(dash.exceptions.InvalidCallbackReturnValue):
            await Page(app).run("out.children", 1)


async def test_a_background_callback_without_a_manager_says_which_there_are():
    app = App(None)

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(n):
        return n

    with pytest.raises(MissingLongCallbackManagerError, match="AsyncManager"):
        await Page(app).send("out.children", 1)


@pytest.mark.parametrize(
    "options",
    [
        {"max_jobs": 0},
        {"max_waiting": -1},
        {"max_results": 0},
        {"expire": 0},
        {"abandon_after": 0},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        AsyncManager(**options)


def test_forked_workers_name_their_jobs_apart(tmp_path: Path):
    tasks = JobTasks(max_jobs=1, max_waiting=1)
    here = tasks.process
    assert tasks.new_id() != tasks.new_id()
    child = os.fork()
    if child == 0:
        (tmp_path / "child").write_text(tasks.process)
        os._exit(0)
    os.waitpid(child, 0)
    assert tasks.process == here != (tmp_path / "child").read_text()


# -- what a job says -------------------------------------------------------------------------------


def test_a_journal_keeps_the_latest_of_everything_and_tells_it_once():
    buffer = UpdateBuffer()
    for step in range(10_000):
        buffer.set_progress([step])
        buffer.set_props_of("log", {"children": step})
    buffer.set_props_of("log", {"title": "t"})
    assert buffer.peek() == [9_999]
    assert buffer.take() == ([9_999], {"log": {"children": 9_999, "title": "t"}})
    assert buffer.take() == (None, {})


def test_a_closed_journal_ends_who_writes_to_it():
    buffer = UpdateBuffer()
    buffer.close()
    with pytest.raises(asyncio.CancelledError):
        SetProgress(buffer, 1)("x")
