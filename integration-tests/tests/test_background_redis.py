"""Background jobs shared through a real Redis: several servers, deaths, restarts."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from dash.exceptions import BackgroundCallbackError
from redis_servers import RedisServer
from workers import two_workers

from flash import Flash, Input, Output, html, set_props
from flash.background import RedisManager
from flash.background.job import JobHandles, State
from flash.testing import AppProcess, FlashClient

SECONDS = 60

# Waits for a file, so that a test says when it ends, and leaves one when it is cancelled.
APP = """
import asyncio
import os
from pathlib import Path

from flash import Flash, Input, Output, html, set_props
from flash.background import RedisManager

here = Path(os.environ["SIGNALS"])
app = Flash(
    __name__,
    background_callback_manager=RedisManager(os.environ["REDIS"], worker_timeout=1.5),
)
app.layout = html.Div([html.Button(id="go"), html.P(id="bar"), html.P(id="out"), html.P(id="log")])


@app.callback(
    Output("out", "children"),
    Input("go", "n_clicks"),
    background=True,
    progress=Output("bar", "children"),
    prevent_initial_call=True,
    on_error=lambda error: str(error).splitlines()[0],
)
async def work(set_progress, n):
    set_progress(f"{n} begun")
    set_props("log", {"children": f"pid {os.getpid()}"})
    try:
        while not (here / f"go{n}").exists():
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        (here / f"cancelled{n}").touch()
        raise
    return f"{n} done by {os.getpid()}"
"""


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return result


async def become(condition):
    async with asyncio.timeout(SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_redis(tmp_path):
    with RedisServer(tmp_path, "--appendonly", "yes") as server:
        yield server


class RemotePage:
    """A page of one server, whose requests may be sent to any other, as a proxy would."""

    def __init__(self, address):
        document = urlopen(address).read().decode()
        config = re.search(r'id="_dash-config"[^>]*>([^<]*)<', document)
        self.end_id = json.loads(config[1])["end_id"]

    def send(self, address, n, **handles):
        body = {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "go", "property": "n_clicks", "value": n}],
            "changedPropIds": ["go.n_clicks"],
        }
        query = "&".join(f"{name}={value}" for name, value in handles.items())
        request = Request(
            f"{address}/_dash-update-component?endId={self.end_id}&{query}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urlopen(request, timeout=SECONDS) as response:
                text = response.read()
                return json.loads(text) if response.status == 200 else {"status": response.status}
        except HTTPError as error:
            return {"status": error.code, "text": error.read().decode()}

    def start(self, address, n, **more):
        started = self.send(address, n, **more)
        assert started.keys() == {"cacheKey", "job"}, started
        return started

    def poll_until(self, address, started, wanted):
        def poll():
            answer = self.send(address, None, **started)
            return answer if wanted(answer) else None

        return until(poll)


@pytest.fixture(scope="module")
def signals(tmp_path_factory):
    return tmp_path_factory.mktemp("signals")


@pytest.fixture(scope="module")
def pair(tmp_path_factory, redis_server, signals):
    """Two servers of one app, which know each other through Redis only."""
    path = tmp_path_factory.mktemp("served") / "jobs.py"
    path.write_text(APP)
    env = {"REDIS": redis_server.url, "SIGNALS": str(signals)}
    with two_workers(path, **env) as both:
        yield both
        for server in both:
            with suppress(RuntimeError):  # ended by the last test
                server.kill()


@pytest.fixture
def servers(pair):
    one, _ = pair
    try:
        urlopen(one.url).close()
    except URLError:
        # The test before has ended it.
        one.start()
    return pair


def test_a_job_of_one_server_is_followed_on_another(servers, signals):
    one, other = servers
    page = RemotePage(one.url)
    started = page.start(one.url, 1)
    answer = page.poll_until(other.url, started, lambda answer: "sideUpdate" in answer)
    assert answer["progress"] == {"bar.children": "1 begun"}
    pid = answer["sideUpdate"]["log"]["children"].removeprefix("pid ")
    (signals / "go1").touch()
    answer = page.poll_until(other.url, started, lambda answer: "response" in answer)
    assert answer["response"] == {"out": {"children": f"1 done by {pid}"}}


def test_a_job_of_one_server_is_cancelled_through_another(servers, signals):
    one, other = servers
    page = RemotePage(one.url)
    started = page.start(one.url, 2)
    page.poll_until(one.url, started, lambda answer: "progress" in answer)
    (signals / "go3").touch()
    page.start(other.url, 3, oldJob=started["job"])
    until((signals / "cancelled2").exists)
    assert page.send(one.url, None, **started) == {"status": 204}


def test_a_killed_servers_jobs_end_with_an_error(servers):
    one, other = servers
    page = RemotePage(one.url)
    started = page.start(one.url, 4)
    page.poll_until(other.url, started, lambda answer: "progress" in answer)
    one.kill()
    answer = page.poll_until(other.url, started, lambda answer: "response" in answer)
    assert "worker process that ran this job is gone" in answer["response"]["out"]["children"]


def test_a_stopped_servers_jobs_end_with_an_error(servers):
    one, other = servers
    page = RemotePage(one.url)
    started = page.start(one.url, 5)
    page.poll_until(one.url, started, lambda answer: "progress" in answer)
    one.terminate()
    answer = page.poll_until(other.url, started, lambda answer: "response" in answer)
    text = answer["response"]["out"]["children"]
    assert re.search(r"before this job had ended|ran this job is gone", text)


CELERY = """
import os

