"""Traces: one contract for a tracing in memory and for OpenTelemetry, and what the app traces."""

import asyncio
import subprocess
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest
from dash import no_update
from dash.exceptions import PreventUpdate
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from flash import AsyncManager, ConfigurationError, Flash, Input, Output, html
from flash.testing import FlashClient
from flash.tracing import OpenSpan, OpenTelemetryTracing, carrier_of, choose, message_span

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@dataclass(eq=False)
class Noted:
    """A finished span, in the form that both tracings are compared in."""

    name: str
    attributes: dict
    parent: object = None
    link: object = None
    errors: list = field(default_factory=list)

    def set(self, attributes):
        self.attributes.update(attributes)

    def fail(self, error):
        self.errors.append(type(error).__name__)


class MemoryTracing:
    """Keeps its spans."""

    def __init__(self):
        self.ended = []
        self._current = ContextVar("current", default=None)

    @contextmanager
    def span(self, name, attributes, *, headers=None, link=None):
        parent = self._current.get()
        if parent is None and headers:
            parent = (headers.get("traceparent") or "")[36:52] or None
        span = Noted(name, dict(attributes), parent, link)
        token = self._current.set(span)
        try:
            yield span
        except Exception as error:
            span.fail(error)
            raise
        finally:
            self._current.reset(token)
            self.ended.append(span)

    def current(self):
        return self._current.get()

    def carrier(self):
        span = self._current.get()
        return {} if span is None else {"span": span}

    @contextmanager
    def message_span(self, name, attributes, carrier):
        token = self._current.set(carrier.get("span"))
        try:
            with self.span(name, attributes, link=carrier.get("span")) as span:
                yield span
        finally:
            self._current.reset(token)

    def spans(self):
        return self.ended


class ExportedTracing(OpenTelemetryTracing):
    """OpenTelemetry with its exporter in memory."""

    def __init__(self):
        self._made = {}
        provider = TracerProvider()
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        super().__init__(provider)

    def spans(self):
        exported = self._exporter.get_finished_spans()
        for span in exported:
            errors = [
                event.attributes["exception.type"].rpartition(".")[2] for event in span.events
            ]
            assert bool(errors) == (span.status.status_code is StatusCode.ERROR)
            noted = Noted(span.name, dict(span.attributes), errors=errors)
            self._made.setdefault(span.context.span_id, noted)
        for span in exported:
            noted = self._made[span.context.span_id]
            if span.parent is not None:
                noted.parent = self._made.get(span.parent.span_id, f"{span.parent.span_id:016x}")
            for link in span.links:
                noted.link = self._made[link.context.span_id]
        return [self._made[span.context.span_id] for span in exported]


@pytest.fixture(params=[MemoryTracing, ExportedTracing])
def tracing(request):
    return request.param()


class TestContract:
    def test_a_span_inside_another_is_its_child(self, tracing):
        with tracing.span("outer", {"a": 1}) as outer, tracing.span("inner", {}) as inner:
            outer.set({"b": "two"})
            inner.set({"c": 2.5})
        inner, outer = tracing.spans()
        assert (outer.name, outer.attributes, outer.parent) == ("outer", {"a": 1, "b": "two"}, None)
        assert (inner.name, inner.attributes, inner.parent) == ("inner", {"c": 2.5}, outer)

    def test_the_first_one_belongs_to_the_caller_that_the_headers_name(self, tracing):
        other = {"traceparent": f"00-{TRACE}-{SPAN[::-1]}-01"}
        with (
            tracing.span("outer", {}, headers=TRACEPARENT),
            tracing.span("inner", {}, headers=other),
        ):
            pass
        inner, outer = tracing.spans()
        assert outer.parent == SPAN
        assert inner.parent is outer

    @pytest.mark.parametrize("headers", [{}, None, {"traceparent": "rubbish"}])
    def test_headers_without_a_trace_begin_one(self, tracing, headers):
        with tracing.span("outer", {}, headers=headers):
            pass
        assert tracing.spans()[0].parent is None

    def test_an_exception_is_recorded_and_raised(self, tracing):
        with pytest.raises(ValueError, match="wrong"), tracing.span("outer", {}):
            raise ValueError("wrong")
        assert tracing.spans()[0].errors == ["ValueError"]

    def test_a_cancellation_is_no_error(self, tracing):
        with pytest.raises(asyncio.CancelledError), tracing.span("outer", {}):
            raise asyncio.CancelledError
        assert tracing.spans()[0].errors == []

    def test_a_link_names_the_cause(self, tracing):
        assert tracing.current() is None
        with tracing.span("cause", {}):
            cause = tracing.current()
        with tracing.span("effect", {}, link=cause):
            pass
        first, second = tracing.spans()
        assert (second.link, second.parent) == (first, None)


