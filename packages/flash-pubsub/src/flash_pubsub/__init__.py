"""Shared callbacks and channels over a broker, for Flash."""

from flash_pubsub.broker import Broker, Retention, Status
from flash_pubsub.errors import (
    BrokerError,
    BrokerUnavailable,
    InvalidChannel,
    InvalidMessage,
    PubSubError,
)
from flash_pubsub.memory import MemoryBroker
from flash_pubsub.pubsub import PubSub
from flash_pubsub.registry import channel_callback, shared_callback
from flash_pubsub.subscription import Subscription

__all__ = [
    "Broker",
    "BrokerError",
    "BrokerUnavailable",
    "InvalidChannel",
    "InvalidMessage",
    "MemoryBroker",
    "PubSub",
    "PubSubError",
    "Retention",
    "Status",
    "Subscription",
    "__version__",
    "channel_callback",
    "shared_callback",
]

__version__ = "0.1.0"

# Dash looks here for the scripts of the package's components.
_js_dist = [{"relative_package_path": "flash_pubsub.js", "namespace": "flash_pubsub"}]
