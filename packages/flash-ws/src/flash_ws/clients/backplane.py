"""The `Backplane` Protocol, which carries messages between workers, and one for one process."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from flash.moved import renamed_exports
from flash_ws.errors import ForkedProcess
from flash_ws.protocol.channel import CatchUp, Channel
from flash_ws.protocol.frames import Frame, Message
from flash_ws.protocol.position import Position


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """One connected client, as every worker sees it."""

    id: str
    # The user that ``authorize`` named; None if it named nobody.
    user: str | None
    # The location's path on the page.
    path: str
    # Seconds since the epoch.
    connected_at: float


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A command to every worker: close the links of one client, or of all clients of a user.

    With ``revoked_at``, seconds since the epoch, session cookies of the user that were signed until
    then are refused from now on. A backplane that spans workers gives such commands also to workers
    that start later.
    """

    client: str | None = None
    user: str | None = None
    revoked_at: float | None = None

    def concerns(self, info: ClientInfo) -> bool:
        """Return whether the command concerns the client ``info``."""
        return info.id == self.client or (self.user is not None and info.user == self.user)


@dataclass(frozen=True, slots=True)
class Moved:
    """A command to the workers that a page has left: remove it, since another worker has it now."""

    client: str

    def concerns(self, info: ClientInfo) -> bool:
        """Return whether the command concerns the client ``info``."""
        return info.id == self.client


@dataclass(frozen=True, slots=True)
class GroupMessage:
    """A command to the other workers: send a message to their endpoint connections of a group."""

    group: str
    message: str | bytes

    def concerns(self, info: ClientInfo) -> bool:
        """Return False: it concerns no link of a page."""
        del info
        return False


class OwnedByAnotherUser:
    """The result of `Backplane.resume` for a page that belonged to another user."""


Command = Disconnect | Moved | GroupMessage

# Channels of pages without a link that `MemoryBackplane` keeps, and for how many seconds.
MAX_EARLY = 256
EARLY_SECONDS = 60.0

Deliver = Callable[[Frame], None]
OnCommand = Callable[[Command], Any]


