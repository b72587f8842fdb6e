"""What an app says of how much its channels remember, for publishers in other processes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgpack

from flash_pubsub.broker.backplane import PREFIX
from flash_pubsub.broker.seam import DEFAULT_RETENTION, Retention
from flash_pubsub.channels.declaration import ChannelPattern
from flash_pubsub.errors import UnsupportedEnvelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication
    from flash_pubsub.channels.declaration import ChannelSettings
    from flash_ws.protocol.position import Position

logger = logging.getLogger(__name__)

RETENTION_CHANNEL = f"{PREFIX}rules"
RETENTION_FIELD = "rules"

_VERSION = 1
_PERMANENT = Retention(max_idle=10 * 365 * 86_400.0)


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """Retentions by pattern; of several that fit a channel the first one counts."""

    by_pattern: tuple[tuple[ChannelPattern, Retention], ...] = ()

    @classmethod
    def of(cls, settings: Sequence[tuple[ChannelPattern, ChannelSettings]]) -> RetentionRules:
        """Return what an app has said."""
        return cls(tuple((pattern, retention_of(each)) for pattern, each in settings))

    def retention(self, channel: str) -> Retention:
        """Return how much a channel remembers."""
        for pattern, retention in self.by_pattern:
            if pattern.match(channel) is not None:
                return retention
        return DEFAULT_RETENTION

    def pack(self) -> bytes:
        """Return them as the store keeps them."""
        rules = [
            [pattern.text, retention.max_messages, retention.max_age]
            for pattern, retention in self.by_pattern
        ]
        return cast("bytes", msgpack.packb([_VERSION, rules]))

    @classmethod
    def unpack(cls, data: bytes) -> RetentionRules:
        """Read what the store keeps; raises `UnsupportedEnvelope`."""
        try:
            version, rules = cast("tuple[int, list[Any]]", msgpack.unpackb(data))
            if version != _VERSION:
                raise UnsupportedEnvelope(f"rules of version {version}; this reads {_VERSION}")
            return cls(
                tuple(
                    (
                        ChannelPattern(pattern),
                        Retention(max_messages=max_messages, max_age=max_age),
                    )
                    for pattern, max_messages, max_age in rules
                )
            )
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise UnsupportedEnvelope("these are no rules of channels") from error


def retention_of(settings: ChannelSettings) -> Retention:
    """Return what a channel's settings say of its history."""
    return Retention(max_messages=settings.history, max_age=settings.max_age)


class PublishedRetention:
    """Keeps an app's rules in the broker's store; the version of the app that came last counts.

    A `Listener`: a store that has lost them gets them back.
    """

    def __init__(
        self, rules: RetentionRules, listeners: Listeners, backplane: BrokerBackplane
    ) -> None:
        self._packed = rules.pack()
        self._is_empty = not rules.by_pattern
        self._listeners = listeners
        self._backplane = backplane

    async def start(self) -> None:
        """Tell publishers."""
        await self._listeners.listen(RETENTION_CHANNEL, self)
        await self._write()

    async def _write(self) -> None:
        broker = self._listeners.broker
        known = (await broker.snapshot(RETENTION_CHANNEL)).values.get(RETENTION_FIELD)
        if known == self._packed or (known is None and self._is_empty):
            return
        await broker.publish(
            RETENTION_CHANNEL, b"", changes={RETENTION_FIELD: self._packed}, retention=_PERMANENT
        )

    def deliver(self, publication: Publication) -> None:
        """Do nothing: another version of the app has other rules, and so it may."""

    def reset(self, channel: str, position: Position) -> None:
        """Write them again."""
        del channel, position
        self._backplane.spawn(self._backplane.persist(self._write))
