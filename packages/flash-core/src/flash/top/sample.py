"""What one worker said of itself at one moment, and what became of it between two moments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

# Workers of several machines may have the same process id.
WorkerId = tuple[str, int]


# The metrics that are read; a worker that sends a sample needs to send no others.
METRICS = frozenset(
    {
        "flash_broker_lag_seconds",
        "flash_callback_seconds_total",
        "flash_callbacks_total",
        "flash_live_frames_delivered_total",
        "flash_live_lag_seconds",
        "flash_live_outbox_bytes",
        "flash_threads_running",
        "flash_threads_waiting",
    }
)


class BadSample(ValueError):
    """An answer is not what ``_flash/inspect`` writes; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One worker at one moment."""

    worker: WorkerId
    # Seconds of the clock of whoever asked.
    at: float
    # The reason of each readiness check that fails, by its name.
    failing: Mapping[str, str]
    pages: int
    # The values of all metrics of a name, added up.
    totals: Mapping[str, float]
    cpu_seconds: float | None = None
    memory_bytes: int | None = None

    @classmethod
    def parse(cls, body: bytes, at: float) -> Self:
        """Read an answer of ``_flash/inspect``; raises `BadSample`."""
        try:
            value: Any = json.loads(body)
            totals: dict[str, float] = {}
            for metric in value["metrics"]:
                name = str(metric["name"])
                totals[name] = totals.get(name, 0.0) + float(metric["value"])
            return cls(
                (str(value["host"]), int(value["worker"])),
                at,
                {str(name): str(text) for name, text in value["checks"].items() if text != "ok"},
                int(value["page_count"]),
                totals,
                None if value["cpu_seconds"] is None else float(value["cpu_seconds"]),
                None if value["memory_bytes"] is None else int(value["memory_bytes"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadSample(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Activity:
    """What a worker did between two samples of it, per second, and how it is at the later one.

    None where there is nothing to say: no earlier sample, no calls, no broker.
    """

    sample: Sample
    # The share of one processor, 1.0 for all of it.
    cpu: float | None = None
    callbacks: float | None = None
    # Mean seconds of a callback.
    callback_seconds: float | None = None
    messages: float | None = None
    # Seconds since the sample, if the worker was asked again and has not answered.
    silent_for: float | None = None

    @property
    def waiting_bytes(self) -> float:
        """The bytes that wait for pages."""
        return self.sample.totals.get("flash_live_outbox_bytes", 0)

    @property
    def running(self) -> float:
        """The functions that run in threads."""
        return self.sample.totals.get("flash_threads_running", 0)

    @property
    def waiting(self) -> float:
        """The calls that wait for a thread."""
        return self.sample.totals.get("flash_threads_waiting", 0)

    @property
    def loop_lag(self) -> float:
        """The seconds by which the event loop was late."""
        return self.sample.totals.get("flash_live_lag_seconds", 0)

    @property
    def broker_lag(self) -> float | None:
        """The seconds that a message takes by the broker."""
        return self.sample.totals.get("flash_broker_lag_seconds")


def activity(before: Sample | None, after: Sample) -> Activity:
    """Compare two samples of one worker; a counter that fell is that of another process."""
    if before is None or after.at <= before.at:
        return Activity(after)

    def grown(name: str) -> float | None:
        by = after.totals.get(name, 0) - before.totals.get(name, 0)
        return None if by < 0 else by

    seconds = after.at - before.at
    callbacks, messages = grown("flash_callbacks_total"), grown("flash_live_frames_delivered_total")
    spent = grown("flash_callback_seconds_total")
    cpu = None
    if after.cpu_seconds is not None and before.cpu_seconds is not None:
        cpu = max(0.0, after.cpu_seconds - before.cpu_seconds) / seconds
    return Activity(
        after,
        cpu,
        None if callbacks is None else callbacks / seconds,
        spent / callbacks if callbacks and spent is not None else None,
        None if messages is None else messages / seconds,
    )
