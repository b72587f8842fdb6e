"""The pages that subscribe to channels: authorization, following the channel, and the answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from flash.access.admission import Recheck
from flash.log_limit import limited_logger
from flash_pubsub.channels.declaration import EVERY_WORKER, ONE_WORKER
from flash_pubsub.channels.permission import Permissions
from flash_pubsub.channels.subscription import is_signed
from flash_pubsub.errors import BrokerError
from flash_ws import CloseCode, ProtocolError
from flash_ws.callbacks.deferred import hub_of
from flash_ws.protocol.frames import connection_frame, parse_positions
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flash import Flash
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.channels.declaration import Declarations
    from flash_ws import Live
    from flash_ws.clients.client import LinkedClient as Client

logger = limited_logger(__name__)

# Channels that one page may be subscribed to.
MAX_SUBSCRIPTIONS = 200

# What a `subscribe` frame may ask for besides the results of channel callbacks, and the kinds of
# page channels that carry it: of a `Room` and of a `Present`.
EXTRA_KINDS = {"room": ("shared", "room"), "present": ("present",)}
_ALL_EXTRA_KINDS = ("shared", "room", "present")

# The kinds of page channels that carry the results of one channel's callbacks.
KINDS = (EVERY_WORKER, ONE_WORKER)


class PresenceTracker(Protocol):
    """Records which page is present on which channel; implemented by `Presence`."""

    async def enter(self, client: Client, channel: str) -> None:
        """Add a page to the members of a channel; idempotent."""
        ...

    async def leave(self, client_id: str, channel: str) -> None:
        """Remove a page from the members of a channel; idempotent."""
        ...

    async def leave_all(self, client: Client) -> None:
        """Remove a page from the members of all channels."""
        ...


class Rooms(Protocol):
    """What the app's shared callbacks say about rooms; implemented by `SharedRooms`."""

    def has_state(self, room: str) -> bool:
        """Tell whether a shared callback belongs to this room."""
        ...

    def is_open_to_all(self, room: str) -> bool:
        """Tell whether this is the one room of a callback, whose pattern has no variables."""
        ...

    def is_from_url(self, room: str) -> bool:
        """Tell whether the URL of a page may name this room, which then needs no signature."""
        ...

    def has_place(self, room: str) -> bool:
        """Tell whether a page may enter a room: its name is not too long, and there is a place."""
        ...


@dataclass(eq=False, slots=True)
class _Request:
    """A page's request for a channel, which runs in a task of its own."""

    task: asyncio.Task[Any] | None = None
    # Whether the application is still being asked. A newer request then replaces this one.
    is_asking: bool = True

    def give_up(self) -> asyncio.Task[Any] | None:
        """Cancel the request if it is asking; otherwise return its task, to wait for it."""
        if self.is_asking and self.task is not None:
            self.task.cancel()
            return None
        return self.task


@dataclass(frozen=True, slots=True)
class _Start:
    """From where a page follows a channel."""

    # By page channel, where a page that has followed it before has stopped; None for others.
    positions: Mapping[str, tuple[str, int]] | None
    # The position from which its layout was drawn, for a page that has not followed it yet.
    since: Position | None

    @property
    def has_position(self) -> bool:
        """Whether the page says where it begins."""
        return self.positions is not None or self.since is not None

    def begins(self, page_channel: str) -> bool:
        """Return whether the page begins at the position of its layout."""
        is_numbered = page_channel.startswith(f"{EVERY_WORKER}:")
        return self.since is not None and is_numbered and page_channel not in (self.positions or {})

    def position(self, page_channel: str) -> Position | None:
        """Return where the page begins; None for the present."""
        known = (self.positions or {}).get(page_channel)
        if known is not None:
            return Position(*known)
        return self.since if self.begins(page_channel) else None


