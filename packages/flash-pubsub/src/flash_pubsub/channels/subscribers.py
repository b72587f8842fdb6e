"""The pages that subscribe to channels: authorization, following the channel, and the answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from flash_pubsub.channels.delivery import EVERY_WORKER, ONE_WORKER, page_channels_of
from flash_pubsub.channels.subscription import is_signed
from flash_pubsub.errors import BrokerError
from flash_ws import CloseCode, ProtocolError
from flash_ws.protocol.frames import connection_frame, parse_positions
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash import Flash
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.channels.declaration import Declarations
    from flash_ws import Client, Live

logger = logging.getLogger(__name__)

# Channels that one page may be subscribed to.
MAX_SUBSCRIPTIONS = 200

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


class Subscribers:
    """Subscribes the pages of one worker to the channels of their `Subscription` components."""

    def __init__(
        self,
        app: Flash,
        live: Live,
        declarations: Declarations,
        presence: PresenceTracker,
        backplane: BrokerBackplane,
    ) -> None:
        self._app = app
        self._live = live
        self._declarations = declarations
        self._presence = presence
        self._backplane = backplane

    async def subscribe(self, client: Client, frame: dict[str, Any]) -> None:
        """Handle a page's ``subscribe`` frame; raises `ProtocolError`."""
        channel, token = frame.get("channel"), frame.get("token")
        if not isinstance(channel, str):
            raise ProtocolError(CloseCode.MALFORMED, "'subscribe' needs a 'channel'")
        positions = parse_positions(frame["at"], len(KINDS)) if "at" in frame else None
        try:
            is_allowed = await self._is_allowed(client, channel, token)
            joins = (
                await self._start_following(client, channel, positions or {}) if is_allowed else []
            )
        except BrokerError as error:
            logger.warning("a page is disconnected and will reconnect: %s", error)
            client.close(CloseCode.FULL, "the broker is unavailable")
            return
        if not is_allowed:
            await self._stop_following(client, channel)
        status = "subscribed" if is_allowed else "denied"
        client.deliver(connection_frame("subscription", channel=channel, status=status))
        if is_allowed:
            self._backplane.spawn(
                self._report_catch_up(client, channel, joins, returns=positions is not None)
            )

    async def _start_following(
        self, client: Client, channel: str, positions: Mapping[str, tuple[str, int]]
    ) -> list[asyncio.Task[bool]]:
        """Let a page follow a channel from the positions that it reports, if any."""
        followed = client.extra_channels.union(self._live.hub.common)
        joins = [
            client.follow(each, Position(*positions[each]) if each in positions else None)
            for each in page_channels_of(self._declarations, channel)
            if each not in followed
        ]
        await self._presence.enter(client, channel)
        if self._live.hub.clients.get(client.id) is not client:
            # The page has gone meanwhile.
            await self._presence.leave_all(client)
        return joins

    async def _report_catch_up(
        self, client: Client, channel: str, joins: list[asyncio.Task[bool]], *, returns: bool
    ) -> None:
        """Tell a page that ``returns`` to a channel whether it got everything that it missed."""
        try:
            caught_up = await asyncio.gather(*joins)
        except BrokerError as error:
            logger.warning("a page is disconnected and will reconnect: %s", error)
            client.close(CloseCode.FULL, "the broker is unavailable")
            return
        followed = client.extra_channels.union(self._live.hub.common)
        if returns and f"{EVERY_WORKER}:{channel}" in followed:
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
        try:
            await self._stop_following(client, channel)
        except BrokerError as error:
            logger.warning("%s; the member expires instead", error)

    async def _stop_following(self, client: Client, channel: str) -> None:
        for kind in KINDS:
            client.unfollow(f"{kind}:{channel}")
        await self._presence.leave(client.id, channel)

    async def _is_allowed(self, client: Client, channel: str, token: object) -> bool:
        if not is_signed(self._app, channel, token):
            logger.warning("%r asked for channel %.80r without a valid signature", client, channel)
            return False
        if len(client.extra_channels) >= MAX_SUBSCRIPTIONS:
            logger.warning("%r is subscribed to %d channels already", client, MAX_SUBSCRIPTIONS)
            return False
        guards = [
            (guard, variables)
            for pattern, guard in self._declarations.guards
            if (variables := pattern.match(channel)) is not None
        ]
        if not guards:
            if channel in self._declarations.single_channels():
                return True
            logger.warning(
                "no page may subscribe to channel %.80r: declare who may with @pubsub.authorize(…)",
                channel,
            )
            return False
        async with client.handshake.active():
            for guard, variables in guards:
                try:
                    allowed = await self._app.pool.call(guard, client, **variables)
                except Exception:  # an application's function: a failure denies the subscription
                    logger.exception("authorize failed; the subscription of %r is denied", client)
                    allowed = False
                if not allowed:
                    return False
        return True
