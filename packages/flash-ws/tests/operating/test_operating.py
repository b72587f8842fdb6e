"""What an operator sees: figures, readiness, and who may see them."""

import asyncio
import builtins
import importlib.util
import os

import pytest
from page import connected, serving
from prometheus_client.parser import text_string_to_metric_families

from flash import ConfigurationError, Flash, Input, html
from flash.loop_watch import Place
from flash.redis.backoff import Backoff
from flash.supervision import SupervisedTask
from flash.testing import AppClient
from flash_ws import CloseCode, LinkLimits, Live, Metric, stream_props
from flash_ws.callbacks.deferred import hub_of
from flash_ws.operating.statistics import LoopLag

TOKEN = "a-token-that-is-long"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div(html.Button(id="go"))
    return app


def parsed(text):
    """Values by (name, labels without the worker's)."""
    values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "worker"}
            values[(sample.name, *sorted(labels.items()))] = sample.value
    return values


# -- statistics


async def test_the_figures_tell_what_the_links_do_and_have_done(app, until):
    live = Live(app, limits=LinkLimits(max_batch_delay=0.05))

    @live.event_callback(Input("go", "n_clicks"))
    async def endless(clicks):
        yield stream_props("go", {"children": "begun"})
        await asyncio.Event().wait()

    async with serving(app):
        page, other = await connected(app), await connected(app)
        (name,) = live._event_callbacks._callbacks
        body = {
            "callback": name,
            "inputs": [{"id": "go", "property": "n_clicks", "value": 1}],
            "state": [],
            "changedPropIds": ["go.n_clicks"],
        }
        page.send({"t": "call", "id": 1, "body": body})
        while (await page.frame())["t"] != "props":
            pass
        assert live.statistics().calls == 1
        for number in range(10):
            await live.push("go", {"title": str(number)})
        assert (await page.frame())["u"] == [["go", {"title": "9"}]]
        await other.frame()
        await other.leave()
        await live.send_event("missed")
        await until(lambda: live.statistics().closed == {"LEFT": 1})
        figures = live.statistics()
        assert (figures.connected, figures.away, figures.opened) == (1, 1, 2)
        # Nine of ten, for each of two pages.
        assert figures.frames_conflated == 18
        assert (figures.recovered, figures.lost, figures.frames_replayed) == (0, 0, 0)
        # One comes back to what it missed, the other to a snapshot.
        back = await connected(app, other.token, other.positions)
        lost = await connected(app, "a-token-of-another-server~" + "0" * 40, {"all": ("old", 7)})
        figures = live.statistics()
        assert (figures.recovered, figures.lost, figures.frames_replayed) == (1, 1, 2)
        assert figures.frames_sent >= 4
        await until(lambda: live.statistics().frames_waiting == 0)
        assert live.statistics().bytes_waiting == 0
        for each in (page, back, lost):
            await each.leave()


async def test_frames_that_did_not_leave_are_counted_as_dropped(app, until):
    live = Live(app, limits=LinkLimits(max_outbox_bytes=10_000, max_batch_delay=0.0))
    async with serving(app):
        stalled = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        stalled.taking.clear()
        offered = 0
        while client.link is not None and client.link.close_code is None:
            await live.send_event("n", "x" * 1000)
            offered += 1
            await asyncio.sleep(0)
        stalled.taking.set()
        assert await stalled.closed() == CloseCode.TOO_SLOW.number
        await stalled.leave()
        figures = live.statistics()
        assert figures.closed == {"TOO_SLOW": 1}
        assert figures.frames_dropped > 0
        # Every one is accounted for.
        assert figures.frames_sent + figures.frames_dropped == offered


async def test_refused_links_are_counted(app):
    live = Live(app, authorize=lambda visit: False)
    async with AppClient(app) as client:
        assert (await client.post("/_flash/link/events", body=b"[{}]")).status == 401
        assert live.statistics().refused == 1


async def test_add_ons_bring_figures_of_their_own_and_a_failing_one_hides_no_other(app, caplog):
    live = Live(app, metrics=TOKEN)
    reconnects = Metric("redis_reconnects", 3, "Redis reconnects", "counter", {"host": "a"})

    def broken():
        raise RuntimeError("no figures today")

    live.metrics.add(broken)
    live.metrics.add(lambda: [reconnects])
    async with AppClient(app) as client:
        assert live.statistics().metrics == (reconnects,)
        values = parsed((await client.get("/_flash/metrics", headers=BEARER)).text)
        assert values["redis_reconnects_total", ("host", "a")] == 3
    assert "no figures today" in caplog.text


