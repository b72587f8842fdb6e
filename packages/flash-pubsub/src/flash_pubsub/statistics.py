"""The statistics of a worker's broker, channels and shared callbacks for its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash_ws import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash_pubsub.broker.seam import Status


def metrics_of(
    status: Status, *, skipped: int, lost: int, fenced: int, timeouts: int, rooms: int
) -> Iterable[Metric]:
    """Return a broker's status and the failures of the worker's callbacks as metrics.

    - ``skipped``: messages that were skipped because channel callbacks were too slow.
    - ``lost``: messages that were no longer kept when channel callbacks came to them.
    - ``fenced``: runs of shared callbacks that lost their lease.
    - ``rooms``: rooms with shared values that the worker has.
    - ``timeouts``: calls of shared and channel callbacks and steps of feeders that took too long.
    """
    yield Metric("flash_broker_ready", status.ready, "Whether publications of others arrive.")
    yield Metric(
        "flash_broker_subscribed",
        status.subscribed,
        "Channels that this worker is subscribed to.",
    )
    yield Metric("flash_shared_rooms", rooms, "Rooms whose shared values this worker has.")
    if status.lag is not None:
        yield Metric(
            "flash_broker_lag_seconds",
            status.lag,
            "Seconds from publishing the last probe to receiving it.",
        )
    for name, value, meaning in (
        ("broker_published", status.published, "Publications acknowledged."),
        ("broker_delivered", status.delivered, "Publications that arrived."),
        ("broker_retries", status.retries, "Attempts at publishing beyond the first."),
        ("broker_reconnects", status.reconnects, "Connections for subscriptions replaced."),
        ("broker_gaps", status.gaps, "Times that numbers were missing."),
        ("broker_refilled", status.refilled, "Publications that filled gaps from history."),
        ("broker_resets", status.resets, "Times that messages of a channel were lost."),
        ("broker_unreadable", status.unreadable, "Messages of another version or program."),
        ("channel_skipped", skipped, "Messages skipped because callbacks were too slow."),
        ("channel_lost", lost, "Messages no longer kept when callbacks came to them."),
        ("shared_fenced", fenced, "Runs of shared callbacks that lost their lease."),
        ("pubsub_timeouts", timeouts, "Calls of callbacks and feeders that took too long."),
    ):
        yield Metric(f"flash_{name}", value, meaning, "counter")
