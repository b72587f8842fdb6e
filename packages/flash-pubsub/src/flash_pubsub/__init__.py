"""Shared callbacks and channels over a broker, for Flash."""

import importlib
from typing import Any

from flash_pubsub.broker.memory import MemoryBroker
from flash_pubsub.broker.redis import RedisBroker
from flash_pubsub.broker.seam import Broker, Retention, Status
from flash_pubsub.channels.subscription import Subscription
from flash_pubsub.errors import (
    BrokerClosed,
    BrokerError,
    BrokerRefused,
    BrokerRunning,
    BrokerUnavailable,
    Fenced,
    InvalidBrokerURL,
    InvalidChannel,
    InvalidMessage,
    Overtaken,
    PayloadTooLarge,
    PubSubError,
    UnsupportedEnvelope,
)
from flash_pubsub.publisher import AsyncPublisher, Publisher
from flash_pubsub.pubsub import PubSub
from flash_pubsub.registry import channel_callback, shared_callback

__all__ = [
    "AsyncPublisher",
    "Broker",
    "BrokerClosed",
    "BrokerError",
    "BrokerRefused",
    "BrokerRunning",
    "BrokerUnavailable",
    "Fenced",
    "InvalidBrokerURL",
    "InvalidChannel",
    "InvalidMessage",
    "MemoryBroker",
    "Overtaken",
    "PayloadTooLarge",
    "PubSub",
    "PubSubError",
    "Publisher",
    "RedisBroker",
    "Retention",
    "Status",
    "Subscription",
    "UnsupportedEnvelope",
    "__version__",
    "channel_callback",
    "shared_callback",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return `FlashSharedStorage`, whose import needs Dash 4.5 or later."""
    if name != "FlashSharedStorage":
        raise AttributeError(f"module 'flash_pubsub' has no attribute {name!r}")
    return importlib.import_module("flash_pubsub.dash_storage.storage").FlashSharedStorage


# Dash reads this list to find the scripts of the package's components.
_js_dist = [{"relative_package_path": "flash_pubsub.js", "namespace": "flash_pubsub"}]