class TestMessages:
    def test_the_processing_of_a_message_is_a_child_of_its_publication_and_linked(self, tracing):
        assert carrier_of(tracing) == {}
        with tracing.span("publish", {}):
            carrier = carrier_of(tracing)
        with tracing.span("other", {}), message_span(tracing, "process", {"a": 1}, carrier):
            pass
        publication, process, _ = tracing.spans()
        assert (process.parent, process.link) == (publication, publication)
        assert process.attributes == {"a": 1}

    def test_a_message_without_a_trace_begins_one(self, tracing):
        with tracing.span("other", {}), message_span(tracing, "process", {}, {}):
            pass
        process, _ = tracing.spans()
        assert (process.parent, process.link) == (None, None)

    @pytest.mark.parametrize("traceparent", ["rubbish", "00-0-0-00", "x" * 10_000])
    def test_rubbish_in_an_envelope_begins_a_trace(self, traceparent):
        tracing = ExportedTracing()
        with message_span(tracing, "process", {}, {"traceparent": traceparent}):
            pass
        (process,) = tracing.spans()
        assert (process.parent, process.link) == (None, None)

    def test_a_tracing_with_the_two_methods_only_is_enough(self):
        class Least:
            def __init__(self, tracing):
                self.span, self.current = tracing.span, tracing.current

        tracing = MemoryTracing()
        least = Least(tracing)
        assert carrier_of(least) == {}
        with message_span(least, "process", {}, {}):
            pass
        assert [span.name for span in tracing.spans()] == ["process"]


class TestOpenSpans:
    def test_an_open_span_is_not_current_and_a_child_of_what_is(self, tracing):
        with tracing.span("outer", {}):
            opened = OpenSpan(tracing, "open", {"a": 1})
            with tracing.span("inner", {}):
                pass
        opened.set({"b": 2})
        opened.fail(ValueError("wrong"))
        opened.end()
        inner, outer, last = tracing.spans()
        assert (inner.parent, last.parent) == (outer, outer)
        assert (last.attributes, last.errors) == ({"a": 1, "b": 2}, ["ValueError"])

    def test_it_ends_in_any_thread(self, tracing):
        opened = OpenSpan(tracing, "open", {})
        thread = threading.Thread(target=opened.end)
        thread.start()
        thread.join()
        assert [span.name for span in tracing.spans()] == ["open"]


def an_app(tracing, **options):
    app = Flash(__name__, tracing=tracing, **options)
    app.layout = lambda: html.Div([html.P(id="in"), html.P(id="out")])
    return app


OUT, IN = Output("out", "children"), Input("in", "children")


def named(tracing, start):
    return [span for span in tracing.spans() if span.name.startswith(start)]


