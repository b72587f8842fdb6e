"""A page, as the server knows it: it outlives its connections, for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import quart

from flash_ws.clients import recipients
from flash_ws.protocol.codes import CloseCode

if TYPE_CHECKING:
    from flash.http.handshake import Handshake
    from flash_ws.clients.backplane import ClientInfo
    from flash_ws.link.link import Link
    from flash_ws.protocol.frames import Frame
    from flash_ws.protocol.position import Position


class Following(Protocol):
    """The hub's part that lets a client follow channels and leave them."""

    def join(
        self, client: Client, channel: str, position: Position | None = None
    ) -> asyncio.Task[bool]:
        """Let a client follow a channel from this moment on."""
        ...

    def unfollow(self, client: Client, channel: str) -> None:
        """Let a client follow a channel no more; idempotent."""
        ...


class Client:
    """One page. Given to ``on_connect`` and ``on_disconnect``; ``live.client`` inside handlers.

    A page whose connection breaks stays the same client if it comes back within the resume window.
    """

    def __init__(self, hub: Following, info: ClientInfo, token: str, handshake: Handshake) -> None:
        self._hub = hub
        self.info = info
        # The page's secret: whoever shows it is this page.
        self.token = token
        # The request that opened the latest connection.
        self.handshake = handshake
        # None while the page is away.
        self.link: Link | None = None
        # Done when the page is back; made when somebody waits for that.
        self._reconnected: asyncio.Future[None] | None = None
        # Names of the groups joined.
        self.groups: set[str] = set()
        # Channels of add-on packages that this page follows.
        self.extra_channels: set[str] = set()
        # Whether the backplane has been told of it.
        self.is_registered = False
        # For the application's own use.
        self.data: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Client {self.id} user={self.user!r} path={self.path!r}>"

    @property
    def id(self) -> str:
        """The page's public name; not a secret."""
        return self.info.id

    @property
    def user(self) -> str | None:
        """What ``authorize`` identified the user by."""
        return self.info.user

    @property
    def path(self) -> str:
        """The path of the page's location when it first connected."""
        return self.info.path

    @property
    def session(self) -> dict[str, Any]:
        """A copy of Quart's session, as the browser sent it with its latest connection.

        For handlers and whatever else runs for this page; raises ``RuntimeError`` elsewhere.
        """
        return dict(quart.session)

    @property
    def channel(self) -> str:
        """The channel that only this page follows."""
        return recipients.page(self.id).channel

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self.link is not None

    def join(self, group: str) -> asyncio.Task[bool]:
        """Join a group; the task, which need not be awaited, is done when it is effective.

        A message published to the group after this call reaches the page in any case.
        """
        self.groups.add(group)
        return self._hub.join(self, recipients.group(group).channel)

    def leave(self, group: str) -> None:
        """Leave a group; leaving one that was not joined does nothing."""
        self.groups.discard(group)
        self._hub.unfollow(self, recipients.group(group).channel)

    def follow(self, channel: str, position: Position | None = None) -> asyncio.Task[bool]:
        """Follow a channel of an add-on package, as `join` does a group's.

        With the ``position`` up to which the page has followed it before, it is sent what it has
        missed since; the task's result is whether that was everything.
        """
        self.extra_channels.add(channel)
        return self._hub.join(self, channel, position)

    def restore_channels(self, channels: frozenset[str]) -> None:
        """Take up what a page has joined on another worker; before it is caught up with."""
        for channel in channels:
            group = recipients.group_of(channel)
            if group is None:
                self.extra_channels.add(channel)
            else:
                self.groups.add(group)

    def unfollow(self, channel: str) -> None:
        """Stop following it; idempotent."""
        if channel in self.extra_channels:
            self.extra_channels.discard(channel)
            self._hub.unfollow(self, channel)

    @property
    def joined(self) -> frozenset[str]:
        """The channels of its groups and those of add-ons."""
        return frozenset(
            {recipients.group(name).channel for name in self.groups} | self.extra_channels
        )

    def deliver(self, frame: Frame) -> None:
        """Put a frame on its way; while the page is away the channels' histories keep it."""
        if self.link is not None:
            self.link.deliver(frame)

    def attach(self, link: Link) -> None:
        """Take a new connection; an older one is closed."""
        self.close(CloseCode.REPLACED)
        self.link = link
        reconnected, self._reconnected = self._reconnected, None
        if reconnected is not None:
            reconnected.set_result(None)

    def detach(self, link: Link) -> bool:
        """Note that a connection has ended; False if the page has another by now."""
        if self.link is not link:
            return False
        self.link = None
        return True

    async def wait_for_room(self) -> None:
        """Wait until the page is there and takes its messages."""
        while self.link is None:
            if self._reconnected is None:
                self._reconnected = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._reconnected)
        await self.link.wait_for_room()

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close the connection, if there is one."""
        if self.link is not None:
            self.link.close(code, reason)
