"""What the callbacks of a channel have set for one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flash_ws.protocol.frames import props_message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Context

    from flash_pubsub.channels.declaration import MatchedCallback
    from flash_ws.protocol.frames import Message


class CallbackResult(NamedTuple):
    """What one callback has set for one message.

    A tuple, since each message makes one, and a frozen dataclass takes twice as long to make.
    """

    matched: MatchedCallback
    # Component ids with the properties to set.
    updates: list[Any]
    # The same, serialised.
    message: Message
    # The context in which the span of the run is current; None if nothing is traced.
    context: Context | None = None


def combined(results: Sequence[CallbackResult]) -> Message | None:
    """Return what all callbacks have set, in their order; None if that is nothing."""
    if len(results) > 1:
        return props_message([update for each in results for update in each.updates])
    return results[0].message if results else None