class Backplane(Protocol):
    """Carries published messages to every worker that has a page following the channel.

    All methods are called on the app's event loop. `start` is given ``deliver`` and
    ``on_command``; both are called on that loop and return at once.

    Within a channel, frames are delivered in the order of their numbers, without gaps. `catch_up`
    returns exactly the frames that precede those delivered after it. So a page that follows a
    channel first and then catches up misses nothing, and drops by number what it has already.

    Optional: ``position(channel)`` returns, from any thread, the position up to which this worker
    has delivered a channel, or None. With it a page gets what is pushed between its HTML and its
    link.

    Optional: ``await send_to_groups(message)`` calls ``on_command`` with a `GroupMessage` on every
    other worker.

    In a process that was forked from the server's, `publish`, `clients` and `broadcast_command` use
    connections of their own or raise `ForkedProcess`.

    A method that needs the store behind the backplane raises ``ConnectionError`` while the store is
    unavailable.
    """

    @property
    def spans_workers(self) -> bool:
        """Whether the pages of a worker that stops can continue on another worker."""
        ...

    async def start(self, deliver: Deliver, on_command: OnCommand) -> None:
        """Start; called once, before any other method."""
        ...

    async def close(self) -> None:
        """Stop; `publish` raises afterwards."""
        ...

    async def publish(self, channel: str, message: Message) -> Position:
        """Number a message and deliver it; raises if it was not delivered."""
        ...

    async def follow(self, channel: str) -> None:
        """Deliver the channel's frames to this worker from now on; idempotent."""
        ...

    async def unfollow(self, channel: str) -> None:
        """Stop delivering the channel's frames to this worker; idempotent."""
        ...

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return what a page at ``position`` missed; None for one that never followed it."""
        ...

    async def enter(self, client: ClientInfo) -> None:
        """Add a client that is connected to this worker."""
        ...

    async def remember(self, client_id: str, channels: frozenset[str]) -> None:
        """Store what a client of this worker has joined, for `resume` on another worker."""
        ...

    async def resume(
        self, client_id: str, user: str | None
    ) -> frozenset[str] | OwnedByAnotherUser | None:
        """Take a page over from the worker that had it; that worker gets `Moved`.

        Returns the channels that the page has joined, None if no other worker knows the page, and
        `OwnedByAnotherUser` if the page belonged to a user other than ``user``.
        """
        ...

    async def leave(self, client_id: str) -> None:
        """Remove a client that is gone; idempotent."""
        ...

    async def clients(self) -> list[ClientInfo]:
        """Return the clients that are connected to any worker."""
        ...

    async def broadcast_command(self, command: Disconnect) -> None:
        """Call ``on_command(command)`` on every worker."""
        ...


class MemoryBackplane:
    """The backplane of one process.

    A channel exists while a page follows it; the channel for everybody exists always. The channel
    of a page that does not follow it yet exists from the first message on, so that a callback can
    push to its page before the link is open: at most `MAX_EARLY` of them, for `EARLY_SECONDS` each.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        # Channels of pages that do not follow them yet: when each was created, oldest first.
        self._early: dict[str, float] = {}
        self._clients: dict[str, ClientInfo] = {}
        # The process that serves the pages; set again by `start`.
        self._process = os.getpid()
        self._deliver: Deliver = _ignore
        self._on_command: OnCommand = _ignore
        # Called if a page comes with a position that another process has given it.
        self.on_foreign_position: Callable[[], object] = _nothing

    @property
    def spans_workers(self) -> bool:
        """False: there is one worker."""
        return False

    async def start(self, deliver: Deliver, on_command: OnCommand) -> None:
        """Store the functions to call."""
        self._process = os.getpid()
        self._deliver, self._on_command = deliver, on_command

    async def close(self) -> None:
        """Remove all channels and clients."""
        self._channels.clear()
        self._early.clear()
        self._clients.clear()

    async def publish(self, channel: str, message: Message) -> Position:
        """Number a message and deliver it.

        A message to a channel without followers is dropped, unless it is the channel of a page.
        """
        self._check_process()
        found = self._channels.get(channel)
        if found is None:
            if not channel.startswith("page:"):
                return Position("", 0)
            found = self._create_early(channel)
        self._deliver(found.append(message, self._clock()))
        return found.position

    def _create_early(self, channel: str) -> Channel:
        now = self._clock()
        for name, created in list(self._early.items()):
            if len(self._early) < MAX_EARLY and now - created < EARLY_SECONDS:
                break
            del self._early[name], self._channels[name]
        self._early[channel] = now
        self._channels[channel] = Channel(channel)
        return self._channels[channel]

    def position(self, channel: str) -> Position | None:
        """Return the position of a page that has received every frame; from any thread."""
        found = self._channels.get(channel)
        return None if found is None else found.position

    async def follow(self, channel: str) -> None:
        """Create the channel if it does not exist."""
        self._early.pop(channel, None)
        if channel not in self._channels:
            self._channels[channel] = Channel(channel)

    async def unfollow(self, channel: str) -> None:
        """Remove the channel."""
        self._channels.pop(channel, None)

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return what a page at ``position`` missed."""
        found = self._channels[channel]
        if position is None:
            return CatchUp(found.position, (), recovered=True)
        if position.epoch != found.position.epoch:
            self.on_foreign_position()
        return found.catch_up(position, self._clock())

    async def enter(self, client: ClientInfo) -> None:
        """Add a client that is connected."""
        self._clients[client.id] = client

    async def remember(self, client_id: str, channels: frozenset[str]) -> None:
        """Do nothing: there is no other worker."""

    async def resume(
        self, client_id: str, user: str | None
    ) -> frozenset[str] | OwnedByAnotherUser | None:
        """Return None: there is no other worker."""
        return None

    async def leave(self, client_id: str) -> None:
        """Remove a client that is gone."""
        self._clients.pop(client_id, None)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ForkedProcess

    async def clients(self) -> list[ClientInfo]:
        """Return the clients that are connected."""
        self._check_process()
        return list(self._clients.values())

    async def broadcast_command(self, command: Disconnect) -> None:
        """Handle ``command`` in this process, the only one."""
        self._check_process()
        self._on_command(command)


def _nothing() -> None:
    """Do nothing."""


def _ignore(_: Any) -> None:
    """Do nothing; called instead of the real functions before `start`."""


async def broadcast(backplane: Backplane, command: Disconnect) -> None:
    """Call `Backplane.broadcast_command`, or `order` on a backplane written for that old name."""
    send = getattr(backplane, "broadcast_command", None)
    if send is None:
        text = "Backplane.order is now broadcast_command; the old name goes with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        send = backplane.order  # pyright: ignore[reportAttributeAccessIssue]
    await send(command)


__getattr__ = renamed_exports(
    __name__, {"Obey": "OnCommand", "Order": "Command", "Stranger": "OwnedByAnotherUser"}
)
