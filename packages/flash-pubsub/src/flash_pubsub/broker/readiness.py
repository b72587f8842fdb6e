"""Whether a broker is ready: publications of other workers arrive, and it accepts writes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flash_pubsub.errors import BrokerError

if TYPE_CHECKING:
    from flash_pubsub.broker.listeners import Listeners

logger = logging.getLogger(__name__)

# Seconds for which the lease that a check takes would last.
_PROBE_SECONDS = 5.0


class BrokerReadiness:
    """The readiness check of a worker's broker; ``worker`` is the unique name of the worker."""

    def __init__(self, listeners: Listeners, worker: str) -> None:
        self._listeners = listeners
        self._worker = worker
        # The error with which the broker refused the write of the latest check.
        self._refused_writes = ""

    async def failure(self) -> str | None:
        """Return the broker's state if it is not ready, else None; the log has the reason."""
        broker = self._listeners.broker
        status = broker.status
        if not status.ready:
            return status.state.value
        try:
            # Redis may deliver what is published, and yet accept no writes: out of memory, a
            # replica. The lease is this worker's own, so it is always written.
            lease = await broker.lease(f"readiness:{self._worker}", _PROBE_SECONDS)
            if lease is not None:
                await broker.release(lease)
        except BrokerError as error:
            if self._refused_writes != str(error):
                logger.warning("not ready: the broker refuses writes: %s", error)
            self._refused_writes = str(error)
            return "refuses writes"
        self._refused_writes = ""
        return None
