"""`Client`: the server's object for one page, which survives a broken connection for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import quart

from flash_ws.clients import recipients
from flash_ws.operating.inspection import PageRow
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.outbox import OutboxStatistics

if TYPE_CHECKING:
    from flash.http.handshake import Handshake
    from flash_ws.clients.backplane import ClientInfo
    from flash_ws.link.link import Link
    from flash_ws.protocol.frames import Frame
    from flash_ws.protocol.position import Position


class Following(Protocol):
    """The part of the hub with which a client follows channels."""

    def join(
        self, client: LinkedClient, channel: str, position: Position | None = None
    ) -> asyncio.Task[bool]:
        """Let a client follow a channel from now on; see `Hub.join`."""
        ...

    def unfollow(self, client: LinkedClient, channel: str) -> None:
        """Stop a client from following a channel; idempotent."""
        ...


class Client:
    """One page; passed to ``on_connect`` and ``on_disconnect``, and ``live.client`` in handlers.

    A page that reconnects within the resume window is still the same client. Apps do not make it.
    """

    # There is one for each page; slots save a dictionary each.
    __slots__ = ("__weakref__", "data", "groups", "info")

    def __init__(self, info: ClientInfo) -> None:
        self.info = info
        # Names of the groups joined.
        self.groups: set[str] = set()
        # For the application's use.
        self.data: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Client {self.id} user={self.user!r} path={self.path!r}>"

    @property
    def id(self) -> str:
        """The public identifier of the page; not a secret."""
        return self.info.id

    @property
    def user(self) -> str | None:
        """The user that ``authorize`` named; None if it named nobody."""
        return self.info.user

    @property
    def path(self) -> str:
        """The path of the page's location when it first connected."""
        return self.info.path

    @property
    def session(self) -> dict[str, Any]:
        """A copy of Quart's session, as the browser sent it when it last connected.

        Works in handlers and event callbacks of this page; raises ``RuntimeError`` elsewhere.
        """
        return dict(quart.session)

    @property
    def channel(self) -> str:
        """The channel that only this page follows."""
        return recipients.page(self.id).channel

    @property
    def is_connected(self) -> bool:
        """Whether the page is connected now."""
        raise NotImplementedError

    def join(self, group: str) -> asyncio.Task[bool]:
        """Join a group; the task is done when joining is complete and need not be awaited.

        Every message published to the group after this call reaches the page, awaited or not.
        """
        raise NotImplementedError

    def leave(self, group: str) -> None:
        """Leave a group; idempotent."""
        raise NotImplementedError


