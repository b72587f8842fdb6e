"""Traces: what the app does, as spans of OpenTelemetry or of another tracing system.

Without tracing an app has None in place of a `Tracing`, and does nothing of this. A span is current
while its work runs, so what the work calls, in tasks and threads too, becomes its child.
"""

from __future__ import annotations

import contextvars
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, ParamSpec, Protocol, Self, TypeVar, runtime_checkable
from urllib.parse import urlsplit

from flash.errors import ConfigurationError
from flash.settings import here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from contextvars import Token

    from opentelemetry import trace
    from opentelemetry.context import Context

# The name of the tracer.
SCOPE = "flash"

Value = str | bool | int | float

P = ParamSpec("P")
T = TypeVar("T")


class Span(Protocol):
    """One piece of work that is timed."""

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Add attributes."""
        ...

    def fail(self, error: BaseException) -> None:
        """Record an error that ended the work, and mark the span as failed."""
        ...


class Tracing(Protocol):
    """A tracing system."""

    def span(
        self,
        name: str,
        attributes: Mapping[str, Value],
        *,
        headers: Mapping[str, str] | None = None,
        link: object = None,
    ) -> AbstractContextManager[Span]:
        """Time a block as a child of the current span.

        If there is none, the parent is read from ``headers`` of the request (W3C Trace Context).
        ``link`` is the result of `current` where the work was caused. An exception that leaves the
        block is recorded; `CancelledError` is not an error.
        """
        ...

    def current(self) -> object:
        """Return the current span, to be linked later; None if there is none."""
        ...


@runtime_checkable
class MessageTracing(Protocol):
    """What a `Tracing` also has whose spans go on where a message arrives; optional."""

    def carrier(self) -> Mapping[str, str]:
        """Return what names the current span to another process (W3C Trace Context).

        It is sent along with a message. Empty if there is no span.
        """
        ...

    def message_span(
        self, name: str, attributes: Mapping[str, Value], carrier: Mapping[str, str]
    ) -> AbstractContextManager[Span]:
        """Time the processing of one message, which came with a ``carrier``.

        The span is a child of the one that the carrier names, and linked to it. Without one it
        begins a trace, whatever the current span is.
        """
        ...


NO_CARRIER: Mapping[str, str] = MappingProxyType({})


def carrier_of(tracing: Tracing) -> Mapping[str, str]:
    """Return what names the current span to another process; empty if nothing does."""
    return tracing.carrier() if isinstance(tracing, MessageTracing) else NO_CARRIER


def message_span(
    tracing: Tracing, name: str, attributes: Mapping[str, Value], carrier: Mapping[str, str]
) -> AbstractContextManager[Span]:
    """Time the processing of one message; see `MessageTracing`."""
    if isinstance(tracing, MessageTracing):
        return tracing.message_span(name, attributes, carrier)
    return tracing.span(name, attributes, headers=carrier)


def user_of(tracing: Tracing, user: str | None) -> dict[str, Value]:
    """Return the attributes that name the user, if the app allows them in traces."""
    if user is None or not getattr(tracing, "users", False):
        return {}
    return {"user.id": user}


class OpenSpan:
    """A span that lasts longer than a block, or ends in another task; it is not current.

    So what begins meanwhile does not become its child: the span of a page's connection would
    otherwise have all that the page does in a day.
    """

    __slots__ = ("_context", "_manager", "_span")

    def __init__(self, tracing: Tracing, name: str, attributes: Mapping[str, Value]) -> None:
        self._manager = tracing.span(name, attributes)
        self._context = contextvars.copy_context()
        self._span = self._context.run(self._manager.__enter__)

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Add attributes."""
        self._span.set(attributes)

    def fail(self, error: BaseException) -> None:
        """Record an error that ended the work, and mark the span as failed."""
        self._span.fail(error)

    def end(self) -> None:
        """End the span; called once, from any task or thread."""
        self._context.run(self._manager.__exit__, None, None, None)


@dataclass(frozen=True, slots=True)
class Cause:
    """What caused work that goes on by itself, such as a background job."""

    tracing: Tracing
    # The result of `Tracing.current`.
    span: object

    def traced(self, name: str, attributes: Mapping[str, Value]) -> AbstractContextManager[Span]:
        """Return the span of the work: one of its own, linked to its cause."""
        return self.tracing.span(name, attributes, link=self.span)


