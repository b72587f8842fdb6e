"""What stands behind push, events and the list of clients: in this process, or across workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from flash_ws.protocol.channel import CatchUp, Channel
from flash_ws.protocol.frames import Frame, Message
from flash_ws.protocol.position import Position


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Who is connected, as every worker can see it."""

    id: str
    # What ``authorize`` returned to identify the user by; None for anybody.
    user: str | None
    # The location's path on the page.
    path: str
    # Seconds since the epoch.
    connected_at: float


@dataclass(frozen=True, slots=True)
class Disconnect:
    """An order to every worker: close the links of these clients."""

    client: str | None = None
    user: str | None = None

    def concerns(self, info: ClientInfo) -> bool:
        """Tell whether ``info`` is one of them."""
        return info.id == self.client or (self.user is not None and info.user == self.user)


@dataclass(frozen=True, slots=True)
class Moved:
    """An order to every worker but one: forget a page that is connected to that one by now."""

    client: str

    def concerns(self, info: ClientInfo) -> bool:
        """Tell whether ``info`` is that page."""
        return info.id == self.client


class Stranger:
    """Stands for a page that another user has had."""


Order = Disconnect | Moved

Deliver = Callable[[Frame], None]
Obey = Callable[[Order], Any]


class Backplane(Protocol):
    """Carries messages from whoever pushes to every worker that has a page following the channel.

    All methods are called on the app's event loop. ``deliver`` and ``obey``, given to `start`, are
    called there too and return at once. Within a channel frames are delivered in the order of their
    numbers, without gaps; `catch_up` returns exactly what precedes the frames delivered after it,
    so a page that follows first and catches up then misses nothing and can drop what it has.
    Whatever needs what is behind it raises ``ConnectionError`` while that is away.
    """

    @property
    def spans_workers(self) -> bool:
        """Whether pages of a worker that stops may go on with another."""
        ...

    async def start(self, deliver: Deliver, obey: Obey) -> None:
        """Begin; called once, before anything else."""
        ...

    async def close(self) -> None:
        """End; what is published afterwards raises."""
        ...

    async def publish(self, channel: str, message: Message) -> Position:
        """Number a message and deliver it; raises if that did not happen."""
        ...

    async def follow(self, channel: str) -> None:
        """Deliver this channel's frames to this worker from now on; idempotent."""
        ...

    async def unfollow(self, channel: str) -> None:
        """No page of this worker follows the channel any more; idempotent."""
        ...

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return what a page at ``position`` missed; None is a page that has never followed it."""
        ...

    async def enter(self, client: ClientInfo) -> None:
        """Note that a client is connected to this worker."""
        ...

    async def remember(self, client_id: str, channels: frozenset[str]) -> None:
        """Note what a client of this worker has joined, for a worker that it may come back on."""
        ...

    async def resume(self, client_id: str, user: str | None) -> frozenset[str] | Stranger | None:
        """Take over a page that another worker has had, and have that one forget it.

        Returns what the page has joined; None for a page that no other worker remembers, and a
        `Stranger` for one that was another user's.
        """
        ...

    async def leave(self, client_id: str) -> None:
        """Note that it is gone; idempotent."""
        ...

    async def clients(self) -> list[ClientInfo]:
        """Return who is connected, to any worker."""
        ...

    async def order(self, order: Disconnect) -> None:
        """Have every worker obey."""
        ...


class MemoryBackplane:
    """The backplane of one process.

    A channel lives while a page follows it; the one for everybody lives always.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        self._clients: dict[str, ClientInfo] = {}
        self._deliver: Deliver = _nowhere
        self._obey: Obey = _nowhere

    @property
    def spans_workers(self) -> bool:
        """False: there is one."""
        return False

    async def start(self, deliver: Deliver, obey: Obey) -> None:
        """Begin."""
        self._deliver, self._obey = deliver, obey

    async def close(self) -> None:
        """Forget everything."""
        self._channels.clear()
        self._clients.clear()

    async def publish(self, channel: str, message: Message) -> Position:
        """Number a message and deliver it; one for a channel nobody follows goes nowhere."""
        kept = self._channels.get(channel)
        if kept is None:
            return Position("", 0)
        self._deliver(kept.append(message, self._clock()))
        return kept.position

    async def follow(self, channel: str) -> None:
        """Keep the channel from now on."""
        if channel not in self._channels:
            self._channels[channel] = Channel(channel)

    async def unfollow(self, channel: str) -> None:
        """Forget the channel."""
        self._channels.pop(channel, None)

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return what a page at ``position`` missed."""
        kept = self._channels[channel]
        if position is None:
            return CatchUp(kept.position, (), recovered=True)
        return kept.catch_up(position, self._clock())

    async def enter(self, client: ClientInfo) -> None:
        """Note that a client is connected."""
        self._clients[client.id] = client

    async def remember(self, client_id: str, channels: frozenset[str]) -> None:
        """Do nothing: there is no other worker."""

    async def resume(self, client_id: str, user: str | None) -> frozenset[str] | Stranger | None:
        """Return None: there is no other worker."""
        return None

    async def leave(self, client_id: str) -> None:
        """Note that it is gone."""
        self._clients.pop(client_id, None)

    async def clients(self) -> list[ClientInfo]:
        """Return who is connected."""
        return list(self._clients.values())

    async def order(self, order: Disconnect) -> None:
        """Obey."""
        self._obey(order)


def _nowhere(_: Any) -> None:
    """Be what is called before `start`."""
