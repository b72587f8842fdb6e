"""The messages that a channel keeps, as `PubSub.history` returns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flash import ConfigurationError
from flash.log_limit import limited_logger
from flash.settings import COUNT
from flash_pubsub.broker.envelope import BYTES, JSON, Envelope
from flash_pubsub.broker.seam import Kept
from flash_pubsub.errors import UnsupportedEnvelope
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from flash_pubsub.broker.seam import Broker, Publication

logger = limited_logger(__name__)

# Messages that `PubSub.history` returns by default, at most.
DEFAULT_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a channel."""

    # As the channel's callbacks get it: bytes, or the decoded JSON.
    data: Any
    # The position after this message.
    position: Position
    # When it was published: seconds since 1970 by the publisher's clock.
    time: float


class History(list[Message]):
    """Messages of a channel, the oldest first.

    ``position`` is the channel's position after the last of them. It is known without messages too,
    so that ``Subscription(…, since=history.position)`` always works.
    """

    def __init__(self, messages: list[Message], position: Position) -> None:
        super().__init__(messages)
        self.position = position


class Reader(Protocol):
    """What reads the history of channels: a broker, or the store of a publisher."""

    async def position(self, channel: str) -> Position:
        """Return the position of the newest publication."""
        ...

    async def kept(self, channel: str, position: Position) -> Kept:
        """Return the publications after ``position`` that the history still has."""
        ...


class BrokerReader:
    """Reads from a broker, also from one of the application's own that has no `kept`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def position(self, channel: str) -> Position:
        """Return the position of the newest publication."""
        return await self._broker.position(channel)

    async def kept(self, channel: str, position: Position) -> Kept:
        """Return the publications after ``position`` that the history still has."""
        find = getattr(self._broker, "kept", None)
        if find is None:
            missed = await self._broker.since(channel, position)
            if missed is None:
                position, missed = await self._broker.position(channel), []
            return Kept(position, missed)
        return await find(channel, position)


async def read_history(reader: Reader, channel: str, limit: int) -> History:
    """Return the last messages of a channel, at most ``limit``.

    Messages of another version of flash-pubsub are left out, with a line in the log. Raises
    `ConfigurationError` for a ``limit`` that is no number of messages.
    """
    # Without the place in the app, which is looked up in files; the traceback has it.
    if not COUNT.allows(limit):
        raise ConfigurationError(f"limit={limit!r}: must be {COUNT}")
    newest = await reader.position(channel)
    before = Position(newest.epoch, max(0, newest.number - limit))
    kept = await reader.kept(channel, before)
    position = kept.publications[-1].position if kept.publications else kept.position
    found = (message_of(each) for each in kept.publications[-limit:])
    return History([each for each in found if each is not None], position)


def message_of(publication: Publication) -> Message | None:
    """Return the message that a publication carries; None, and a logged line, if unreadable."""
    try:
        envelope = Envelope.unpack(publication.payload)
        if envelope.kind not in (JSON, BYTES):
            return None
        return Message(envelope.data, publication.position, envelope.time)
    except UnsupportedEnvelope as error:
        logger.warning("channel %r: %s", publication.channel, error)
        return None
