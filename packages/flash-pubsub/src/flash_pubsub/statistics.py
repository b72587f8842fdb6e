"""The statistics of a worker's broker, channels and shared callbacks for its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash_ws import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash_pubsub.broker.seam import Status


def metrics_of(status: Status, *, skipped: int, fenced: int) -> Iterable[Metric]:
    """Return a broker's status as metrics, and what the worker's callbacks could not do.

    ``skipped`` messages were too many for channel callbacks, ``fenced`` runs of shared callbacks
    lost their lease.
    """
    yield Metric("flash_broker_ready", status.ready, "Whether what others publish arrives.")
    yield Metric(
        "flash_broker_subscribed", status.subscribed, "Channels that this worker listens to."
    )
    if status.lag is not None:
        yield Metric(
            "flash_broker_lag_seconds", status.lag, "What the last probe took to come back."
        )
    for name, value, meaning in (
        ("broker_published", status.published, "Publications acknowledged."),
        ("broker_delivered", status.delivered, "Publications that arrived."),
        ("broker_retries", status.retries, "Attempts at publishing beyond the first."),
        ("broker_reconnects", status.reconnects, "Connections for listening replaced."),
        ("broker_gaps", status.gaps, "Times that numbers were missing."),
        ("broker_refilled", status.refilled, "Publications that filled gaps from history."),
        ("broker_resets", status.resets, "Times that a channel had lost something."),
        ("broker_unreadable", status.unreadable, "Messages that nobody could read."),
        ("channel_skipped", skipped, "Messages that callbacks were too slow for."),
        ("shared_fenced", fenced, "Runs of shared callbacks that lost their lease."),
    ):
        yield Metric(f"flash_{name}", value, meaning, "counter")
