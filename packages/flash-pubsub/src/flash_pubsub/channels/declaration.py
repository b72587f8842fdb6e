"""Channels as an app declares them: patterns, callbacks, settings. No event loop in here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flash import ConfigurationError
from flash_pubsub.broker.seam import MAX_CHANNEL_BYTES, check_channel
from flash_pubsub.errors import InvalidChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flash_pubsub.channels.outputs import Outputs
    from flash_pubsub.channels.schema import Schema

# What the names of Flash's own channels begin with.
RESERVED = ("live:", "who:")

_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def check_name(channel: str) -> None:
    """Raise `InvalidChannel` unless users can publish on a channel of this name."""
    check_channel(channel)
    for prefix in RESERVED:
        if channel.startswith(prefix):
            raise InvalidChannel(channel, f"names that begin with {prefix!r} are Flash's own")


@dataclass(frozen=True, slots=True)
class ChannelPattern:
    """A channel's name, or many: ``"room/{room}"`` stands for every ``room/…`` without a slash."""

    text: str
    variables: tuple[str, ...] = field(init=False)
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        variables = tuple(_VARIABLE.findall(self.text))
        if len(set(variables)) != len(variables):
            raise ConfigurationError(f"channel {self.text!r} has a variable twice; name each once")
        check_name(_VARIABLE.sub("x", self.text))
        parts = _VARIABLE.split(self.text)
        pattern = "".join(
            f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
        object.__setattr__(self, "variables", variables)
        object.__setattr__(self, "_regex", re.compile(pattern))

    @property
    def is_single(self) -> bool:
        """Whether it is one channel's name."""
        return not self.variables

    def match(self, channel: str) -> dict[str, str] | None:
        """Return the variables' values in a channel's name; None if it is not one of these."""
        if len(channel.encode()) > MAX_CHANNEL_BYTES:
            return None
        found = self._regex.fullmatch(channel)
        return None if found is None else found.groupdict()


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """What a channel remembers and how fast its callbacks take messages."""

    # Messages kept for pages and workers that were away, and for how many seconds.
    history: int = 1000
    max_age: float = 120.0
    # Whether of several messages waiting for a callback only the newest is handed to it.
    conflate: bool = False
    # Messages that may wait; beyond that all but the newest are skipped and pages are told.
    max_waiting: int = 1000
    # Whether a page that comes later is shown what the last message set.
    replay_last: bool = True
    schema: Schema | None = None


@dataclass(frozen=True, slots=True)
class ChannelCallback:
    """A function that is run for each message of a channel."""

    pattern: ChannelPattern
    outputs: Outputs
    function: Callable[..., Any]
    # One worker of the deployment runs it for each message, not every one.
    once: bool

    @property
    def name(self) -> str:
        """Names it to other workers."""
        return f"{self.function.__module__}.{self.function.__qualname__}:{self.pattern.text}"


@dataclass(frozen=True, slots=True)
class MatchedCallback:
    """A callback for one channel."""

    callback: ChannelCallback
    variables: Mapping[str, str]


class Declarations:
    """The channels of one app."""

    def __init__(self) -> None:
        self.callbacks: list[ChannelCallback] = []
        # The pattern, and who may subscribe to its channels.
        self.guards: list[tuple[ChannelPattern, Callable[..., Any]]] = []
        self._settings: list[tuple[ChannelPattern, ChannelSettings]] = []

    def configure(self, pattern: ChannelPattern, settings: ChannelSettings) -> None:
        """Give the channels of a pattern settings; raises if they have some."""
        if any(existing == pattern for existing, _ in self._settings):
            raise ConfigurationError(f"channel {pattern.text!r} has settings already")
        self._settings.append((pattern, settings))

    @property
    def configured(self) -> tuple[tuple[ChannelPattern, ChannelSettings], ...]:
        """The patterns that have settings, in the order in which they were given them."""
        return tuple(self._settings)

    def settings(self, channel: str) -> ChannelSettings:
        """Return a channel's settings; of several patterns that fit, the first one's."""
        for pattern, settings in self._settings:
            if pattern.match(channel) is not None:
                return settings
        return ChannelSettings()

    def matching(self, channel: str) -> list[MatchedCallback]:
        """Return the callbacks for a channel, in the order in which they were declared."""
        return [
            MatchedCallback(callback, variables)
            for callback in self.callbacks
            if (variables := callback.pattern.match(channel)) is not None
        ]

    def single_channels(self) -> list[str]:
        """Return the channels without variables that have callbacks: every page follows them."""
        names = (each.pattern.text for each in self.callbacks if each.pattern.is_single)
        return list(dict.fromkeys(names))
