"""Endpoint connections under one name: what is sent to them is written as JSON once.

Not to be confused with the pages of `Live.group`: a page joins by `Client.join`, is reached over
its live link, on any worker, and keeps its groups when it comes back; a connection joins by
`Connection.join`, on this worker, for as long as it is open.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from flash_ws.link.writer import Event, Flusher, as_event, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How many groups one connection may join: a handler that lets a browser name them is bounded, too.
MAX_GROUPS = 1000


class Member(Protocol):
    """What can be in a group."""

    def offer(self, event: Event, size: int) -> bool:
        """Take a message without waiting; False if it will not be sent."""
        ...


class Groups:
    """Who is in which group; a group without members takes no memory. Belongs to one loop."""

    def __init__(self) -> None:
        self._members: dict[str, dict[Member, None]] = {}
        # Carries what is sent to members.
        self.flusher = Flusher()
        # The loop that the members live on; None before there was one.
        self._loop: asyncio.AbstractEventLoop | None = None

    def __getitem__(self, name: str) -> ConnectionGroup:
        return ConnectionGroup(self, name)

    def add(self, name: str, member: Member) -> None:
        """Put ``member`` into a group; doing so again changes nothing."""
        self._loop = asyncio.get_running_loop()
        self._members.setdefault(name, {})[member] = None

    def discard(self, name: str, member: Member) -> None:
        """Take ``member`` out of a group, if it is in it."""
        members = self._members.get(name)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._members[name]

    def members(self, name: str) -> tuple[Any, ...]:
        """Return a group's members, in the order in which they joined."""
        return tuple(self._members.get(name, ()))

    def names(self) -> tuple[str, ...]:
        """Return the groups that have members."""
        return tuple(self._members)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call ``function`` on the members' loop, from any thread; never without members."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)


class ConnectionGroup:
    """A name, and the open connections that have joined it; iterating gives them.

    It holds nothing itself: two objects of one name are the same group, and a connection that ends
    leaves all of its groups. Groups are those of this process.
    """

    def __init__(self, groups: Groups, name: str) -> None:
        self._groups = groups
        # What `Connection.join`, `Live.connections` and `Endpoints.connections` take.
        self.name = name

    def __repr__(self) -> str:
        return f"<ConnectionGroup {self.name!r} of {len(self)}>"

    def __len__(self) -> int:
        return len(self._groups.members(self.name))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._groups.members(self.name))

    def __contains__(self, connection: object) -> bool:
        return connection in self._groups.members(self.name)

    async def send(self, message: Any, *, exclude: Member | None = None) -> int:
        """Send to every member but ``exclude``; returns for how many it is on its way.

        Never waits for a browser. All members get messages in the order of these calls; one whose
        ``max_outbox_bytes`` are full is closed with `CloseCode.TOO_SLOW`, and the others do not
        notice. A message of its own that a member's handler sends afterwards comes after it. Raises
        what `flash.serialize.dumps` raises.
        """
        return self._deliver(as_event(message), exclude)

    def send_threadsafe(self, message: Any, *, exclude: Member | None = None) -> None:
        """Do what `send` does, from a thread: the message is written here, and sent soon."""
        event = as_event(message)
        size_of(event)
        self._groups.call_soon(lambda: self._deliver(event, exclude))

    def _deliver(self, event: Event, exclude: Member | None) -> int:
        size = size_of(event)
        delivered = 0
        for member in self._groups.members(self.name):
            if member is not exclude and member.offer(event, size):
                delivered += 1
        return delivered