class TestTheApp:
    async def call(self, tracing, function, *, fails=False, headers=None, **options):
        app = an_app(tracing)
        app.callback(OUT, IN, **options)(function)
        async with FlashClient(app) as client:
            if fails:
                with pytest.raises(Exception):  # noqa: B017, PT011  any: seen in the span
                    await client.call("out.children", {"in.children": 1})
            else:
                await client.call("out.children", {"in.children": 1})
        (span,) = named(tracing, "callback")
        return span

    async def test_an_async_callback(self, tracing):
        async def answer(value):
            with tracing.span("query", {}):
                await asyncio.sleep(0.02)
            return "x" * 100

        span = await self.call(tracing, answer)
        assert span.name == "callback out.children"
        assert span.attributes["flash.callback.id"] == "out.children"
        assert span.attributes["flash.callback.runner"] == "await"
        assert span.attributes["flash.callback.outcome"] == "ok"
        assert span.attributes["flash.callback.run_seconds"] >= 0.02
        assert 0 <= span.attributes["flash.callback.serialize_seconds"] < 10
        assert span.attributes["flash.response.bytes"] > 100
        assert "flash.callback.wait_seconds" not in span.attributes
        assert named(tracing, "query")[0].parent is span

    async def test_a_plain_one_waits_for_a_thread_and_has_the_span_there(self, tracing):
        app = an_app(tracing, max_threads=1)

        @app.callback(OUT, IN)
        def answer(value):
            import time

            with tracing.span("query", {}):
                time.sleep(0.05)
            return value

        async with FlashClient(app) as client:
            await asyncio.gather(
                *(client.call("out.children", {"in.children": n}) for n in range(2))
            )
        spans = named(tracing, "callback")
        assert [span.attributes["flash.callback.runner"] for span in spans] == ["thread"] * 2
        waits = sorted(span.attributes["flash.callback.wait_seconds"] for span in spans)
        assert waits[1] >= 0.04
        assert all(span.attributes["flash.callback.run_seconds"] >= 0.05 for span in spans)
        assert {id(span.parent) for span in named(tracing, "query")} == {id(s) for s in spans}

    async def test_no_update_is_no_error(self, tracing):
        async def answer(value):
            raise PreventUpdate

        span = await self.call(tracing, answer)
        assert (span.attributes["flash.callback.outcome"], span.errors) == ("no_update", [])

    async def test_an_error_is_recorded(self, tracing):
        async def answer(value):
            raise ValueError("wrong")

        span = await self.call(tracing, answer, fails=True)
        assert (span.attributes["flash.callback.outcome"], span.errors) == ("error", ["ValueError"])

    async def test_a_time_out_is_told_from_other_errors(self, tracing):
        async def answer(value):
            await asyncio.sleep(5)

        span = await self.call(tracing, answer, fails=True, timeout=0.05)
        assert span.attributes["flash.callback.outcome"] == "timeout"
        assert span.errors == ["CallbackTimeout"]

    async def test_a_request_s_trace_goes_on_and_names_the_page(self, tracing):
        app = an_app(tracing)

        @app.callback(OUT, IN)
        async def answer(value):
            return value

        body = {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "in", "property": "children", "value": 1}],
            "changedPropIds": ["in.children"],
        }
        headers = {**TRACEPARENT, "Referer": "http://localhost/sales?x=1"}
        async with FlashClient(app) as client:
            for path in ("/", "/_dash-layout"):
                await client.get(path, headers=headers)
            await client.post("/_dash-update-component", json=body, headers=headers)
        found = {span.name: span for span in tracing.spans()}
        assert set(found) == {"page", "layout", "callback out.children"}
        assert {span.parent for span in found.values()} == {SPAN}
        assert {span.attributes["flash.page.path"] for span in found.values()} == {"/sales"}

    async def test_a_background_job_is_linked_to_the_call_that_started_it(self, tracing):
        app = an_app(tracing, background_callback_manager=AsyncManager())

        @app.callback(OUT, IN, background=True)
        async def work(value):
            with tracing.span("query", {}):
                await asyncio.sleep(0)
            return value

        async with FlashClient(app) as client:
            await client.call("out.children", {"in.children": 1})
        (job,) = named(tracing, "job")
        assert job.attributes == {"flash.callback.id": "out.children", "flash.job.outcome": "done"}
        assert job.link in named(tracing, "callback")
        assert named(tracing, "query")[0].parent is job

    async def test_a_failed_job_is_recorded(self, tracing):
        app = an_app(tracing, background_callback_manager=AsyncManager())

        @app.callback(OUT, IN, background=True)
        def work(value):
            raise ValueError("wrong")

        async with FlashClient(app) as client:
            with pytest.raises(Exception, match="failed with 500"):
                await client.call("out.children", {"in.children": 1})
        (job,) = named(tracing, "job")
        assert job.attributes["flash.job.outcome"] == "failed"
        assert job.errors

    async def test_an_output_that_is_not_updated_is_an_answer(self, tracing):
        async def answer(value):
            return no_update

        span = await self.call(tracing, answer)
        assert span.attributes["flash.callback.outcome"] in ("ok", "no_update")


class TestTheSetting:
    def test_without_a_provider_nothing_is_traced(self):
        assert Flash(__name__).tracing is None
        assert choose(False) is None

    def test_a_tracing_is_taken_as_it_is(self, tracing):
        assert Flash(__name__, tracing=tracing).tracing is tracing

    @pytest.mark.parametrize("setting", ["yes", 1, object()])
    def test_another_setting_is_refused_with_what_is_allowed(self, setting):
        with pytest.raises(ConfigurationError, match=r"tracing=.*must be True.*test_tracing"):
            Flash(__name__, tracing=setting)

    def test_true_asks_for_opentelemetry(self):
        assert isinstance(choose(True), OpenTelemetryTracing)

    @pytest.mark.parametrize(
        ("before", "traced"),
        [
            ("", False),
            ("import opentelemetry.trace", False),
            (
                "from opentelemetry import trace; from opentelemetry.sdk.trace import "
                "TracerProvider; trace.set_tracer_provider(TracerProvider())",
                True,
            ),
        ],
    )
    def test_a_provider_of_the_process_turns_it_on(self, before, traced):
        code = f"""
import sys
{before}
from flash import Flash
app = Flash("app")
assert (app.tracing is not None) is {traced}
assert ("opentelemetry.trace" in sys.modules) is {bool(before)}
"""
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_a_missing_package_is_named_with_the_command_that_brings_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "opentelemetry", None)
        with pytest.raises(ConfigurationError, match=r"pip install flash-core\[otel\]"):
            Flash(__name__, tracing=True)
