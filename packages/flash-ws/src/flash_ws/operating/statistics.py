"""What an operator can read: counted here, told by `Live.statistics` and to Prometheus."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from flash.moved import renamed_exports
from flash.supervision import supervised

if TYPE_CHECKING:
    from flash_ws.protocol.codes import CloseCode
    from flash_ws.protocol.outbox import Outbox

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metric:
    """One value at one moment, under the name by which Prometheus knows it.

    A counter only grows while the process lives; its ``name`` is without ``_total``. Metrics of one
    name have the same ``labels`` and differ in what these say.
    """

    name: str
    value: float
    # One sentence.
    meaning: str
    kind: Literal["counter", "gauge"] = "gauge"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


Collect = Callable[[], Iterable[Metric]]


class CustomMetrics:
    """What add-on packages and apps count beside the link's own metrics: ``live.metrics``."""

    def __init__(self) -> None:
        self._collectors: list[Collect] = []

    def add(self, collect: Collect) -> None:
        """Ask ``collect`` whenever metrics are read: on the loop, so it returns at once."""
        self._collectors.append(collect)

    def read(self) -> tuple[Metric, ...]:
        """Return the metrics of all who were added; one who fails is logged and left out."""
        metrics: list[Metric] = []
        for collect in self._collectors:
            try:
                metrics.extend(collect())
            except Exception:  # an application's function: the others' metrics are still read
                logger.exception("%r failed; its metrics are left out", collect)
        return tuple(metrics)


class EndedLink(Protocol):
    """What a link says of itself once it has ended."""

    outbox: Outbox

    @property
    def close_code(self) -> CloseCode | None:
        """The code that it was closed with; None where the page went by itself."""
        ...

    @property
    def undelivered(self) -> int:
        """Frames that had not left when it ended."""
        ...


def supervised_task_metrics() -> Iterable[Metric]:
    """Yield how often each supervised task of this worker has ended and was started again."""
    for task in supervised():
        if task.failures:
            meaning = "Times that a task ended and was started again"
            yield Metric(
                "flash_task_failures", task.failures, meaning, "counter", {"task": task.name}
            )


@dataclass(slots=True)
class LinkCounters:
    """What the links of one worker have done since the start; of those that have ended."""

    opened: int = 0
    # By the name of the close code, or LEFT where the page went by itself.
    closed: Counter[str] = field(default_factory=Counter[str])
    recovered: int = 0
    lost: int = 0
    sent: int = 0
    replayed: int = 0
    conflated: int = 0
    dropped: int = 0

    def resumed(self, recovered: bool | None, replayed: int) -> None:
        """Note that a page was welcomed; ``recovered`` as its ``welcome`` says."""
        self.opened += 1
        self.replayed += replayed
        if recovered is not None:
            self.recovered += recovered
            self.lost += not recovered

    def ended(self, link: EndedLink) -> None:
        """Note that a link has ended, and what it had done."""
        passed = link.outbox.statistics()
        code = link.close_code
        self.closed["LEFT" if code is None else code.name] += 1
        self.sent += passed.sent
        self.conflated += passed.conflated
        self.dropped += link.undelivered


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """What the endpoints of one app do, and have done since the start."""

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
        """Return them as metrics."""
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
    """What one worker's links and endpoints do, and have done since the start."""

    # Pages connected, and pages expected back.
    connected: int
    away: int
    # Links opened so far, refused so far, and closed by the name of the code (LEFT: by the page).
    opened: int
    refused: int
    closed: Mapping[str, int]
    # Pages that came back: with everything they had missed, and those told that something is lost.
    recovered: int
    lost: int
    # Frames and bytes waiting in outboxes at this moment.
    frames_waiting: int
    bytes_waiting: int
    # Frames sent, frames with which pages that came back were brought up to date, and frames that
    # were replaced by later ones before they were sent.
    frames_sent: int
    frames_replayed: int
    frames_conflated: int
    # Frames that had not left when their page's connection ended. One that comes back in time gets
    # them: they are counted as replayed then.
    frames_dropped: int
    # Event callbacks running.
    calls: int
    # Seconds by which the event loop was late, at most, in the last moments: what delays everybody.
    lag: float
    endpoints: EndpointStatistics
    # What add-on packages and the app count: `CustomMetrics`.
    metrics: tuple[Metric, ...]

    def as_metrics(self) -> Iterable[Metric]:
        """Return all of it as metrics."""
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
    """Measures by how much the loop is late, since that delays everything there is.

    ``seconds`` is the worst of the last `WINDOW` measurements.
    """

    # Seconds between two measurements.
    INTERVAL = 0.5
    WINDOW = 20

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._measured = [0.0] * self.WINDOW
        self._next = 0
        self._due = 0.0
        self._timer = self._set()

    @property
    def seconds(self) -> float:
        """The worst of late, what is overdue now included."""
        return max(*self._measured, self._loop.time() - self._due)

    def stop(self) -> None:
        """Measure no more."""
        self._timer.cancel()

    def _set(self) -> asyncio.TimerHandle:
        self._due = self._loop.time() + self.INTERVAL
        return self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        self._measured[self._next] = max(0.0, self._loop.time() - self._due)
        self._next = (self._next + 1) % self.WINDOW
        self._timer = self._set()


__getattr__ = renamed_exports(__name__, {"Figure": "Metric", "Figures": "CustomMetrics"})
