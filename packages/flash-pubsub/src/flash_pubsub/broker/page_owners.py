"""Which worker a page is connected to, its owner, and which clients all workers have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import msgpack

from flash.log_limit import limited_logger
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.page_frames import PREFIX, SHORT_RETENTION
from flash_pubsub.broker.seam import Member
from flash_pubsub.errors import BrokerError, UnsupportedEnvelope
from flash_ws import ClientInfo
from flash_ws.clients.backplane import OwnedByAnotherUser

if TYPE_CHECKING:
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Broker, Publication

logger = limited_logger(__name__)

# The broker's list of the clients of all workers.
CLIENTS = f"{PREFIX}clients"

# The kind of the envelope that names the owner of a page, in the page's channel.
OWNER = "home"

# The value in the snapshot of a page's channel with its owner, its groups and its user.
_OWNER = "@home"


class PageOwners:
    """The pages of one worker, as the broker has them: their owner, their groups, their user.

    - ``worker``: the unique name of this worker.
    - ``client_ttl``: seconds after which the clients of a worker that died are no longer listed.
    """

    def __init__(self, listeners: Listeners, worker: str, *, client_ttl: float) -> None:
        self._listeners = listeners
        self._worker = worker
        self._client_ttl = client_ttl
        # By page of this worker: the number of the publication that made this worker its owner.
        self._owned_since: dict[str, int] = {}
        # By page of this worker: its user, where known.
        self._users: dict[str, str | None] = {}
        # By page of this worker: its groups, and those groups that are not saved in the broker yet.
        self._groups: dict[str, frozenset[str]] = {}
        self._unsaved_groups: dict[str, frozenset[str]] = {}
        self._saving: set[str] = set()

    @property
    def _broker(self) -> Broker:
        # Not kept: a `PubSub` may get the broker of its app after this was made.
        return self._listeners.broker

    async def enter(self, client: ClientInfo) -> None:
        """Record that a client is connected to this worker."""
        data = msgpack.packb([client.user, client.path, client.connected_at])
        member = Member(f"{client.id}@{self._worker}", cast("bytes", data))
        await self._broker.enter(CLIENTS, member, self._client_ttl)
        self._users[client.id] = client.user
        if client.id not in self._owned_since:
            await self._write_owner(client.id, frozenset())

    async def leave(self, client_id: str) -> None:
        """Record that a client has gone; idempotent, and errors of the broker are logged."""
        self._unsaved_groups.pop(client_id, None)
        self._groups.pop(client_id, None)
        self._users.pop(client_id, None)
        try:
            if self._owned_since.pop(client_id, None) is not None:
                await self._broker.publish(
                    f"{PREFIX}page:{client_id}",
                    Envelope(OWNER, b"", extras={"worker": ""}).pack(),
                    changes={_OWNER: None},
                    retention=SHORT_RETENTION,
                )
            await self.leave_list(client_id)
        except BrokerError as error:
            logger.warning("%s; the record of the page expires instead", error)

    async def clients(self) -> list[ClientInfo]:
        """Return the clients connected to any worker."""
        found: dict[str, ClientInfo] = {}
        for member in await self._broker.members(CLIENTS):
            info = client_info(member)
            known = found.get(info.id)
            if known is None or known.connected_at < info.connected_at:
                found[info.id] = info
        return list(found.values())

    async def remember(self, client_id: str, channels: frozenset[str]) -> None:
        """Save the groups of a client; of several calls at once only the last is written."""
        self._unsaved_groups[client_id] = channels
        if client_id in self._saving:
            return
        self._saving.add(client_id)
        try:
            while client_id in self._unsaved_groups:
                joined = self._unsaved_groups.pop(client_id)
                try:
                    await self._write_owner(client_id, joined)
                except BrokerError as error:
                    logger.warning("%s; the groups of a page are saved again in 1 s", error)
                    self._unsaved_groups.setdefault(client_id, joined)
                    await asyncio.sleep(1)
        finally:
            self._saving.discard(client_id)

    async def _write_owner(self, client_id: str, joined: frozenset[str]) -> None:
        self._groups[client_id] = joined
        value = cast(
            "bytes", msgpack.packb([self._worker, sorted(joined), self._users.get(client_id)])
        )
        position = await self._broker.publish(
            f"{PREFIX}page:{client_id}",
            Envelope(OWNER, b"", extras={"worker": self._worker}).pack(),
            changes={_OWNER: value},
            retention=SHORT_RETENTION,
        )
        self._owned_since[client_id] = position.number

    async def resume(
        self, client_id: str, user: str | None
    ) -> frozenset[str] | OwnedByAnotherUser | None:
        """Make this worker the owner of a page and return the page's groups.

        The earlier owner is notified in the page's channel and forgets the page.
        """
        snapshot = await self._broker.snapshot(f"{PREFIX}page:{client_id}")
        owner = snapshot.values.get(_OWNER)
        if owner is None:
            return None
        _, channels, known_user = msgpack.unpackb(owner)
        if known_user != user:
            return OwnedByAnotherUser()
        self._users[client_id] = user
        joined = frozenset(cast("list[str]", channels))
        await self._write_owner(client_id, joined)
        return joined

    def take_change(self, publication: Publication) -> str | None:
        """Return the page that is connected to another worker by now, which is forgotten here."""
        try:
            envelope = Envelope.unpack(publication.payload)
        except UnsupportedEnvelope:
            return None
        client_id = publication.channel.removeprefix(f"{PREFIX}page:")
        worker = envelope.extras.get("worker")
        owned_since = self._owned_since.get(client_id)
        if envelope.kind != OWNER or worker in ("", self._worker) or owned_since is None:
            return None
        if publication.position.number <= owned_since:
            return None
        del self._owned_since[client_id]
        self._unsaved_groups.pop(client_id, None)
        self._groups.pop(client_id, None)
        self._users.pop(client_id, None)
        return client_id

    async def leave_list(self, client_id: str) -> None:
        """Remove a page from the list of clients of this worker."""
        await self._broker.leave(CLIENTS, f"{client_id}@{self._worker}")

    async def restore(self, client_id: str) -> None:
        """Write the owner of a page of this worker again, because the store has lost it."""
        if client_id in self._owned_since:
            self._owned_since[client_id] = 0
            await self.remember(client_id, self._groups.get(client_id, frozenset()))

    def clear(self) -> None:
        """Forget all pages."""
        for cache in (self._owned_since, self._users, self._groups, self._unsaved_groups):
            cache.clear()


def client_info(member: Member) -> ClientInfo:
    """Decode the member that `PageOwners.enter` wrote."""
    user, path, connected_at = msgpack.unpackb(member.data)
    return ClientInfo(member.id.rpartition("@")[0], user, path, connected_at)