class Subscribers:
    """Subscribes the pages of one worker to the channels of their `Subscription` components.

    The application's `authorize` functions run in tasks: no other frame of a page waits for them.
    """

    def __init__(
        self,
        app: Flash,
        live: Live,
        declarations: Declarations,
        presence: PresenceTracker,
        backplane: BrokerBackplane,
        rooms: Rooms,
    ) -> None:
        self._app = app
        self._live = live
        self._declarations = declarations
        self._permissions = Permissions(app, declarations)
        self._presence = presence
        self._backplane = backplane
        self._rooms = rooms
        # By client and channel, the request that has not ended.
        self._requests: dict[str, dict[str, _Request]] = {}
        # By client and channel, the repetition of `authorize` for a subscription.
        self._rechecks: dict[str, dict[str, Recheck]] = {}

    async def subscribe(self, client: Client, frame: dict[str, Any]) -> None:
        """Handle a page's ``subscribe`` frame; raises `ProtocolError`."""
        channel, token = frame.get("channel"), frame.get("token")
        if not isinstance(channel, str):
            raise ProtocolError(CloseCode.MALFORMED, "'subscribe' needs a 'channel'")
        positions = parse_positions(frame["at"], len(KINDS)) if "at" in frame else None
        wants = _wants(frame)
        since = _parse_since(frame)
        is_named_by_url = token is None and since is None and self._rooms.is_from_url(channel)
        if not is_named_by_url and not is_signed(self._app, channel, token, since):
            logger.warning("%r asked for channel %.80r without a valid signature", client, channel)
            await self._deny(client, channel)
            return
        if self._permissions.is_withdrawn(client, channel):
            await self._deny(client, channel)
            return
        requests = self._requests.setdefault(client.id, {})
        earlier = requests.get(channel)
        before = None if earlier is None else earlier.give_up()
        request = requests[channel] = _Request()
        request.task = self._backplane.spawn(
            self._process(client, channel, _Start(positions, since), wants, request, before)
        )
        request.task.add_done_callback(lambda _: self._end(client.id, channel, request))

    def withdraw(self, client_id: str, channel: str) -> None:
        """Take a channel from a page for as long as the page is loaded; returns at once."""
        self._permissions.withdraw(client_id, channel)
        client = hub_of(self._app).clients.get(client_id)
        if client is not None:
            self._backplane.spawn(self._end_subscription(client, channel))

    async def _end_subscription(self, client: Client, channel: str) -> None:
        await self._give_up(client, channel)
        await self._deny(client, channel)

    async def _give_up(self, client: Client, channel: str) -> None:
        """End the request of a page for a channel that has not ended, and wait for it."""
        earlier = self._requests.get(client.id, {}).pop(channel, None)
        before = None if earlier is None else earlier.give_up()
        if before is not None:
            await asyncio.wait({before})

    def _recheck(self, client: Client, channel: str) -> None:
        """Ask `authorize` again while the page is subscribed, if `Live` has an interval."""
        interval = self._live.recheck_interval
        guards = self._permissions.guards(channel)
        if interval is None or not guards:
            return
        self._stop_recheck(client.id, channel)
        self._rechecks.setdefault(client.id, {})[channel] = Recheck(
            lambda: self._permissions.ask(client, channel, guards),
            interval,
            lambda: self._backplane.spawn(self._end_subscription(client, channel)),
        )

    def _stop_recheck(self, client_id: str, channel: str) -> None:
        rechecks = self._rechecks.get(client_id, {})
        recheck = rechecks.pop(channel, None)
        if recheck is not None:
            recheck.stop()
        if not rechecks:
            self._rechecks.pop(client_id, None)

    def _end(self, client_id: str, channel: str, request: _Request) -> None:
        requests = self._requests.get(client_id, {})
        if requests.get(channel) is request:
            del requests[channel]
        if not requests:
            self._requests.pop(client_id, None)

    async def _deny(self, client: Client, channel: str) -> None:
        try:
            await self._stop_following(client, channel)
        except BrokerError as error:
            logger.warning("%s; the member expires instead", error)
        client.deliver(connection_frame("subscription", channel=channel, status="denied"))

    async def _process(
        self,
        client: Client,
        channel: str,
        start: _Start,
        wants: Sequence[str],
        request: _Request,
        before: asyncio.Task[Any] | None,
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        await client.wait_until_introduced()
        is_allowed = await self._is_allowed(client, channel)
        if self._requests.get(client.id, {}).get(channel) is not request:
            # The page is gone or has changed its mind, and the function suppressed cancellation.
            return
        request.is_asking = False
        if is_allowed and "shared" in wants and self._rooms.has_state(channel):
            is_allowed = self._rooms.has_place(channel)
            if not is_allowed:
                logger.warning(
                    "%r cannot enter room %.80r: its name is too long, or this worker has as many "
                    "rooms as PubSub(max_rooms=…) allows",
                    client,
                    channel,
                )
        if not is_allowed:
            await self._deny(client, channel)
            return
        try:
            joins = await self._start_following(client, channel, start, wants)
        except (BrokerError, ConnectionError) as error:
            logger.warning("a page is disconnected and will reconnect: %s", error)
            client.close(CloseCode.FULL, "the broker is unavailable")
            return
        client.deliver(connection_frame("subscription", channel=channel, status="subscribed"))
        self._recheck(client, channel)
        self._backplane.spawn(
            self._report_catch_up(client, channel, joins, has_position=start.has_position)
        )

    async def _start_following(
        self, client: Client, channel: str, start: _Start, wants: Sequence[str]
    ) -> list[asyncio.Task[bool]]:
        """Let a page follow a channel from the positions that it reports, if any."""
        hub = hub_of(self._app)
        followed = client.extra_channels.union(hub.common)
        extra = [kind for kind in wants if kind != "shared" or self._rooms.has_state(channel)]
        for kind in _ALL_EXTRA_KINDS:
            if kind not in extra:
                client.unfollow(f"{kind}:{channel}")
        names = self._declarations.page_channels(channel)
        names += [f"{kind}:{channel}" for kind in extra]
        new = [each for each in names if each not in followed]
        # First, since handlers of the join may push to the channel and the room at once.
        try:
            await hub.followers.prepare(new)
        except (BrokerError, ConnectionError):
            hub.followers.release_unused(new)
            raise
        if hub.clients.get(client.id) is not client:
            hub.followers.release_unused(new)
            return []
        joins: list[asyncio.Task[bool]] = []
        for each in names:
            position = start.position(each)
            begins_anew = start.begins(each)
            if each in hub.common and begins_anew:
                # It follows the channel since it was loaded, and goes back to this position.
                joins.append(hub.join(client, each, position))
            elif each not in followed or begins_anew:
                joins.append(client.follow(each, position))
            if begins_anew and position is not None:
                # The page ignores the channel's frames that are sent before this one.
                at = {each: (position.epoch, position.number)}
                client.deliver(connection_frame("at", at=at))
        await self._presence.enter(client, channel)
        if hub.clients.get(client.id) is not client:
            # The page has gone meanwhile.
            await self._presence.leave_all(client)
        return joins

    async def _report_catch_up(
        self, client: Client, channel: str, joins: list[asyncio.Task[bool]], *, has_position: bool
    ) -> None:
        """Tell a page that has a position whether it got everything that came after it."""
        try:
            caught_up = await asyncio.gather(*joins)
        except BrokerError as error:
            logger.warning("a page is disconnected and will reconnect: %s", error)
            client.close(CloseCode.FULL, "the broker is unavailable")
            return
        followed = client.extra_channels.union(hub_of(self._app).common)
        if has_position and f"{EVERY_WORKER}:{channel}" in followed:
            client.deliver(
                connection_frame(
                    "subscription", channel=channel, status="subscribed", recovered=all(caught_up)
                )
            )

    async def unsubscribe(self, client: Client, frame: dict[str, Any]) -> None:
        """Handle a page's ``unsubscribe`` frame; raises `ProtocolError`."""
        channel = frame.get("channel")
        if not isinstance(channel, str):
            raise ProtocolError(CloseCode.MALFORMED, "'unsubscribe' needs a 'channel'")
        await self._give_up(client, channel)
        try:
            await self._stop_following(client, channel)
        except BrokerError as error:
            logger.warning("%s; the member expires instead", error)

    async def forget(self, client: Client) -> None:
        """End the requests of a page that is gone."""
        for channel in tuple(self._rechecks.get(client.id, ())):
            self._stop_recheck(client.id, channel)
        requests = self._requests.pop(client.id, {}).values()
        before = [task for each in requests if (task := each.give_up()) is not None]
        if before:
            await asyncio.wait(before)

    async def _stop_following(self, client: Client, channel: str) -> None:
        self._stop_recheck(client.id, channel)
        for kind in (*KINDS, *_ALL_EXTRA_KINDS):
            client.unfollow(f"{kind}:{channel}")
        await self._presence.leave(client.id, channel)

    async def _is_allowed(self, client: Client, channel: str) -> bool:
        others = {each.partition(":")[2] for each in client.extra_channels} - {channel}
        if len(others) >= MAX_SUBSCRIPTIONS:
            logger.warning("%r is subscribed to %d channels already", client, MAX_SUBSCRIPTIONS)
            return False
        guards = self._permissions.guards(channel)
        if not guards:
            if channel in self._declarations.single_channels():
                return True
            if self._rooms.is_open_to_all(channel):
                return True
            logger.warning(
                "no page may subscribe to channel %.80r: declare who may with @pubsub.authorize(…)",
                channel,
            )
            return False
        return await self._permissions.allow(client, channel, guards)


def _wants(frame: Mapping[str, Any]) -> list[str]:
    """Return the kinds of page channels that a ``subscribe`` frame asks for besides `KINDS`."""
    given: object = frame.get("with", [])
    if not isinstance(given, list) or not set(map(str, cast("list[Any]", given))) <= set(
        EXTRA_KINDS
    ):
        raise ProtocolError(CloseCode.MALFORMED, "'with' holds only 'room' and 'present'")
    return [kind for name, kinds in EXTRA_KINDS.items() if name in given for kind in kinds]


def _parse_since(frame: dict[str, Any]) -> Position | None:
    """Return the position in a ``subscribe`` frame; raises `ProtocolError`."""
    match frame.get("since"):
        case None:
            return None
        case [str() as epoch, int() as number]:
            return Position(epoch, number)
        case _:
            raise ProtocolError(CloseCode.MALFORMED, "'since' is no [epoch, number]")
