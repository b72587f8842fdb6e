"""Traces by OpenTelemetry's SDK: messages, shared callbacks, event callbacks, pushes and links."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from broker_worlds import until
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from page import Page
from redis_servers import RedisServer

from flash import Flash, Input, Output, html
from flash.tracing import OpenTelemetryTracing
from flash_pubsub import AsyncPublisher, MemoryBroker, Position, Publisher, PubSub
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.memory import MemoryStore
from flash_ws import Live

APP = Path(__file__).parents[1] / "apps" / "pubsub" / "traced.py"


class Exported(OpenTelemetryTracing):
    """OpenTelemetry with its exporter in memory."""

    def __init__(self, **options):
        provider = TracerProvider()
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        super().__init__(provider, **options)

    def named(self, start):
        finished = self._exporter.get_finished_spans()
        return [each for each in finished if each.name.partition(" ")[0] == start]

    async def one(self, start):
        await until(lambda: self.named(start))
        (span,) = self.named(start)
        return span


class Untraceable:
    """A tracing of an application, with the two methods that it must have."""

    def __init__(self, tracing):
        self.span, self.current = tracing.span, tracing.current


@pytest.fixture
def tracing():
    return Exported()


def an_app(tracing, store=None, **live):
    app = Flash("traced", tracing=tracing)
    app.server.secret_key = "the same everywhere"
    app.layout = html.Div([html.P(id="in"), html.P(id="out")])
    return app, Live(app, **live), PubSub(app, broker=MemoryBroker(store or MemoryStore()))


class Served:
    def __init__(self, *apps):
        self.apps = apps

    async def __aenter__(self):
        for app in self.apps:
            await app.server.startup()

    async def __aexit__(self, *_):
        for app in self.apps:
            await app.server.shutdown()


def ids(span):
    return span.context.trace_id, span.context.span_id


def parent(span):
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def links(span):
    return [(each.context.trace_id, each.context.span_id) for each in span.links]


async def test_15_6_a_publication_goes_on_in_the_channel_callbacks_of_every_worker():
    store, tracings = MemoryStore(), [Exported(), Exported()]
    worlds = [an_app(each, store) for each in tracings]
    for _, _, pubsub in worlds:

        @pubsub.channel_callback("prices/{place}", Output("out", "children"))
        async def shown(message, place):
            return message

    async with Served(*(app for app, _, _ in worlds)):
        for _, _, pubsub in worlds:
            # As a subscription of a page does.
            await pubsub._deliveries.acquire("prices/oslo")
        await worlds[0][2].publish("prices/oslo", {"t": 1})
        published = await tracings[0].one("publish")
        runs = [await each.one("channel") for each in tracings]
    assert published.name == "publish prices/oslo"
    assert published.kind is SpanKind.PRODUCER
    about = dict(published.attributes)
    assert about.pop("messaging.message.id")
    assert about == {
        "messaging.system": "flash",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "prices/oslo",
        "messaging.message.body.size": 7,
    }
    for run in runs:
        assert run.name == "channel prices/oslo"
        assert run.kind is SpanKind.CONSUMER
        assert parent(run) == ids(published)
        assert links(run) == [ids(published)]
        assert run.attributes["messaging.destination.template"] == "prices/{place}"
        assert run.attributes["messaging.operation.type"] == "process"
        assert run.attributes["flash.callback.id"].endswith("shown:prices/{place}")
        assert run.attributes["flash.callback.outcome"] == "ok"
    for each, run in zip(tracings, runs, strict=True):
        pushed = await each.one("push")
        assert parent(pushed) == ids(run)
        assert pushed.attributes["flash.push.channel"] == "channel"
        assert pushed.attributes["flash.push.bytes"] > 7
        assert pushed.attributes["flash.push.pages"] == 0


@pytest.mark.parametrize(
    ("raised", "outcome", "status"),
    [
        ("ValueError('wrong')", "error", StatusCode.ERROR),
        ("PreventUpdate()", "no_update", StatusCode.UNSET),
        ("asyncio.sleep(5)", "timeout", StatusCode.ERROR),
    ],
)
async def test_15_6_a_channel_callback_s_span_says_how_it_ended(tracing, raised, outcome, status):
    from dash.exceptions import PreventUpdate

    app, _, pubsub = an_app(tracing)

    @pubsub.channel_callback("prices", Output("out", "children"), timeout=0.05)
    async def shown(message):
        made = eval(raised, {"asyncio": asyncio, "PreventUpdate": PreventUpdate})
        if isinstance(made, Exception):
            raise made
        await made

    async with Served(app):
        await pubsub.publish("prices", 1)
        run = await tracing.one("channel")
    assert run.attributes["flash.callback.outcome"] == outcome
    assert run.status.status_code is status


async def test_15_6_a_push_is_one_span_whatever_the_number_of_pages(tracing):
    app, live, pubsub = an_app(tracing)

    @pubsub.channel_callback("prices")
    async def alarm(message):
        await live.push("out", {"children": message})
        live.send_event("alarm")
        await asyncio.to_thread(live.push_threadsafe, "out", {"children": 2})

    async with Served(app):
        pages = [await Page(app).open() for _ in range(3)]
        for page in pages:
            await page.hello()
        await live.push("out", {"children": 0})
        await pubsub.publish("prices", 1)
        run = await tracing.one("channel")
        await until(lambda: len(tracing.named("push")) == 3)
        for page in pages:
            await page.leave()
    for pushed in tracing.named("push"):
        assert parent(pushed) == ids(run)
        assert pushed.attributes["flash.push.channel"] == "all"
        assert pushed.attributes["flash.push.pages"] == 3


async def test_15_6_a_push_that_fails_is_recorded(tracing):
    app, live, pubsub = an_app(tracing)

    @pubsub.channel_callback("prices")
    async def alarm(message):
        await live.push("out", {"children": "x" * (20 << 20)})

    async with Served(app):
        await pubsub.publish("prices", 1)
        await tracing.one("channel")
    (pushed,) = tracing.named("push")
    assert pushed.status.status_code is StatusCode.ERROR


async def test_15_6_feeders_and_tables_publish_too(tracing):
    app, _, pubsub = an_app(tracing)
    rows = pubsub.table("orders", key="id", columns=["id", "price"])

    @pubsub.feeder("ticks")
    async def ticks():
        yield 1
        await asyncio.sleep(3600)

    async with Served(app):
        await rows.upsert([{"id": 1, "price": 2}, {"id": 2, "price": 3}])
        await rows.remove(1)
        await until(lambda: len(tracing.named("publish")) == 3)
    found = {each.name: each for each in tracing.named("publish")}
    assert set(found) == {"publish orders", "publish ticks"}
    written, removed = [each for each in tracing.named("publish") if each.name.endswith("orders")]
    assert written.attributes["flash.table.rows"] == 2
    assert removed.attributes["flash.table.removed"] == 1


async def test_15_6_a_shared_callback_has_a_span(tracing):
    app, _, pubsub = an_app(tracing)

    @pubsub.shared_callback(Output("out", "children"), Input("in", "children"))
    async def lamp(value):
        return value

    (name,) = pubsub._shared_callbacks.by_name
    async with Served(app):
        page = await Page(app).open()
        await page.hello()
        frame = {"t": "share", "cb": name, "k": 1, "v": [1], "s": [], "changed": [0]}
        page.send(frame)
        run = await tracing.one("shared")
        await page.leave()
    assert run.name.startswith("shared ")
    assert run.attributes["flash.callback.outcome"] == "ok"
    assert run.attributes["flash.shared.pages"] == 1


@pytest.mark.parametrize("outcome", ["ok", "error", "cancelled"])
async def test_15_6_an_event_callback_has_a_span_with_its_outcome(tracing, outcome):
    app, live, _ = an_app(tracing)

    @live.event_callback(Input("in", "children"))
    async def stream(value):
        with tracing.span("query", {}):
            yield {"out.children": value}
        if outcome == "error":
            raise ValueError("wrong")
        if outcome == "cancelled":
            await asyncio.sleep(3600)

    (name,) = live._event_callbacks._callbacks
    async with Served(app):
        page = await Page(app).open()
        await page.hello()
        slot = {"id": "in", "property": "children", "value": 1}
        body = {"callback": name, "inputs": [slot], "state": [], "changedPropIds": []}
        page.send({"t": "call", "id": 1, "body": body})
        if outcome == "cancelled":
            await until(lambda: tracing.named("query"))
            page.send({"t": "stop", "id": 1})
        span = await tracing.one("event")
        await page.leave()
    assert span.name.startswith("event ")
    assert span.attributes["flash.callback.id"] in span.name
    assert span.attributes["flash.callback.outcome"] == outcome
    assert (span.status.status_code is StatusCode.ERROR) == (outcome == "error")
    assert parent(tracing.named("query")[0]) == ids(span)
    # What it yields is sent by the hundred; a span for each would say nothing.
    assert tracing.named("push") == []


async def test_15_6_a_link_is_one_span_from_its_acceptance_to_its_end(tracing):
    app, live, _ = an_app(tracing)
    async with Served(app):
        page = await Page(app).open()
        await page.hello()
        assert tracing.named("link") == []
        await live.push("out", {"children": 0})
        await page.frames(2)
        await page.leave()
        left = await tracing.one("link")
        again = await Page(app).open()
        await again.hello(page.token, page.positions)
        await live.disconnect(client=again.welcome["id"])
        await until(lambda: len(tracing.named("link")) == 2)
    kicked = tracing.named("link")[1]
    assert parent(left) is None
    assert left.attributes["flash.link.transport"] == "websocket"
    assert left.attributes["flash.page.path"] == "/"
    assert left.attributes["flash.link.close_code"] == "LEFT"
    assert left.attributes["flash.link.frames_sent"] == 1
    assert left.attributes["flash.link.opening_seconds"] > 0
    assert "flash.link.recovered" not in left.attributes
    assert kicked.attributes["flash.link.close_code"] == "KICKED"
    assert kicked.attributes["flash.link.recovered"] is True


@pytest.mark.parametrize("users", [False, True])
async def test_15_6_a_link_names_its_user_only_if_the_app_allows_that(users):
    tracing = Exported(users=users)
    app, _, _ = an_app(tracing, authorize=lambda visitor: "ada")
    async with Served(app):
        page = await Page(app).open()
        await page.hello()
        await page.leave()
        span = await tracing.one("link")
    assert span.attributes.get("user.id") == ("ada" if users else None)


async def test_15_6_what_a_page_does_is_no_child_of_its_link(tracing):
    app, live, _ = an_app(tracing)
    seen = []

    @live.on_connect
    async def greet(client):
        seen.append(tracing.current())

    async with Served(app):
        page = await Page(app).open()
        await page.hello()
        await until(lambda: seen)
        await page.leave()
    assert seen == [None]


async def test_15_6_an_envelope_carries_a_trace_only_while_the_app_is_traced(tracing):
    for used, carries in ((None, False), (tracing, True), (Untraceable(tracing), False)):
        store = MemoryStore()
        app, _, pubsub = an_app(False if used is None else used, store)
        async with Served(app):
            await pubsub.publish("prices", {"t": 1})
            newest = await pubsub.broker.position("prices")
            (kept,) = await pubsub.broker.since("prices", Position(newest.epoch, 0))
        envelope = Envelope.unpack(kept.payload)
        assert ("traceparent" in envelope.extras) is carries
        assert envelope.data == {"t": 1}


def test_15_6_without_tracing_messages_and_links_are_those_of_before():
    app, _, _ = an_app(False)
    assert app.tracing is None
    assert Envelope.of(1).extras == {}


async def test_15_6_two_processes_one_trace(tmp_path):
    with RedisServer(tmp_path) as server:
        tracing = Exported()
        worker = await asyncio.create_subprocess_exec(
            sys.executable, str(APP), server.url, stdout=subprocess.PIPE
        )
        try:
            async with asyncio.timeout(60):
                assert await worker.stdout.readline() == b"ready\n"
                with tracing.span("import", {}):
                    async with AsyncPublisher(server.url, tracing=tracing) as publisher:
                        await publisher.publish("prices", 1)
                spans = json.loads(await worker.stdout.readline())
        finally:
            worker.kill()
            await worker.wait()
    (published,) = tracing.named("publish")
    (began,) = tracing.named("import")
    assert parent(published) == ids(began)
    traces = {each["trace"] for each in spans.values()}
    assert traces == {f"{published.context.trace_id:032x}"}
    assert spans["channel prices"]["parent"] == f"{published.context.span_id:016x}"
    assert spans["query"]["parent"] == spans["channel prices"]["id"]
    assert spans["push"]["parent"] == spans["channel prices"]["id"]


def test_15_6_a_blocking_publisher_s_spans_belong_to_the_thread_that_calls(tmp_path):
    tracing = Exported()
    with (
        RedisServer(tmp_path) as server,
        Publisher(server.url, tracing=tracing) as publisher,
        tracing.span("import", {}),
    ):
        publisher.publish("prices", 1)
    assert parent(tracing.named("publish")[0]) == ids(tracing.named("import")[0])
