"""The channels that an app declares: patterns, callbacks and settings; uses no event loop."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flash import ConfigurationError
from flash.callbacks.functions import name_of, place_of, short_name_of
from flash_pubsub.broker.seam import MAX_CHANNEL_BYTES, check_channel
from flash_pubsub.errors import InvalidChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flash_pubsub.channels.outputs import Outputs
    from flash_pubsub.channels.schema import Schema

# The names of Flash's own channels begin with these.
RESERVED = ("live:", "who:")

# The kinds of page channels that carry the results of a channel's callbacks: of those that every
# worker runs for its own pages, and of those that one worker runs for all pages.
EVERY_WORKER = "channel"
ONE_WORKER = "once"

_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def check_name(channel: str) -> None:
    """Raise `InvalidChannel` unless users may publish on a channel of this name."""
    check_channel(channel)
    for prefix in RESERVED:
        if channel.startswith(prefix):
            raise InvalidChannel(channel, f"names that begin with {prefix!r} are reserved by Flash")


@dataclass(frozen=True, slots=True)
class ChannelPattern:
    """A channel's name, or a pattern for many names.

    ``"room/{room}"`` matches every ``room/…``; a variable's value contains no slash.
    """

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
        """Whether the pattern has no variables and so names one channel."""
        return not self.variables

    def match(self, channel: str) -> dict[str, str] | None:
        """Return the values of the variables in a channel's name; None if it does not match."""
        if len(channel.encode()) > MAX_CHANNEL_BYTES:
            return None
        found = self._regex.fullmatch(channel)
        return None if found is None else found.groupdict()


def check_takes(function: Callable[..., Any], pattern: ChannelPattern, first: str) -> None:
    """Raise `ConfigurationError` unless a function can be called for the channels of a pattern.

    It is called with one value, which the error names ``first``, and the variables by name.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # A function of C may not say what it takes.
        return
    try:
        signature.bind(None, **dict.fromkeys(pattern.variables))
    except TypeError as error:
        wanted = ", ".join((first, *pattern.variables))
        raise ConfigurationError(
            f"{short_name_of(function)} ({place_of(function)}) is called for the channel "
            f"{pattern.text!r} as {short_name_of(function)}({wanted}), with the variables by name, "
            f"and does not take that: {error}"
        ) from None


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """How much of a channel is kept, and how its messages are processed."""

    # Messages kept for pages and workers that were disconnected, and seconds for which they are.
    history: int = 1000
    max_age: float = 120.0
    # Whether only the newest of the messages that wait is passed to the callbacks.
    conflate: bool = False
    # Messages that may wait. With one more, all but the newest are skipped and the pages are told.
    max_waiting: int = 1000
    # Whether a page that comes later shows what the last message set.
    replay_last: bool = True
    # What the messages must fit.
    schema: Schema | None = None


@dataclass(frozen=True, slots=True)
class ChannelCallback:
    """A function that runs for each message of the channels of a pattern."""

    pattern: ChannelPattern
    outputs: Outputs
    function: Callable[..., Any]
    # Whether one worker of the deployment runs it for each message, instead of every worker.
    once: bool
    # ``on_lost(channel, number of messages)`` is called when messages can no longer be run.
    on_lost: Callable[[str, int], Any] | None = None
    # Seconds that one call may take; None for no limit.
    timeout: float | None = None
    # A page that subscribes gets what the function made of so many last messages.
    backfill: int = 0
    # The callback's name, the same on every worker. Made once, since each message needs it.
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{name_of(self.function)}:{self.pattern.text}")


@dataclass(frozen=True, slots=True)
class MatchedCallback:
    """A callback and the values of its pattern's variables for one channel."""

    callback: ChannelCallback
    variables: Mapping[str, str]