@dataclass(slots=True)
class CallTimes:
    """When the steps of one call began, as `time.perf_counter` has it; 0 for a step not reached."""

    # The call waits for a thread, if it needs one.
    called: float = 0.0
    # The function runs in its thread.
    begun: float = 0.0
    returned: float = 0.0
    # The response is serialised.
    assembled: float = 0.0

    def noting_begin(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function``, which notes when it begins."""

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            self.begun = time.perf_counter()
            return function(*args, **kwargs)

        return call

    def attributes(self) -> dict[str, Value]:
        """Return the length of each step, in seconds, until now."""
        now = time.perf_counter()
        lengths: dict[str, Value] = {}
        if self.begun:
            lengths["flash.callback.wait_seconds"] = self.begun - self.called
        if self.called:
            ended = self.returned or now
            lengths["flash.callback.run_seconds"] = ended - (self.begun or self.called)
        if self.assembled:
            lengths["flash.callback.serialize_seconds"] = now - self.assembled
        return lengths


def caused_by(headers: Mapping[str, str]) -> dict[str, Value]:
    """Return the attributes that say which page a request came from."""
    referrer = headers.get("referer")
    return {} if referrer is None else {"flash.page.path": _path_of(referrer)}


@lru_cache(maxsize=256)
def _path_of(url: str) -> str:
    return urlsplit(url).path


class OpenTelemetryTracing:
    """Spans of OpenTelemetry.

    ``provider`` is the process's own by default. With ``users`` the spans of links name the user
    in ``user.id``; who reads traces then reads that too. Needs the package ``opentelemetry-api``
    (``pip install flash-core[otel]``); what is exported and where is up to the application's SDK.
    """

    def __init__(
        self, provider: trace.TracerProvider | None = None, *, users: bool = False
    ) -> None:
        try:
            from opentelemetry import context, propagate, trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ConfigurationError(
                "tracing needs OpenTelemetry's API: pip install flash-core[otel]"
            ) from error
        # Whether spans name the user.
        self.users = users
        self._trace = trace
        # Kept, since a member of an enum takes a while to find.
        self._internal, self._producer = trace.SpanKind.INTERNAL, trace.SpanKind.PRODUCER
        self._attach, self._detach = context.attach, context.detach
        self._extract = propagate.extract
        # Messages carry the trace, but no baggage: the broker may keep them for long.
        self._messages = TraceContextTextMapPropagator()
        # The headers that carry a trace, such as "traceparent".
        self._carriers = tuple(propagate.get_global_textmap().fields)
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=provider)
        self._start = self._tracer.start_span

    def span(
        self,
        name: str,
        attributes: Mapping[str, Value],
        *,
        headers: Mapping[str, str] | None = None,
        link: object = None,
    ) -> AbstractContextManager[Span]:
        """Time a block; see `Tracing`.

        The attribute ``messaging.operation.type``, "send", makes it a producer of messages.
        """
        context = None
        if headers:
            for each in self._carriers:
                # Reading a header is cheap, and finding the current span is not.
                if each in headers:
                    if self.current() is None:
                        context = self._extract(headers)
                    break
        kind = self._producer if "messaging.operation.type" in attributes else self._internal
        links = None
        if link is not None and isinstance(link, self._trace.Span):
            links = [self._trace.Link(link.get_span_context())]
        return _OpenTelemetrySpan(self._start(name, context, kind, attributes, links), self)

    def carrier(self) -> Mapping[str, str]:
        """Return what names the current span to another process; see `MessageTracing`."""
        carrier: dict[str, str] = {}
        self._messages.inject(carrier)
        return carrier

    def message_span(
        self, name: str, attributes: Mapping[str, Value], carrier: Mapping[str, str]
    ) -> AbstractContextManager[Span]:
        """Time the processing of one message; see `MessageTracing`."""
        trace = self._trace
        context = self._messages.extract(carrier)
        cause = trace.get_current_span(context).get_span_context()
        links = [trace.Link(cause)] if cause.is_valid else None
        made = self._start(name, context, trace.SpanKind.CONSUMER, attributes, links)
        return _OpenTelemetrySpan(made, self)

    def enter(self, span: trace.Span) -> Token[Context]:
        """Make a span the current one."""
        return self._attach(self._trace.set_span_in_context(span))

    def leave(self, token: Token[Context]) -> None:
        """Make the span current that was before `enter`."""
        self._detach(token)

    def current(self) -> trace.Span | None:
        """Return the current span; None if there is none."""
        span = self._trace.get_current_span()
        return span if span.get_span_context().is_valid else None


class _OpenTelemetrySpan:
    """A `Span` of OpenTelemetry, and the block in which it is current.

    A class of its own, since the generators of `contextmanager` would cost as much as the span.
    """

    __slots__ = ("_span", "_token", "_tracing")

    def __init__(self, span: trace.Span, tracing: OpenTelemetryTracing) -> None:
        self._span = span
        self._tracing = tracing

    def __enter__(self) -> Self:
        self._token = self._tracing.enter(self._span)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self._tracing.leave(self._token)
        if isinstance(error, Exception):
            self.fail(error)
        self._span.end()

    def set(self, attributes: Mapping[str, Value]) -> None:
        self._span.set_attributes(attributes)

    def fail(self, error: BaseException) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.record_exception(error)
        self._span.set_status(Status(StatusCode.ERROR, type(error).__name__))


def choose(setting: Tracing | bool | None) -> Tracing | None:
    """Return the tracing that ``Flash(tracing=…)`` asks for.

    None asks for OpenTelemetry if the process has set a tracer provider, as the command
    ``opentelemetry-instrument`` does. Nothing is imported to find out.
    """
    if isinstance(setting, bool):
        return OpenTelemetryTracing() if setting else None
    if setting is not None:
        if not callable(getattr(setting, "span", None)):
            raise ConfigurationError(
                f"tracing={setting!r}: must be True, False, None or an object with the methods of "
                f"flash.tracing.Tracing{here()}"
            )
        return setting
    return OpenTelemetryTracing() if _has_provider() else None


def _has_provider() -> bool:
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return False
    return not isinstance(module.get_tracer_provider(), module.ProxyTracerProvider)
