"""From an address to a broker."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from flash import ConfigurationError
from flash.redis.address import Kind
from flash_pubsub.broker.address import parse_url
from flash_pubsub.broker.memory import MemoryBroker

if TYPE_CHECKING:
    from flash_pubsub.broker.seam import Broker


# How many processes serve; the first is what ``flash run`` says, the other what servers read.
_WORKER_COUNT_VARIABLES = ("FLASH_WORKERS", "WEB_CONCURRENCY")


def open_broker(url: str | None = None, *, max_payload_bytes: int = 1 << 20) -> Broker:
    """Return the broker at an address, `parse_url`'s; it is not started."""
    address = parse_url(url)
    if address.kind is Kind.MEMORY:
        return MemoryBroker(max_payload_bytes=max_payload_bytes)
    # Only where it is needed: it imports redis-py.
    redis = importlib.import_module("flash_pubsub.broker.redis")
    return redis.RedisBroker(address, max_payload_bytes=max_payload_bytes)


def check_workers(broker: Broker, remedy: str) -> None:
    """Raise `ConfigurationError` if several workers serve around the memory of one process.

    ``remedy`` is what to write in place of it.
    """
    if not isinstance(broker, MemoryBroker):
        return
    for variable in _WORKER_COUNT_VARIABLES:
        count = os.environ.get(variable, "")
        if count.isdigit() and int(count) > 1:
            raise ConfigurationError(
                f"{count} workers ({variable}) cannot share the memory:// broker, which is one "
                f"process's own: start a Redis and say {remedy} or "
                "FLASH_BROKER_URL=redis://…, or serve with one worker"
            )