async def test_a_loop_that_is_held_up_shows_in_the_lag(monkeypatch):
    monkeypatch.setattr(LoopLag, "INTERVAL", 0.001)
    lag = LoopLag()
    try:
        loop = asyncio.get_running_loop()
        held = loop.time() + 0.05
        while loop.time() < held:
            pass
        assert lag.seconds > 0.01
    finally:
        lag.stop()


# -- Prometheus


async def test_figures_are_off_unless_asked_for(app):
    Live(app)
    async with AppClient(app) as client:
        answer = await client.get("/_flash/metrics")
        assert answer.status == 404
        assert "Live(metrics=" in answer.text


async def test_figures_are_for_who_shows_the_token(app):
    live = Live(app, metrics=TOKEN)

    @app.server.before_request
    async def guard():
        return "log in", 401

    async with AppClient(app) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
            answer = await client.get("/_flash/metrics", headers=headers)
            assert (answer.status, answer.text) == (401, "not allowed to connect\n")
        assert (await client.post("/_flash/metrics", headers=BEARER)).status == 405
        answer = await client.get("/_flash/metrics", headers=BEARER)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert f'worker="{os.getpid()}"' in answer.text
        values = parsed(answer.text)
        assert values["flash_live_pages", ("state", "connected")] == 0
        assert values["flash_endpoint_connections",] == 0
        # Those of the process, and of the app's own registry, are there, too.
        assert values["process_start_time_seconds",] > 0
        assert live.statistics().connected == 0


async def test_a_function_may_guard_the_figures(app):
    async def from_the_office(visit):
        return visit.query.get("from") == "office"

    Live(app, metrics=from_the_office)
    async with AppClient(app) as client:
        assert (await client.get("/_flash/metrics")).status == 401
        assert (await client.get("/_flash/metrics?from=office")).status == 200


async def scrape(port, path="/metrics", *, host=None, method="GET", head=None):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        host = f"127.0.0.1:{port}" if host is None else host
        writer.write(head or f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with asyncio.timeout(5):
            answer = await reader.read()
        head, _, body = answer.decode().partition("\r\n\r\n")
        return head.split("\r\n")[0].split(" ")[1:2], body
    finally:
        writer.close()
        await writer.wait_closed()


async def test_figures_have_a_port_of_their_own_for_each_worker(unused_tcp_port):
    apps = [Flash(f"{__name__}{number}") for number in range(2)]
    for app in apps:
        app.layout = html.Div()
    lives = [Live(app, metrics=unused_tcp_port) for app in apps]
    async with serving(apps[0]), serving(apps[1]):
        ports = [live._monitor._port.port for live in lives]
        assert ports[0] == unused_tcp_port
        assert ports[1] > ports[0]
        for port in ports:
            for path in ("/metrics", "/_flash/metrics?x=1"):
                status, body = await scrape(port, path)
                assert status == ["200"]
                assert parsed(body)["flash_live_pages", ("state", "connected")] == 0
    with pytest.raises(OSError, match=r"refused|Connect"):
        await scrape(ports[0])


async def test_b8_a_port_answers_this_machine_alone_and_nothing_but_figures(app, monkeypatch):
    monkeypatch.setattr("flash_ws.operating.metrics.REQUEST_TIMEOUT", 0.2)
    live = Live(app, metrics=0)
    live._monitor._port._wanted = 0
    async with serving(app):
        port = live._monitor._port.port
        assert (await scrape(port, host="evil.test:9464"))[0] == ["403"]
        assert (await scrape(port, "/elsewhere"))[0] == ["404"]
        assert (await scrape(port, method="POST"))[0] == ["405"]
        assert await scrape(port, head=b"x" * 10_000 + b"\r\n\r\n") == ([], "")
        assert await scrape(port, head=b"GET /metrics HTTP/1.1\r\n") == ([], "")
        # Those have hurt nobody.
        assert (await scrape(port, host="localhost:1"))[0] == ["200"]


def test_a_token_that_can_be_guessed_is_a_mistake(app):
    with pytest.raises(ConfigurationError, match="secrets"):
        Live(app, metrics="secret")


def test_without_prometheus_client_the_remedy_is_named(app, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install flash-ws\[metrics\]"):
        Live(app, metrics=True)


def test_flash_ws_runs_without_prometheus_client(app, monkeypatch):
    load = builtins.__import__

    def refuse(name, *args, **kwargs):
        assert not name.startswith("prometheus_client")
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    Live(app)


# -- readiness


async def test_a_worker_says_that_it_lives_and_is_ready(app):
    live = Live(app)
    state = []
    live.readiness.add("database", lambda: state[-1] if state else None)

    async def broker():
        return True

    live.readiness.add("broker", broker)
    with pytest.raises(ConfigurationError, match="already"):
        live.readiness.add("broker", broker)

    @app.server.before_request
    async def guard():
        return "log in", 401

    async with AppClient(app) as client:
        answer = await client.get("/_flash/health")
        assert (answer.status, answer.json()) == (200, {"alive": True, "worker": os.getpid()})
        answer = await client.get("/_flash/ready")
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {
            "ready": True,
            "checks": {"serving": "ok", "database": "ok", "broker": "ok"},
            "worker": os.getpid(),
        }
        assert (await client.request("HEAD", "/_flash/ready")).body == b""
        assert (await client.post("/_flash/ready")).status == 405


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (lambda: False, "not ready"),
        (lambda: "reconnecting since 3 s", "reconnecting since 3 s"),
        (lambda: 1 / 0, "failed"),
        (lambda: asyncio.Event().wait(), "no answer within 0.05 s"),
    ],
)
async def test_a_check_that_does_not_pass_turns_the_worker_red(
    app, check, reason, monkeypatch, caplog
):
    monkeypatch.setattr("flash_ws.operating.readiness.CHECK_TIMEOUT", 0.05)
    live = Live(app)
    live.readiness.add("broker", check)
    async with AppClient(app) as client:
        answer = await client.get("/_flash/ready")
        assert answer.status == 503
        assert answer.json()["ready"] is False
        assert answer.json()["checks"] == {"serving": "ok", "broker": reason}
    assert ("ZeroDivisionError" in caplog.text) == (reason == "failed")