class Declarations:
    """The channels of one app."""

    def __init__(self) -> None:
        self.callbacks: list[ChannelCallback] = []
        # Patterns with the function that decides whether a page may subscribe.
        self.guards: list[tuple[ChannelPattern, Callable[..., Any]]] = []
        self._settings: list[tuple[ChannelPattern, ChannelSettings]] = []

    def configure(self, pattern: ChannelPattern, settings: ChannelSettings) -> None:
        """Set the settings of a pattern; raises `ConfigurationError` if it has settings already."""
        if any(existing == pattern for existing, _ in self._settings):
            raise ConfigurationError(f"channel {pattern.text!r} has settings already")
        configured = [*self._settings, (pattern, settings)]
        for callback in self.callbacks:
            _check_history(callback, configured)
            _check_backfill(callback, configured)
        self._settings = configured

    def add(self, callback: ChannelCallback) -> None:
        """Add a callback; raises `ConfigurationError` if it needs more history than there is."""
        _check_history(callback, self._settings)
        _check_backfill(callback, self._settings)
        self.callbacks.append(callback)

    @property
    def configured(self) -> tuple[tuple[ChannelPattern, ChannelSettings], ...]:
        """The patterns that have settings, in the order of `configure` calls."""
        return tuple(self._settings)

    def settings(self, channel: str) -> ChannelSettings:
        """Return the settings of the first pattern that matches a channel, or the defaults."""
        return _settings_of(channel, self._settings)

    def matching(self, channel: str) -> list[MatchedCallback]:
        """Return the callbacks for a channel in the order of their declaration."""
        return [
            MatchedCallback(callback, variables)
            for callback in self.callbacks
            if (variables := callback.pattern.match(channel)) is not None
        ]

    def page_channels(self, channel: str) -> list[str]:
        """Return the page channels that carry the results of a channel's callbacks."""
        kinds = [EVERY_WORKER]
        if any(each.callback.once for each in self.matching(channel)):
            kinds.append(ONE_WORKER)
        return [f"{kind}:{channel}" for kind in kinds]

    def single_channels(self) -> list[str]:
        """Return the channels of callbacks without variables, which every page follows."""
        names = (each.pattern.text for each in self.callbacks if each.pattern.is_single)
        return list(dict.fromkeys(names))


def _settings_of(
    channel: str, configured: Sequence[tuple[ChannelPattern, ChannelSettings]]
) -> ChannelSettings:
    for pattern, settings in configured:
        if pattern.match(channel) is not None:
            return settings
    return ChannelSettings()


def _check_history(
    callback: ChannelCallback, configured: Sequence[tuple[ChannelPattern, ChannelSettings]]
) -> None:
    """Raise `ConfigurationError` for ``once`` on a channel without history."""
    # A name that the pattern matches; the settings of others may differ.
    example = _VARIABLE.sub("x", callback.pattern.text)
    if callback.once and not _settings_of(example, configured).history:
        raise ConfigurationError(
            f"the channel callback {callback.name!r} has once=True, and the channel "
            f"{callback.pattern.text!r} has history=0: messages are run from the history; "
            "give the channel one, pubsub.channel(…, history=1000), or leave out once=True"
        )


def _check_backfill(
    callback: ChannelCallback, configured: Sequence[tuple[ChannelPattern, ChannelSettings]]
) -> None:
    """Raise `ConfigurationError` for a ``backfill`` that the channel cannot give."""
    if not callback.backfill:
        return
    what = f"the channel callback {callback.name!r} has backfill={callback.backfill}"
    if callback.once:
        raise ConfigurationError(
            f"{what} and once=True: for a backfill each worker runs the function again with "
            "earlier messages; do what must be done once in one callback, and show it in another, "
            "@pubsub.channel_callback(…, backfill=…)"
        )
    example = _VARIABLE.sub("x", callback.pattern.text)
    history = _settings_of(example, configured).history
    if callback.backfill > history:
        raise ConfigurationError(
            f"{what}, and the channel {callback.pattern.text!r} keeps history={history} messages; "
            f"keep as many, pubsub.channel({callback.pattern.text!r}, "
            f"history={callback.backfill}), or make backfill= smaller"
        )
