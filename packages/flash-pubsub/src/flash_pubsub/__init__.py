"""Shared callbacks and channels over a broker, for Flash."""

import importlib
from typing import TYPE_CHECKING, Any

from flash.collector import paused_collector as _paused_collector

with _paused_collector():
    from flash_pubsub.broker.memory import MemoryBroker
    from flash_pubsub.broker.seam import Broker, Retention, Status
    from flash_pubsub.channels.history import History, Message
    from flash_pubsub.channels.room import Present, Room
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
        InvalidRow,
        Overtaken,
        PayloadTooLarge,
        PubSubError,
        TooManyRooms,
        UnknownRoom,
        UnsupportedEnvelope,
    )
    from flash_pubsub.publisher import AsyncPublisher, Publisher
    from flash_pubsub.pubsub import PubSub
    from flash_pubsub.registry import channel_callback, shared_callback
    from flash_pubsub.table.feed import TableFeed
    from flash_pubsub.table.published import BlockingTableWriter
    from flash_pubsub.table.table import Table
    from flash_pubsub.table.writer import TableWriter
    from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from flash_pubsub.broker.redis import RedisBroker as RedisBroker

__all__ = [
    "AsyncPublisher",
    "BlockingTableWriter",
    "Broker",
    "BrokerClosed",
    "BrokerError",
    "BrokerRefused",
    "BrokerRunning",
    "BrokerUnavailable",
    "Fenced",
    "History",
    "InvalidBrokerURL",
    "InvalidChannel",
    "InvalidMessage",
    "InvalidRow",
    "MemoryBroker",
    "Message",
    "Overtaken",
    "PayloadTooLarge",
    "Position",
    "Present",
    "PubSub",
    "PubSubError",
    "Publisher",
    "RedisBroker",
    "Retention",
    "Room",
    "Status",
    "Subscription",
    "Table",
    "TableFeed",
    "TableWriter",
    "TooManyRooms",
    "UnknownRoom",
    "UnsupportedEnvelope",
    "__version__",
    "channel_callback",
    "shared_callback",
]

__version__ = "0.1.0"


# Names that are imported on first access, with their modules. RedisBroker imports redis-py, which
# takes longer than this package; an app on memory:// does not need it. FlashSharedStorage needs
# Dash 4.5 or later.
_LATE = {
    "FlashSharedStorage": "flash_pubsub.dash_storage.storage",
    "RedisBroker": "flash_pubsub.broker.redis",
}


def __getattr__(name: str) -> Any:
    """Return a name that is imported late."""
    if name not in _LATE:
        raise AttributeError(f"module 'flash_pubsub' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    """Return all names of the module, those that are imported late included.

    But for `FlashSharedStorage`, which not every Dash can import.
    """
    return sorted({*globals(), *__all__})


# Dash reads this list to find the scripts of the package's components.
_js_dist = [{"relative_package_path": "flash_pubsub.js", "namespace": "flash_pubsub"}]