async def test_many_who_ask_at_once_cost_one_check(app):
    live = Live(app)
    asked = []
    live.readiness.add("broker", lambda: asked.append(True))
    async with AppClient(app) as client:
        answers = await asyncio.gather(*(client.get("/_flash/ready") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert len(asked) == 1


async def test_a_task_that_keeps_ending_is_seen_and_its_error_s_text_is_not(app):
    live, again = Live(app), asyncio.Event()
    runs = 0

    async def work():
        nonlocal runs
        runs += 1
        if runs > 2:
            again.set()
            await asyncio.Event().wait()
        raise ValueError("password of the ledger")

    task = SupervisedTask("channel 'secret room'", work, backoff=Backoff(0.001, 0.001))
    async with AppClient(app) as client:
        task.start()
        await again.wait()
        answer = await client.get("/_flash/ready")
        figures = live.statistics().metrics
        await task.stop()
    assert answer.status == 503
    assert answer.json()["checks"]["tasks"] == "1 ended lately; the log says which and why"
    # Anybody can ask whether a worker is ready.
    assert b"ledger" not in answer.body
    assert b"secret room" not in answer.body
    (counted,) = (each for each in figures if each.name == "flash_task_failures")
    assert (counted.value, counted.labels) == (2, {"task": "channel 'secret room'"})


async def test_what_blocked_the_loop_is_a_metric_by_place(app):
    live = Live(app)
    async with AppClient(app):
        app.loop_watch.counts[Place("slow", "app.py", 12)] = 3
        app.loop_watch.unnamed = 2
        counted = [m for m in live.statistics().metrics if m.name == "flash_loop_blocked"]
    assert [(m.value, m.labels) for m in counted] == [
        (3, {"function": "slow", "place": "app.py:12"}),
        (2, {"function": "", "place": ""}),
    ]


async def test_a_worker_about_to_stop_is_not_ready(app):
    from flash.serving.drain import Drain

    Live(app)
    drain = Drain(app, grace_period=5)
    async with AppClient(drain) as client:
        assert (await client.get("/_flash/ready")).status == 200
        drain.begin()
        answer = await client.get("/_flash/ready")
        assert (answer.status, answer.json()["checks"]) == (503, {"serving": "about to stop"})
        assert (await client.get("/_flash/health")).status == 200
        drain.close()