class LinkedClient(Client):
    """A client with what the hub and add-on packages keep of it: its link and what it follows.

    Every `Client` is one. Apps see the names of `Client` only.
    """

    __slots__ = (
        "_hub",
        "_reconnected",
        "ending",
        "extra_channels",
        "handshake",
        "introducing",
        "is_registered",
        "joining",
        "link",
        "load",
        "starts",
        "token",
    )

    def __init__(self, hub: Following, info: ClientInfo, token: str, handshake: Handshake) -> None:
        super().__init__(info)
        self._hub = hub
        # The page's secret. A connection that sends it is taken for this page.
        self.token = token
        # The request that opened the latest connection.
        self.handshake = handshake
        # None while the page is not connected.
        self.link: Link | None = None
        # Set when the page reconnects; exists only while a task waits for that.
        self._reconnected: asyncio.Future[None] | None = None
        # The task that runs the ``on_connect`` handlers; None before and once it has ended.
        self.introducing: asyncio.Task[None] | None = None
        # Handlers and calls of this page that were cancelled because it is gone, and may still run.
        self.ending: set[asyncio.Task[None]] = set()
        # By channel of a group: the position from which the page is sent the group's messages if it
        # returns without a later one, since its link broke before it was told.
        self.starts: dict[str, Position] = {}
        # By channel of a group whose start is not known yet: the number of the first message since
        # the page joined, None before that message, and 0 if messages were lost.
        self.joining: dict[str, int | None] = {}
        # Channels of add-on packages that this page follows.
        self.extra_channels: set[str] = set()
        # Whether `Backplane.enter` has been called for it.
        self.is_registered = False
        # The load of the page that connected first; tells a page from a copy of it.
        self.load: str | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the page is connected now."""
        return self.link is not None

    def join(self, group: str) -> asyncio.Task[bool]:
        """Join a group, see `Client.join`."""
        channel = recipients.group(group).channel
        self.groups.add(group)
        if channel not in self.starts:
            self.joining.setdefault(channel, None)
        return self._hub.join(self, channel)

    def leave(self, group: str) -> None:
        """Leave a group; idempotent."""
        channel = recipients.group(group).channel
        self.groups.discard(group)
        self.starts.pop(channel, None)
        self.joining.pop(channel, None)
        self._hub.unfollow(self, channel)

    def follow(self, channel: str, position: Position | None = None) -> asyncio.Task[bool]:
        """Follow a channel of an add-on package, as `join` does for the channel of a group.

        If ``position`` says how far the page has followed it before, the page is sent what it has
        missed since. The task's result is whether that was everything.
        """
        self.extra_channels.add(channel)
        return self._hub.join(self, channel, position)

    def restore_channels(self, channels: frozenset[str]) -> None:
        """Add what a page has joined on another worker; called before the page catches up."""
        for channel in channels:
            group = recipients.group_of(channel)
            if group is None:
                self.extra_channels.add(channel)
            else:
                self.groups.add(group)

    def unfollow(self, channel: str) -> None:
        """Stop following a channel of an add-on package; idempotent."""
        if channel in self.extra_channels:
            self.extra_channels.discard(channel)
            self._hub.unfollow(self, channel)

    @property
    def joined(self) -> frozenset[str]:
        """The channels of its groups, and those of add-on packages that it follows."""
        return frozenset(
            {recipients.group(name).channel for name in self.groups} | self.extra_channels
        )

    def row(self) -> PageRow:
        """Return how the page is, for the inspection page and the developer's panel."""
        outbox = self.link.outbox.statistics() if self.link else OutboxStatistics(0, 0, 0, 0)
        return PageRow(
            self.id,
            self.user,
            self.path,
            self.is_connected,
            tuple(sorted(self.groups)),
            outbox.frames_waiting,
            outbox.bytes_waiting,
            outbox.sent,
            outbox.conflated,
        )

    def deliver(self, frame: Frame) -> None:
        """Queue a frame for the link. While the page is away, only the histories keep it."""
        if self.link is not None:
            self.link.deliver(frame)

    def place(self, channel: str, position: Position) -> None:
        """Note that the page is told to follow a group from ``position`` on."""
        if recipients.group_of(channel) in self.groups:
            self.joining.pop(channel, None)
            self.starts[channel] = position

    def note_lost(self, channel: str) -> None:
        """Note that messages to a group that the page has joined are lost."""
        if recipients.group_of(channel) in self.groups:
            self.starts.pop(channel, None)
            self.joining[channel] = 0

    def start_of(self, channel: str, known: Position | None) -> Position | None:
        """Return the later of the position that the page has sent and the one kept here."""
        start = self.starts.get(channel)
        if start is None or known is None:
            return start or known
        # A group that was left and joined again: nothing of the time between.
        return start if start.epoch == known.epoch and start.number > known.number else known

    def note_missed(self, frame: Frame) -> None:
        """Note a frame that came while the page is away; the histories keep the frame itself."""
        channel = frame.channel or ""
        if channel in self.joining:
            if frame.starts_epoch:
                self.note_lost(channel)
            elif self.joining[channel] is None:
                self.joining[channel] = frame.number

    def attach(self, link: Link) -> None:
        """Use ``link`` as the connection, and close the one before."""
        self.close(CloseCode.REPLACED)
        self._note_held()
        self.link = link
        reconnected, self._reconnected = self._reconnected, None
        if reconnected is not None:
            reconnected.set_result(None)

    def detach(self, link: Link) -> bool:
        """Remove a connection that has ended; returns False if the page already has another."""
        if self.link is not link:
            return False
        self._note_held()
        self.link = None
        return True

    def _note_held(self) -> None:
        """Note the first frame of each group that the link holds and will not send."""
        if self.link is not None:
            for channel, number in self.joining.items():
                if number is None:
                    lost = self.link.holds_new_epoch(channel)
                    self.joining[channel] = 0 if lost else self.link.first_held(channel)

    async def wait_until_introduced(self) -> None:
        """Wait until the ``on_connect`` handlers have ended, as handlers of the page's frames do.

        At most ``INTRODUCTION_TIMEOUT`` seconds of the hub.
        """
        if self.introducing is not None:
            await asyncio.wait({self.introducing})

    async def wait_for_room(self) -> None:
        """Wait until the page is connected and its outbox is less than half full."""
        while self.link is None:
            if self._reconnected is None:
                self._reconnected = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._reconnected)
        await self.link.wait_for_room()

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close the connection if there is one."""
        if self.link is not None:
            self.link.close(code, reason)
