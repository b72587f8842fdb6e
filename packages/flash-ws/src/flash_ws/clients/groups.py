"""Groups of endpoint connections; a message to a group is serialised once.

These are not the groups of pages of `Live.group`. A page joins with `Client.join`, is reached over
its live link on any worker, and stays in its groups when it reconnects. A connection joins with
`Connection.join`, on its worker, and leaves when it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from flash.log_limit import limited_logger
from flash_ws.clients.backplane import GroupMessage
from flash_ws.clients.sending import SendQueue
from flash_ws.errors import TooManyUnawaited
from flash_ws.link.writer import Event, Flusher, as_event, size_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

logger = limited_logger(__name__)

# Groups that one connection may join. It bounds a handler that lets browsers choose the names.
MAX_GROUPS = 1000


class Member(Protocol):
    """A connection that can be in a group."""

    def offer(self, event: Event, size: int) -> bool:
        """Queue a message without waiting; returns False if it will not be sent."""
        ...


class Groups:
    """The members of each group; an empty group takes no memory. Belongs to one event loop."""

    def __init__(self) -> None:
        self._members: dict[str, dict[Member, None]] = {}
        # Writes the messages that wait in members.
        self.flusher = Flusher()
        # Sends a message to the connections of a group on other workers; None if it cannot.
        self.elsewhere: Callable[[GroupMessage], Awaitable[None]] | None = None
        # Messages for other workers that nobody waits for: with too many, the newest is not sent.
        self._unawaited = SendQueue()
        # The loop of the members; None before the first member.
        self._loop: asyncio.AbstractEventLoop | None = None

    def __getitem__(self, name: str) -> ConnectionGroup:
        return ConnectionGroup(self, name)

    def add(self, name: str, member: Member) -> None:
        """Add ``member`` to a group; idempotent."""
        self._loop = asyncio.get_running_loop()
        self._members.setdefault(name, {})[member] = None

    def discard(self, name: str, member: Member) -> None:
        """Remove ``member`` from a group; idempotent."""
        members = self._members.get(name)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._members[name]

    def members(self, name: str) -> tuple[Any, ...]:
        """Return the members of a group in the order in which they joined."""
        return tuple(self._members.get(name, ()))

    def names(self) -> tuple[str, ...]:
        """Return the names of the groups that have members."""
        return tuple(self._members)

    async def send_elsewhere(self, name: str, event: Event) -> None:
        """Send an event to the connections of a group on other workers."""
        if self.elsewhere is not None:
            message: str | bytes = event["text"] if "text" in event else event["bytes"]
            await self.elsewhere(GroupMessage(name, message))

    def send_elsewhere_soon(self, name: str, event: Event) -> None:
        """Do what `send_elsewhere` does without waiting for it; errors are logged."""
        if self.elsewhere is None:
            return
        try:
            self._unawaited.add(self.send_elsewhere(name, event))
        except TooManyUnawaited as error:
            logger.error("a message to group %r is not sent to other workers: %s", name, error)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call ``function`` on the members' loop, from any thread; does nothing without a loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)


class ConnectionGroup:
    """The open connections of this process that have joined a group; iterating yields them.

    Two objects with the same name are the same group. A connection that ends leaves its groups.
    """

    def __init__(self, groups: Groups, name: str) -> None:
        self._groups = groups
        # As passed to `Connection.join`, `Live.connections` and `Endpoints.connections`.
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
        """Send to every member except ``exclude``; returns how many of this worker will get it.

        If the workers of the app share a Redis, the members on other workers get it as well. It
        never waits for a browser. Members get messages in the order of these calls, and before
        messages that their own handlers send afterwards. A member whose ``max_outbox_bytes`` are
        full is closed with `CloseCode.TOO_SLOW`; the others are not affected. Raises what
        `flash.serialize.dumps` raises.
        """
        event = as_event(message)
        delivered = self._deliver(event, exclude)
        await self._groups.send_elsewhere(self.name, event)
        return delivered

    def send_threadsafe(self, message: Any, *, exclude: Member | None = None) -> None:
        """Do what `send` does, from a thread: serialise in the calling thread, then send soon."""
        event = as_event(message)
        size_of(event)

        def send() -> None:
            self._deliver(event, exclude)
            self._groups.send_elsewhere_soon(self.name, event)

        self._groups.call_soon(send)

    def deliver_here(self, message: str | bytes) -> None:
        """Send a message of another worker to the members in this process."""
        self._deliver(as_event(message), None)

    def _deliver(self, event: Event, exclude: Member | None) -> int:
        size = size_of(event)
        delivered = 0
        for member in self._groups.members(self.name):
            if member is not exclude and member.offer(event, size):
                delivered += 1
        return delivered
