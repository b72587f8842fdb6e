"""Making the broker that an address names."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from flash.redis.address import Kind
from flash.workers import refuse_several
from flash_pubsub.broker.address import parse_url
from flash_pubsub.broker.memory import MemoryBroker

if TYPE_CHECKING:
    from flash_pubsub.broker.seam import Broker


def open_broker(url: str | None = None, *, max_payload_bytes: int = 1 << 20) -> Broker:
    """Return the broker at an address as `parse_url` takes it; it is not started."""
    address = parse_url(url)
    if address.kind is Kind.MEMORY:
        return MemoryBroker(max_payload_bytes=max_payload_bytes)
    # Imported here because it imports redis-py, which memory:// does not need.
    redis = importlib.import_module("flash_pubsub.broker.redis")
    return redis.RedisBroker(address, max_payload_bytes=max_payload_bytes)


def check_workers(broker: Broker, remedy: str) -> None:
    """Raise `ConfigurationError` if several workers serve with the ``memory://`` broker.

    ``remedy`` is the code that the error's text recommends.
    """
    if isinstance(broker, MemoryBroker):
        refuse_several("the memory:// broker", f"{remedy} or FLASH_BROKER_URL=redis://…")
