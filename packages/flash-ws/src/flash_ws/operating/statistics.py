"""Counters and gauges of one worker, read by `Live.statistics` and exported to Prometheus."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from flash.exits import ends_task
from flash.moved import renamed_exports
from flash.supervision import supervised

if TYPE_CHECKING:
    from flash.callbacks.counts import CallbackCounts
    from flash.callbacks.execution import WorkerPool
    from flash.loop_watch import LoopWatch
    from flash_ws.protocol.codes import CloseCode
    from flash_ws.protocol.outbox import OutboxStatistics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metric:
    """One value at one moment, under its Prometheus name.

    A counter only grows while the process runs; its ``name`` has no ``_total``. Metrics of the same
    name have the same label names and differ in the label values.
    """

    name: str
    value: float
    # The help text, one sentence.
    meaning: str
    kind: Literal["counter", "gauge"] = "gauge"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


Collect = Callable[[], Iterable[Metric]]


class CustomMetrics:
    """The metrics that add-on packages and apps add to those of the link: ``live.metrics``."""

    def __init__(self) -> None:
        self._collectors: list[Collect] = []

    def add(self, collect: Collect) -> None:
        """Call ``collect`` whenever metrics are read, on the event loop; it must not block."""
        self._collectors.append(collect)

    def read(self) -> tuple[Metric, ...]:
        """Return the metrics of all collectors; a collector that raises is logged and skipped."""
        metrics: list[Metric] = []
        for collect in self._collectors:
            try:
                metrics.extend(collect())
            except BaseException as error:
                # An application's function: the other collectors still run.
                if ends_task(error):
                    raise
                logger.exception(
                    "the metrics collector %r failed; its metrics are left out", collect
                )
        return tuple(metrics)


class WatchedApp(Protocol):
    """What is needed of a Flash app."""

    @property
    def loop_watch(self) -> LoopWatch | None:
        """The watch of the loop on which the app runs."""
        ...


def supervised_task_metrics() -> Iterable[Metric]:
    """Yield how often each supervised task of this worker has failed and was started again."""
    for task in supervised():
        if task.failures:
            meaning = "Times that a task ended and was started again"
            yield Metric(
                "flash_task_failures", task.failures, meaning, "counter", {"task": task.name}
            )


class BlockedLoopMetrics:
    """A metrics collector: how often code of the app has blocked the event loop, by place."""

    def __init__(self, app: WatchedApp) -> None:
        self._app = app

    def __call__(self) -> Iterable[Metric]:
        """Yield a counter for each place."""
        watch = self._app.loop_watch
        if watch is None:
            return
        meaning = "Times that the event loop was blocked for too long"
        for place, count in tuple(watch.counts.items()):
            labels = {"function": place.function, "place": f"{place.file}:{place.line}"}
            yield Metric("flash_loop_blocked", count, meaning, "counter", labels)
        if watch.unnamed:
            labels = {"function": "", "place": ""}
            yield Metric("flash_loop_blocked", watch.unnamed, meaning, "counter", labels)


def callback_metrics(counts: CallbackCounts) -> Iterable[Metric]:
    """Yield how many callbacks this worker has answered, and how long they took in all."""
    meaning = "Callbacks answered, by how they ended"
    for outcome, count in sorted(counts.by_outcome.items()):
        yield Metric("flash_callbacks", count, meaning, "counter", {"outcome": outcome})
    meaning = "Seconds from the request to the response of all callbacks, added up"
    yield Metric("flash_callback_seconds", counts.seconds, meaning, "counter")


def pool_metrics(name: str, pool: WorkerPool) -> Iterable[Metric]:
    """Yield the state of the threads of one pool."""
    state = pool.statistics()
    labels = {"pool": name}
    yield Metric("flash_threads_running", state.running, "Functions in threads", labels=labels)
    yield Metric("flash_threads_waiting", state.waiting, "Calls that wait", labels=labels)
    yield Metric(
        "flash_threads_full",
        int(state.is_full),
        "1 while every further call is refused",
        labels=labels,
    )
    yield Metric("flash_calls_refused", state.refused, "Calls refused", "counter", labels)


@dataclass(slots=True)
class LinkCounters:
    """Counters of one worker's links since the start; frames are counted when a link ends."""

    opened: int = 0
    # By the name of the close code, or LEFT if the page closed the link.
    closed: Counter[str] = field(default_factory=Counter[str])
    recovered: int = 0
    lost: int = 0
    sent: int = 0
    replayed: int = 0
    conflated: int = 0
    dropped: int = 0

    def resumed(self, recovered: bool | None, replayed: int) -> None:
        """Count an opened link; ``recovered`` is that of its ``welcome`` frame."""
        self.opened += 1
        self.replayed += replayed
        if recovered is not None:
            self.recovered += recovered
            self.lost += not recovered

    def ended(self, code: CloseCode | None, undelivered: int, passed: OutboxStatistics) -> None:
        """Count a link that has ended, and its frames.

        ``code`` is None if the page left; ``undelivered`` frames were not written.
        """
        self.closed["LEFT" if code is None else code.name] += 1
        self.sent += passed.sent
        self.conflated += passed.conflated
        self.dropped += undelivered


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """The state of one app's endpoints, and their counters since the start."""

    # Open now.
    connections: int
    streams: int
    # Opened and refused so far, streams included.
    opened: int
    refused: int
    # Closed WebSockets, by close code.
    closed: dict[int, int]
    # Groups that have members.
    groups: int

    def as_metrics(self) -> Iterable[Metric]:
        """Yield the values as metrics."""
        for name, value, meaning in (
            ("connections", self.connections, "WebSockets open"),
            ("streams", self.streams, "Event streams open"),
            ("groups", self.groups, "Groups of WebSockets that have members"),
        ):
            yield Metric(f"flash_endpoint_{name}", value, meaning)
        yield Metric("flash_endpoint_opened", self.opened, "Opened so far", "counter")
        yield Metric("flash_endpoint_refused", self.refused, "Refused so far", "counter")
        for code, count in sorted(self.closed.items()):
            yield Metric(
                "flash_endpoint_closed", count, "Ended so far", "counter", {"code": str(code)}
            )

    def as_figures(self) -> Iterable[Metric]:
        """Return the same as `as_metrics`, of which this is the old name."""
        _warn_renamed("EndpointStatistics.as_figures", "as_metrics")
        return self.as_metrics()


