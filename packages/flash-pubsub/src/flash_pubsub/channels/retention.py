"""The retention of an app's channels, written to the broker for publishers in other processes."""

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
    """Retentions by pattern; the first pattern that matches a channel applies."""

    by_pattern: tuple[tuple[ChannelPattern, Retention], ...] = ()

    @classmethod
    def of(cls, settings: Sequence[tuple[ChannelPattern, ChannelSettings]]) -> RetentionRules:
        """Return the rules for the settings that an app has declared."""
        return cls(tuple((pattern, retention_of(each)) for pattern, each in settings))

    def retention(self, channel: str) -> Retention:
        """Return the retention of a channel."""
        for pattern, retention in self.by_pattern:
            if pattern.match(channel) is not None:
                return retention
        return DEFAULT_RETENTION

    def pack(self) -> bytes:
        """Encode the rules for the broker."""
        rules = [
            [pattern.text, retention.max_messages, retention.max_age]
            for pattern, retention in self.by_pattern
        ]
        return cast("bytes", msgpack.packb([_VERSION, rules]))

    @classmethod
    def unpack(cls, data: bytes) -> RetentionRules:
        """Decode rules from the broker; raises `UnsupportedEnvelope`."""
        try:
            version, rules = cast("tuple[int, list[Any]]", msgpack.unpackb(data))
            if version != _VERSION:
                raise UnsupportedEnvelope(
                    f"retention rules have version {version}; this reads version {_VERSION}"
                )
            return cls(
                tuple(
                    (
                        ChannelPattern(pattern),
                        Retention(max_messages=max_messages, max_age=max_age),
                    )
                    for pattern, max_messages, max_age in rules
                )
            )
        except UnsupportedEnvelope:
            raise
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise UnsupportedEnvelope("these are no retention rules of channels") from error


def retention_of(settings: ChannelSettings) -> Retention:
    """Return the retention that a channel's settings state."""
    return Retention(max_messages=settings.history, max_age=settings.max_age)


class PublishedRetention:
    """Writes an app's retention rules to the broker.

    Of several versions of the app, the rules of the worker that started last are in effect. As a
    `Listener` it writes the rules again when the store has lost them.
    """

    def __init__(
        self, rules: RetentionRules, listeners: Listeners, backplane: BrokerBackplane
    ) -> None:
        self._packed = rules.pack()
        self._is_empty = not rules.by_pattern
        self._listeners = listeners
        self._backplane = backplane

    async def start(self) -> None:
        """Write the rules to the broker."""
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
        """Do nothing: another version of the app may write other rules."""

    def reset(self, channel: str, position: Position) -> None:
        """Write the rules again, because the store may have lost them."""
        del channel, position
        self._backplane.spawn(self._backplane.retry_until_available(self._write))
