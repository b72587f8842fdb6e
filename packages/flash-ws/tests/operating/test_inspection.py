"""The page that shows an operator what a worker does."""

import json
import os
import re

import pytest
from page import connected, serving

from flash import Flash, Input, Output, html
from flash.testing import CallbackFailed, FlashClient
from flash_ws import Live
from flash_ws.callbacks.deferred import hub_of
from flash_ws.operating.inspection import MAX_PAGES, PageRow, WorkerSnapshot, render
from flash_ws.operating.statistics import Metric


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    return app


async def ask(
    app, method="GET", host="127.0.0.1:8050", client="127.0.0.1", user="", accept="text/html"
):
    """Status, headers and text of the page."""
    sent = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/_flash/inspect",
        "raw_path": b"/_flash/inspect",
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", host.encode()),
            (b"x-user", user.encode()),
            (b"accept", accept.encode()),
        ],
        "client": (client, 1),
        "server": ("127.0.0.1", 8050),
        "state": {},
    }

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"].decode()


def rows(text):
    """The cells of each row, as they stand in the page."""
    lines = [line for line in text.splitlines() if line.startswith("<tr><td>")]
    return [line.removeprefix("<tr><td>").split("<td>") for line in lines]


async def test_nobody_sees_it_unless_told_so(app):
    Live(app)
    async with serving(app):
        status, _, text = await ask(app)
    assert status == 404
    assert "Live(inspect=" in text


async def test_who_may_sees_readiness_pages_and_figures(app):
    live = Live(
        app,
        authorize=lambda visit: visit.headers.get("x-user", ""),
        inspect=lambda visit: visit.headers.get("X-User") == "root",
    )
    live.readiness.add("stock", lambda: "the <stock> is gone")
    live.metrics.add(lambda: [Metric("cakes", 1_234_567, "Cakes & more", labels={"kind": "a<b"})])
    async with serving(app):
        page = await connected(app, headers=[(b"x-user", b"<script>")])
        (client,) = hub_of(live.app).clients.values()
        client.join("desk")
        assert (await ask(app, user="ann"))[0] == 401
        status, headers, text = await ask(app, user="root")
        assert status == 200
        assert headers[b"cache-control"] == b"no-store"
        assert b"default-src 'none'" in headers[b"content-security-policy"]
        assert "<script" not in text
        table = rows(text)
        assert ["stock", "the &lt;stock&gt; is gone"] in table
        (row,) = [row for row in table if row[0] == client.id]
        assert row[1:5] == ["&lt;script&gt;", "/", "connected", "desk"]
        assert ["cakes", "kind=a&lt;b", "1,234,567", "Cakes &amp; more"] in table
        assert any(row[0] == "flash_live_links_opened_total" for row in table)
        await page.leave()
        assert " away" in re.sub("<td>", " ", (await ask(app, user="root"))[2])


async def test_the_apps_own_guards_come_first(app):
    Live(app, inspect=lambda visit: True)

    @app.server.before_request
    async def closed():
        return "closed", 403

    async with serving(app):
        assert (await ask(app))[0] == 403


@pytest.mark.parametrize(
    ("host", "client", "status"),
    [
        ("127.0.0.1:8050", "127.0.0.1", 200),
        ("localhost:8050", "127.0.0.1", 200),
        ("[::1]:8050", "::1", 200),
        ("[::1]", "::1", 200),
        ("localhost", "127.0.0.1", 200),
        # A name that somebody else has led to this machine.
        ("evil.test:8050", "127.0.0.1", 404),
        ("127.0.0.1:8050", "10.0.0.7", 404),
    ],
)
async def test_a_developer_sees_it_on_his_own_machine(app, host, client, status):
    Live(app)
    app.enable_dev_tools(debug=True, dev_tools_hot_reload=False)
    async with serving(app):
        assert (await ask(app, host=host, client=client))[0] == status


async def test_it_takes_nothing(app):
    Live(app, inspect=lambda visit: True)
    async with serving(app):
        status, headers, _ = await ask(app, "POST")
        assert (status, headers[b"allow"]) == (405, b"GET, HEAD")
        status, headers, text = await ask(app, "HEAD")
        assert (status, text) == (200, "")
        assert int(headers[b"content-length"]) > 1000


async def test_a_program_reads_the_same_as_json(app):
    live = Live(app, inspect=lambda visit: visit.headers.get("X-User") == "root")
    live.readiness.add("stock", lambda: "the <stock> is gone")
    app.layout = html.Div([html.P(id="a"), html.P(id="b")])

    @app.callback(Output("a", "children"), Input("b", "children"))
    async def failing(_):
        raise ValueError("no")

    async with FlashClient(app) as client:
        for _ in range(2):
            with pytest.raises(CallbackFailed):
                await client.call("a.children", {"b.children": 1})
        status, headers, text = await ask(app, user="ann", accept="application/json")
        assert status == 401
        status, headers, text = await ask(app, user="root", accept="application/json")
    assert (status, headers[b"content-type"]) == (200, b"application/json")
    said = json.loads(text)
    assert said["worker"] == os.getpid()
    assert said["checks"]["stock"] == "the <stock> is gone"
    assert (said["page_count"], said["pages"]) == (0, [])
    assert said["cpu_seconds"] > 0
    values = {(each["name"], *each["labels"].values()): each["value"] for each in said["metrics"]}
    assert values["flash_callbacks_total", "error"] == 2
    assert values[("flash_callback_seconds_total",)] > 0


def test_the_slowest_pages_are_listed_and_the_rest_counted():
    pages = tuple(PageRow(f"p{n}", None, "/", True, (), n, n, 0, 0) for n in range(MAX_PAGES + 7))
    text = render(WorkerSnapshot(1, {}, pages, ()))
    names = [row[0] for row in rows(text)]
    assert names[1] == f"p{MAX_PAGES + 6}"
    assert names[-1] == "and 7 more"
    assert len(names) == 1 + MAX_PAGES + 1
    assert f"Pages: {MAX_PAGES + 7}" in text
