"""From an address to a broker."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from flash_pubsub.memory import MemoryBroker
from flash_pubsub.url import Kind, parse_url

if TYPE_CHECKING:
    from flash_pubsub.broker import Broker


def open_broker(url: str | None = None) -> Broker:
    """Return the broker at an address, `parse_url`'s; it is not started."""
    address = parse_url(url)
    if address.kind is Kind.MEMORY:
        return MemoryBroker()
    # Only where it is needed: it imports redis-py.
    return importlib.import_module("flash_pubsub.redis").RedisBroker(address)
