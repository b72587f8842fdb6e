"""Traces: what the app does, as spans of OpenTelemetry or of another tracing system.

Without tracing an app has None in place of a `Tracing`, and does nothing of this. A span is current
while its work runs, so what the work calls, in tasks and threads too, becomes its child.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from flash.errors import ConfigurationError

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
    return {} if referrer is None else {"flash.page.path": urlsplit(referrer).path}


class OpenTelemetryTracing:
    """Spans of OpenTelemetry.

    ``provider`` is the process's own by default. Needs the package ``opentelemetry-api``
    (``pip install flash-core[otel]``); what is exported and where is up to the application's SDK.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        try:
            from opentelemetry import context, propagate, trace
        except ImportError as error:
            raise ConfigurationError(
                "tracing needs OpenTelemetry's API: pip install flash-core[otel]"
            ) from error
        self._trace = trace
        self._attach, self._detach = context.attach, context.detach
        self._extract = propagate.extract
        # The headers that carry a trace, such as "traceparent".
        self._carriers = frozenset(propagate.get_global_textmap().fields)
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=provider)

    def span(
        self,
        name: str,
        attributes: Mapping[str, Value],
        *,
        headers: Mapping[str, str] | None = None,
        link: object = None,
    ) -> AbstractContextManager[Span]:
        """Time a block; see `Tracing`."""
        trace = self._trace
        context = None
        if headers and self.current() is None and not self._carriers.isdisjoint(headers):
            context = self._extract(headers)
        links = [trace.Link(link.get_span_context())] if isinstance(link, trace.Span) else None
        made = self._tracer.start_span(name, context=context, attributes=attributes, links=links)
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
        if self._span.is_recording():
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
        return setting
    return OpenTelemetryTracing() if _has_provider() else None


def _has_provider() -> bool:
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return False
    return not isinstance(module.get_tracer_provider(), module.ProxyTracerProvider)
