"""The retention of an app's channels, written to the broker for publishers in other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash_pubsub.broker.app_value import AppValue, pack_entries, unpack_entries
from flash_pubsub.broker.page_frames import PREFIX
from flash_pubsub.broker.seam import DEFAULT_RETENTION, Retention
from flash_pubsub.channels.declaration import ChannelPattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.channels.declaration import ChannelSettings

RETENTION_CHANNEL = f"{PREFIX}rules"
RETENTION_FIELD = "rules"


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
        return pack_entries(rules)

    @classmethod
    def unpack(cls, data: bytes) -> RetentionRules:
        """Decode rules from the broker; raises `UnsupportedEnvelope`."""
        return cls(unpack_entries(data, "retention rules of channels", _rule))


def _rule(pattern: str, max_messages: int, max_age: float) -> tuple[ChannelPattern, Retention]:
    return ChannelPattern(pattern), Retention(max_messages=max_messages, max_age=max_age)


def retention_of(settings: ChannelSettings) -> Retention:
    """Return the retention that a channel's settings state."""
    return Retention(max_messages=settings.history, max_age=settings.max_age)


def published_retention(
    rules: RetentionRules, listeners: Listeners, backplane: BrokerBackplane
) -> AppValue:
    """Return what writes an app's retention rules to the broker."""
    return AppValue(
        *(RETENTION_CHANNEL, RETENTION_FIELD, rules.pack()),
        listeners,
        backplane,
        is_empty=not rules.by_pattern,
    )