@dataclass(frozen=True, slots=True)
class LiveStatistics:
    """The state of one worker's links and endpoints, and their counters since the start."""

    # Pages connected, and pages away but within their resume window.
    connected: int
    away: int
    # Links opened, refused, and closed by the name of the code (LEFT: closed by the page).
    opened: int
    refused: int
    closed: Mapping[str, int]
    # Pages that reconnected: with everything they missed, and with something lost.
    recovered: int
    lost: int
    # Frames and bytes in outboxes now.
    frames_waiting: int
    bytes_waiting: int
    # Frames sent, frames sent to pages that caught up after a reconnect, and frames replaced by
    # later ones before they were sent.
    frames_sent: int
    frames_replayed: int
    frames_conflated: int
    # Frames not yet written when the connection ended. A page that reconnects in time gets them;
    # then they also count as replayed.
    frames_dropped: int
    # Running calls of event callbacks.
    calls: int
    # The largest delay of the event loop lately, in seconds; see `LoopLag`.
    lag: float
    endpoints: EndpointStatistics
    # Those of add-on packages and the app; see `CustomMetrics`.
    metrics: tuple[Metric, ...]

    def as_metrics(self) -> Iterable[Metric]:
        """Yield all values as metrics."""
        yield Metric("flash_live_pages", self.connected, _PAGES, labels={"state": "connected"})
        yield Metric("flash_live_pages", self.away, _PAGES, labels={"state": "away"})
        for name, value, meaning in (
            ("links_opened", self.opened, "Links that were opened"),
            ("links_refused", self.refused, "Links that were refused"),
            ("frames_delivered", self.frames_sent, "Frames sent to pages"),
            ("frames_replayed", self.frames_replayed, "Frames that brought pages up to date"),
            ("frames_conflated", self.frames_conflated, "Frames replaced by later ones"),
            ("frames_dropped", self.frames_dropped, "Frames left when a connection ended"),
        ):
            yield Metric(f"flash_live_{name}", value, meaning, "counter")
        for code, count in sorted(self.closed.items()):
            yield Metric(
                "flash_live_links_closed", count, "Links that ended", "counter", {"code": code}
            )
        for recovered, count in (("true", self.recovered), ("false", self.lost)):
            yield Metric(
                "flash_live_resumed",
                count,
                "Pages that came back, with all they had missed or not",
                "counter",
                {"recovered": recovered},
            )
        for name, value, meaning in (
            ("outbox_frames", self.frames_waiting, "Frames waiting for pages"),
            ("outbox_bytes", self.bytes_waiting, "Bytes waiting for pages"),
            ("event_callbacks", self.calls, "Event callbacks running"),
            ("lag_seconds", self.lag, "Seconds by which the event loop was late"),
        ):
            yield Metric(f"flash_live_{name}", value, meaning)
        yield from self.endpoints.as_metrics()
        yield from self.metrics

    @property
    def figures(self) -> tuple[Metric, ...]:
        """The old name of `metrics`."""
        _warn_renamed("LiveStatistics.figures", "metrics")
        return self.metrics

    def as_figures(self) -> Iterable[Metric]:
        """Return the same as `as_metrics`, of which this is the old name."""
        _warn_renamed("LiveStatistics.as_figures", "as_metrics")
        return self.as_metrics()


def _warn_renamed(old: str, new: str) -> None:
    # Level 3: whoever used the old name.
    text = f"{old} is now {new}; the old name goes with the next release"
    warnings.warn(text, DeprecationWarning, stacklevel=3)


_PAGES = "Pages of this worker"


class LoopLag:
    """Measures how late the event loop runs its timers."""

    # Seconds between two measurements, and how many measurements are kept.
    INTERVAL = 0.5
    WINDOW = 20

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._measured = [0.0] * self.WINDOW
        self._next = 0
        self._due = 0.0
        self._timer = self._schedule()

    @property
    def seconds(self) -> float:
        """The largest of the last `WINDOW` delays, including a measurement that is overdue now."""
        return max(*self._measured, self._loop.time() - self._due)

    def stop(self) -> None:
        """Stop measuring."""
        self._timer.cancel()

    def _schedule(self) -> asyncio.TimerHandle:
        self._due = self._loop.time() + self.INTERVAL
        return self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        self._measured[self._next] = max(0.0, self._loop.time() - self._due)
        self._next = (self._next + 1) % self.WINDOW
        self._timer = self._schedule()


__getattr__ = renamed_exports(__name__, {"Figure": "Metric", "Figures": "CustomMetrics"})