from celery import Celery
from dash import CeleryManager

from flash import Flash, Input, Output, ctx, html, set_props

queue = Celery(__name__, broker=os.environ["REDIS"], backend=os.environ["REDIS"])
app = Flash(__name__, background_callback_manager=CeleryManager(queue))
app.layout = html.Div([html.Button(id="go"), html.P(id="bar"), html.P(id="out"), html.P(id="log")])


@app.callback(
    Output("out", "children"),
    Input("go", "n_clicks"),
    background=True,
    progress=Output("bar", "children"),
    prevent_initial_call=True,
    on_error=lambda error: str(error).splitlines()[0],
)
def work(set_progress, n):
    if n == 2:
        raise ValueError("two is too much")
    set_props("log", {"children": ctx.triggered_id})
    set_progress("half")
    return [f"{n} done by {os.getpid()}", html.B("indeed")]
"""


def test_celery_runs_jobs_whose_pages_flash_serves(redis_server, tmp_path):
    path = tmp_path / "celery_jobs.py"
    path.write_text(CELERY)
    env = {"REDIS": redis_server.url.replace("/0", "/1")}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "celery_jobs:queue",
        "worker",
        "--pool",
        "solo",
    ]
    with AppProcess(path, env=env) as server, open(tmp_path / "celery.log", "wb") as log:
        worker = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, **env}, stdout=log, stderr=log
        )
        try:
            page = RemotePage(server.url)
            started = page.start(server.url, 1)
            seen = {}

            def ended(answer):
                seen.update(answer.get("sideUpdate", {}))
                return "response" in answer

            answer = page.poll_until(server.url, started, ended)
            text, bold = answer["response"]["out"]["children"]
            assert text == f"1 done by {worker.pid}"
            assert bold["type"] == "B"
            assert seen["log"] == {"children": "go"}
            failed = page.start(server.url, 2)
            answer = page.poll_until(server.url, failed, ended)
            assert "two is too much" in answer["response"]["out"]["children"]
        finally:
            worker.terminate()
            worker.wait()


async def make_app(manager, function, **options):
    """Make an app with one background callback."""

    def make():
        app = Flash(__name__, background_callback_manager=manager)
        app.layout = html.Div([html.P(id=name) for name in ("go", "stop", "bar", "out", "log")])
        app.callback(
            Output("out", "children"), Input("go", "n_clicks"), background=True, **options
        )(function)
        return app

    # In a thread, for Dash reads a callback's source when it is registered.
    return await asyncio.to_thread(make)


async def test_a_restart_of_redis_passes_unnoticed_by_the_page(own_redis):
    async with RedisManager(own_redis.url, worker_timeout=3) as manager:
        begun, gate = asyncio.Event(), asyncio.Event()

        async def work(set_progress, n):
            set_progress("before")
            begun.set()
            await gate.wait()
            set_progress("after")
            set_props("log", {"children": "after"})
            return n

        app = await make_app(manager, work, progress=Output("bar", "children"))
        async with FlashClient(app) as client, asyncio.timeout(SECONDS):
            call = asyncio.create_task(client.call("out.children", {"go.n_clicks": 1}))
            await begun.wait()
            own_redis.restart()
            gate.set()
            result = await call
            assert result.updates == {"out.children": 1}
            assert result.side_updates["log.children"] == "after"


async def test_a_result_waits_for_a_redis_that_comes_back_empty(redis_server, tmp_path, caplog):
    lost = RedisServer(tmp_path)
    lost.start()
    async with RedisManager(lost.url, worker_timeout=1) as manager:
        begun, gate = asyncio.Event(), asyncio.Event()

        async def work(n):
            begun.set()
            await gate.wait()
            return n

        app = await make_app(manager, work)
        async with FlashClient(app) as client, asyncio.timeout(SECONDS):
            call = asyncio.create_task(client.call("out.children", {"go.n_clicks": 1}))
            await begun.wait()
            # The page goes away.
            call.cancel()
            (job,) = manager.running
            lost.stop()
            gate.set()
            await become(lambda: "waits for Redis" in caplog.text)
            lost.start()
            try:
                await become(lambda: not manager.running)
                report = await manager.poll(JobHandles(job, job))
            finally:
                lost.stop()
        assert (report.state, report.result) == (State.DONE, 1)


async def test_without_redis_a_start_is_an_error_within_seconds(tmp_path):
    server = RedisServer(tmp_path)
    async with RedisManager(server.url) as manager:

        async def work(n):
            return n

        app = await make_app(manager, work, on_error=lambda error: type(error).__name__)
        app.server.secret_key = "not from Redis"
        async with FlashClient(app) as client, asyncio.timeout(SECONDS):
            result = await client.call("out.children", {"go.n_clicks": 1})
        assert result.updates == {"out.children": "RedisUnavailable"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x" * 2_000, r"2,002 bytes of JSON, which is more than max_result_bytes=1,000"),
        (object(), r"is not JSON serializable|returned an object"),
    ],
)
async def test_a_result_that_cannot_be_kept_is_an_error_of_the_callback(
    redis_server, value, message
):
    async with RedisManager(redis_server.url, max_result_bytes=1_000) as manager:
        errors = []

        async def work(n):
            return value

        app = await make_app(manager, work, on_error=errors.append)

        async with FlashClient(app) as client:
            await client.call("out.children", {"go.n_clicks": 1})
        (error,) = errors
        assert isinstance(error, BackgroundCallbackError)
        assert re.search(message, str(error)), error


async def test_nothing_stays_in_redis_for_good_but_the_secret(redis_server):
    prefix = "tidy:"
    async with RedisManager(redis_server.url, prefix=prefix, cache_by=[]) as manager:
        gate = asyncio.Event()

        async def work(set_progress, n):
            set_progress("x")
            set_props("log", {"children": "y"})
            if n == 2:
                await gate.wait()
            return n

        app = await make_app(
            manager, work, progress=Output("bar", "children"), cancel=Input("stop", "n_clicks")
        )

        async with FlashClient(app) as client:
            await client.call("out.children", {"go.n_clicks": 1})
            call = asyncio.create_task(client.call("out.children", {"go.n_clicks": 2}))
            await become(lambda: manager.running)
            call.cancel()
            with redis_server.client(decode_responses=True) as inspect:
                keys = inspect.keys(prefix + "*")
                assert len(keys) > 3
                forever = [key for key in keys if inspect.ttl(key) < 0]
        assert forever == [f"{prefix}secret"]


async def test_workers_share_cached_results(redis_server):
    runs = []

    async def work(n):
        runs.append(n)
        return n

    answers = []
    for _ in range(2):
        async with RedisManager(redis_server.url, prefix="shared:", cache_by=[]) as manager:
            app = await make_app(manager, work)
            async with FlashClient(app) as client:
                answers.append((await client.call("out.children", {"go.n_clicks": 1})).updates)
    assert answers == [{"out.children": 1}] * 2
    assert runs == [1]


@pytest.mark.parametrize(
    ("url", "options", "secret"),
    [
        ("redis://host", {}, "flash:background:secret"),
        ("redis://host?prefix=shop", {}, "shop:background:secret"),
        ("redis+sentinel://host/mymaster", {"prefix": "own:"}, "own:secret"),
        ("redis+cluster://host", {}, "{flash:background:}secret"),
        ("redis+cluster://host", {"prefix": "{own}:"}, "{own}:secret"),
    ],
)
def test_keys_begin_with_the_prefix_and_share_a_slot_on_a_cluster(url, options, secret):
    manager = RedisManager(url, **options)
    asked = []

    class Client:
        def slot_of(self, key):
            asked.append(key)
            return 0

        async def call(self, command, *, slot):
            asked.append(command[1])

    manager._client.call_from_thread = lambda work: asyncio.run(work(Client()))
    manager.get_or_create_signing_secret(lambda: b"x")
    assert set(asked) == {secret}


async def test_the_heartbeat_goes_on_after_whatever_ended_it(redis_server, monkeypatch, caplog):
    options = {"prefix": "beat:", "worker_timeout": 1.5}
    async with (
        RedisManager(redis_server.url, **options) as manager,
        RedisManager(redis_server.url, **options) as other,
    ):
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def work(n):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        app = await make_app(manager, work)
        ids, failures = manager._tasks.ids, []

        def fail_once():
            if not failures:
                failures.append(1)
                raise ZeroDivisionError
            return ids()

        monkeypatch.setattr(manager._tasks, "ids", fail_once)
        async with FlashClient(app) as client, asyncio.timeout(SECONDS):
            call = asyncio.create_task(client.call("out.children", {"go.n_clicks": 1}))
            await begun.wait()
            (job,) = ids()
            await become(lambda: "heartbeat of background jobs in Redis ended" in caplog.text)
            await other.cancel(job)
            await cancelled.wait()
            call.cancel()
            await asyncio.wait([call])


def test_the_package_needs_redis_only_where_it_is_used(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    with pytest.raises(ImportError, match=r"flash-core\[redis\]"):
        RedisManager("redis://127.0.0.1")
