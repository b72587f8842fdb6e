"""The backplane of flash-ws over a broker, which connects the pages of all workers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import msgpack

from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.memory import MemoryBroker
from flash_pubsub.broker.seam import Member, Retention
from flash_pubsub.errors import BrokerError, BrokerUnavailable, UnsupportedEnvelope
from flash_ws import ClientInfo, Disconnect
from flash_ws.clients.backplane import GroupMessage, Moved, OwnedByAnotherUser
from flash_ws.protocol.channel import CatchUp
from flash_ws.protocol.frames import Frame, Message, reset_frame, snapshot_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Broker, Publication
    from flash_ws.clients.backplane import Deliver, OnCommand
    from flash_ws.protocol.position import Position

logger = limited_logger(__name__)

T = TypeVar("T")

# The broker's names of page channels begin with this. Users cannot publish on such a channel.
PREFIX = "live:"
COMMANDS = f"{PREFIX}orders"
CLIENTS = f"{PREFIX}clients"

# Kinds of the envelopes on these channels: a frame for pages, a command for all workers, and the
# name of the worker that a page is connected to, its owner.
FRAME = "frame"
COMMAND = "order"
TO_GROUP = "group"
OWNER = "home"
UNSUBSCRIBE = "unsubscribe"

# The value in the snapshot of a page's channel with its owner, its groups and its user.
_OWNER = "@home"

# Channels of one page or of a group are short-lived; the channel of all pages is not.
_SHORT_RETENTION = Retention(max_values=1000, max_snapshot_bytes=1 << 20, max_idle=900.0)
_LONG_RETENTION = Retention(max_values=1000, max_snapshot_bytes=1 << 20)


# Commands are read as they arrive; what stays are the times of revocations, by user, for as long as
# Quart's sessions are valid by default.
_REVOKED = "revoked:"
_COMMANDS_RETENTION = Retention(
    max_values=10_000, max_snapshot_bytes=2 << 20, max_idle=31 * 86_400.0
)


class FrameSource(Protocol):
    """Produces the frames of page channels that do not carry pushes.

    Its methods are called as those of `flash_ws.Backplane`, with the full name of the channel.
    """

    async def follow(self, channel: str) -> None:
        """Deliver the channel's frames from now on."""
        ...

    async def unfollow(self, channel: str) -> None:
        """Stop delivering the channel's frames: no page of this worker follows it any more."""
        ...

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return the frames that a page at ``position`` missed."""
        ...


class BrokerBackplane:
    """A `flash_ws.Backplane` that carries pushes, groups and the list of clients over a broker.

    - ``client_ttl``: seconds after which the clients of a worker that died are no longer listed.
    - ``start_timeout``: seconds that `start` waits for the broker.
    """

    def __init__(
        self, listeners: Listeners, *, client_ttl: float = 30.0, start_timeout: float = 30.0
    ) -> None:
        self._listeners = listeners
        self._client_ttl = client_ttl
        self._start_timeout = start_timeout
        # The unique name of this worker.
        self.worker = secrets.token_urlsafe(9)
        # By the part of a page channel's name before the colon.
        self.sources: dict[str, FrameSource] = {}
        # Awaited when the broker has started, before any page connects.
        self.on_start: list[Callable[[], Coroutine[Any, Any, None]]] = []
        # Awaited by `close` before the broker is closed.
        self.on_close: list[Callable[[], Coroutine[Any, Any, None]]] = []
        # Called with a page and a channel that the app takes from it.
        self.on_unsubscribe: list[Callable[[str, str], object]] = []
        # Called if a page comes with a position that another process in memory has given it.
        self.on_foreign_position: Callable[[], object] = _nothing
        self._deliver: Deliver = _discard
        self._on_command: OnCommand = _discard
        # By channel that was reset: the publications that arrive while its snapshot is fetched.
        self._publications_during_reset: dict[str, list[Publication]] = {}
        # Those of these channels that were reset again meanwhile.
        self._reset_again: set[str] = set()
        # By page of this worker: the number of the publication that made this worker its owner.
        self._owned_since: dict[str, int] = {}
        # By page of this worker: its user, where known.
        self._users: dict[str, str | None] = {}
        # By page of this worker: its groups, and those groups that are not saved in the broker yet.
        self._groups: dict[str, frozenset[str]] = {}
        self._unsaved_groups: dict[str, frozenset[str]] = {}
        self._saving: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def _broker(self) -> Broker:
        # Not kept: a `PubSub` may get the broker of its app after this was made.
        return self._listeners.broker

    @property
    def spans_workers(self) -> bool:
        """Whether pages of a worker that stops can continue on another worker."""
        return not isinstance(self._broker, MemoryBroker)

    async def start(self, deliver: Deliver, on_command: OnCommand) -> None:
        """Start the broker; returns when publications of other workers arrive.

        Raises `BrokerUnavailable` if that takes longer than ``start_timeout``.
        """
        self._deliver, self._on_command = deliver, on_command
        await self._listeners.start()
        try:
            async with asyncio.timeout(self._start_timeout):
                await self._broker.ready()
        except TimeoutError:
            # Read before the broker is closed: then the reason is only that it is closed.
            cause = self._broker.status.reason or "no answer"
            await self._listeners.close()
            address = getattr(self._broker, "address", None)
            name = "the broker" if address is None else f"Redis at {address}"
            # One line for the operator; the traceback of the wait would say nothing.
            raise BrokerUnavailable(
                "start",
                f"{name} did not answer within {self._start_timeout:g} s: {cause}; "
                f"{_remedy(cause)}",
            ) from None
        await self._listeners.listen(COMMANDS, self)
        await self._read_revocations()
        for each in self.on_start:
            await each()

    async def close(self) -> None:
        """Stop the tasks of this worker and close the broker."""
        for each in self.on_close:
            await each()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listeners.close()
        # The backplane may be started again.
        for cache in (
            self._publications_during_reset,
            self._owned_since,
            self._users,
            self._groups,
            self._unsaved_groups,
        ):
            cache.clear()

    # -- messages --------------------------------------------------------------------------------

    async def publish(self, channel: str, message: Message) -> Position:
        """Number a message and deliver it to every worker."""
        return await self._broker.publish(
            PREFIX + channel,
            Envelope(FRAME, message.members.encode(), extras=envelope_extras(message)).pack(),
            changes={
                f"{component_id}\t{prop}": None if value is None else value.encode()
                for component_id, prop, value in message.values
            },
            retention=_LONG_RETENTION if ":" not in channel else _SHORT_RETENTION,
        )

    def position(self, channel: str) -> Position | None:
        """Return the position up to which this worker has delivered the channel; any thread."""
        return self._listeners.position(PREFIX + channel)

    async def follow(self, channel: str) -> None:
        """Deliver this channel's frames to this worker from now on."""
        source = self._source_of(channel)
        if source is not None:
            await source.follow(channel)
        else:
            await self._listeners.listen(PREFIX + channel, self)

    async def unfollow(self, channel: str) -> None:
        """Stop delivering the channel: no page of this worker follows it any more."""
        source = self._source_of(channel)
        if source is not None:
            await source.unfollow(channel)
        else:
            await self._listeners.unlisten(PREFIX + channel, self)

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return the frames after ``position``, exactly up to the one that is delivered next."""
        source = self._source_of(channel)
        if source is not None:
            return await source.catch_up(channel, position)
        name = PREFIX + channel
        here = self._listeners.position(name)
        if here is None or name in self._publications_during_reset:
            here = await self._broker.position(name)
        if position is None or position == here:
            return CatchUp(here, (), recovered=True)
        if position.epoch != here.epoch and not self.spans_workers:
            self.on_foreign_position()
        missed = await self._broker.since(name, position)
        if missed is None:
            return await self._catch_up_from_snapshot(channel)
        end = missed[-1].position if missed else position
        # Wait, or pages would get frames twice: the next delivery must come after ``end``.
        await self._listeners.wait_until_delivered(name, end)
        frames = tuple(frame for each in missed if (frame := _frame(channel, each)) is not None)
        return CatchUp(end, frames, recovered=True)

    async def _catch_up_from_snapshot(self, channel: str) -> CatchUp:
        name = PREFIX + channel
        snapshot = await self._broker.snapshot(name)
        await self._listeners.wait_until_delivered(name, snapshot.position)
        number = snapshot.position.number
        updates = _updates(snapshot.values)
        frames = (snapshot_frame(channel, number, updates),) if updates != "[]" else ()
        return CatchUp(snapshot.position, frames, recovered=False)

    def _source_of(self, channel: str) -> FrameSource | None:
        return self.sources.get(channel.partition(":")[0])

    # -- from the broker -------------------------------------------------------------------------

    def deliver(self, publication: Publication) -> None:
        """Pass a publication to the pages of this worker."""
        name = publication.channel
        if name in self._publications_during_reset:
            self._publications_during_reset[name].append(publication)
            return
        if name == COMMANDS:
            self._handle_command(publication)
            return
        frame = _frame(name.removeprefix(PREFIX), publication)
        if frame is not None:
            self._deliver(frame)
        elif name.startswith(f"{PREFIX}page:"):
            self._handle_owner_change(publication)

    def reset(self, channel: str, position: Position) -> None:
        """Fetch a channel's snapshot and send it to the pages that follow the channel."""
        del position
        if channel in self._publications_during_reset:
            self._reset_again.add(channel)
        elif channel != COMMANDS:
            self._publications_during_reset[channel] = []
            self.spawn(self._reload_state(channel))

    async def _reload_state(self, name: str) -> None:
        channel = name.removeprefix(PREFIX)
        while True:
            self._reset_again.discard(name)
            snapshot = await self.retry_until_available(lambda: self._broker.snapshot(name))
            if name not in self._reset_again:
                break
        position = snapshot.position
        self._deliver(reset_frame(channel, position, _updates(snapshot.values)))
        since = self._publications_during_reset.pop(name)
        for publication in since:
            # Publications of another epoch came before the last reset.
            if (
                publication.position.epoch == position.epoch
                and publication.position.number > position.number
            ):
                self.deliver(publication)
        page_id = channel.removeprefix("page:")
        if page_id in self._owned_since:
            # The store has lost the page's owner as well.
            self._owned_since[page_id] = 0
            await self.remember(page_id, self._groups.get(page_id, frozenset()))

    # -- clients ---------------------------------------------------------------------------------

    async def enter(self, client: ClientInfo) -> None:
        """Record that a client is connected to this worker."""
        data = msgpack.packb([client.user, client.path, client.connected_at])
        member = Member(f"{client.id}@{self.worker}", cast("bytes", data))
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
                    retention=_SHORT_RETENTION,
                )
            await self._broker.leave(CLIENTS, f"{client_id}@{self.worker}")
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
            "bytes", msgpack.packb([self.worker, sorted(joined), self._users.get(client_id)])
        )
        position = await self._broker.publish(
            f"{PREFIX}page:{client_id}",
            Envelope(OWNER, b"", extras={"worker": self.worker}).pack(),
            changes={_OWNER: value},
            retention=_SHORT_RETENTION,
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

    def _handle_owner_change(self, publication: Publication) -> None:
        """Forget a page that is connected to another worker by now."""
        try:
            envelope = Envelope.unpack(publication.payload)
        except UnsupportedEnvelope:
            return
        client_id = publication.channel.removeprefix(f"{PREFIX}page:")
        worker = envelope.extras.get("worker")
        owned_since = self._owned_since.get(client_id)
        if envelope.kind != OWNER or worker in ("", self.worker) or owned_since is None:
            return
        if publication.position.number > owned_since:
            del self._owned_since[client_id]
            self._unsaved_groups.pop(client_id, None)
            self._groups.pop(client_id, None)
            self._users.pop(client_id, None)
            self.spawn(self._broker.leave(CLIENTS, f"{client_id}@{self.worker}"))
            self._on_command(Moved(client_id))

    # -- commands --------------------------------------------------------------------------------

    async def broadcast_command(self, command: Disconnect) -> None:
        """Send a command to every worker."""
        extras: dict[str, Any] = {"client": command.client, "user": command.user}
        changes: dict[str, bytes | None] = {}
        if command.user is not None and command.revoked_at is not None:
            extras["revoked_at"] = command.revoked_at
            # Workers that start later read it.
            changes[f"{_REVOKED}{command.user}"] = cast("bytes", msgpack.packb(command.revoked_at))
        await self._broker.publish(
            COMMANDS,
            Envelope(COMMAND, b"", extras=extras).pack(),
            changes=changes,
            retention=_COMMANDS_RETENTION,
        )

    async def unsubscribe(self, client_id: str, channel: str) -> None:
        """Have every worker call `on_unsubscribe` with a page and a channel."""
        extras = {"page": client_id, "channel": channel}
        await self._broker.publish(
            COMMANDS,
            Envelope(UNSUBSCRIBE, b"", extras=extras).pack(),
            retention=_COMMANDS_RETENTION,
        )

    async def _read_revocations(self) -> None:
        snapshot = await self._broker.snapshot(COMMANDS)
        for name, value in snapshot.values.items():
            if name.startswith(_REVOKED):
                user = name.removeprefix(_REVOKED)
                self._on_command(Disconnect(user=user, revoked_at=msgpack.unpackb(value)))

    async def send_to_groups(self, message: GroupMessage) -> None:
        """Send a message to the endpoint connections of a group on every other worker."""
        is_text = isinstance(message.message, str)
        payload = message.message.encode() if isinstance(message.message, str) else message.message
        extras = {"group": message.group, "text": is_text, "worker": self.worker}
        await self._broker.publish(COMMANDS, Envelope(TO_GROUP, payload, extras=extras).pack())

    def _handle_command(self, publication: Publication) -> None:
        try:
            envelope = Envelope.unpack(publication.payload)
        except UnsupportedEnvelope as error:
            logger.warning("channel %r: %s", COMMANDS, error)
            return
        if envelope.kind == TO_GROUP:
            self._handle_group_message(envelope)
            return
        extras = envelope.extras
        if envelope.kind == UNSUBSCRIBE:
            for each in self.on_unsubscribe:
                each(extras["page"], extras["channel"])
            return
        self._on_command(
            Disconnect(
                client=extras.get("client"),
                user=extras.get("user"),
                revoked_at=extras.get("revoked_at"),
            )
        )

    def _handle_group_message(self, envelope: Envelope) -> None:
        group, worker = envelope.extras.get("group"), envelope.extras.get("worker")
        if worker == self.worker or not isinstance(group, str):
            return
        body = envelope.body
        self._on_command(
            GroupMessage(group, body.decode() if envelope.extras.get("text") else body)
        )

    # -- tasks -----------------------------------------------------------------------------------

    def deliver_frame(self, frame: Frame) -> None:
        """Deliver a frame of a `FrameSource` to the pages of this worker."""
        self._deliver(frame)

    async def retry_until_available(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Call ``work`` until it raises no `BrokerError`; returns its result."""
        wait = 0.1
        while True:
            try:
                return await work()
            except BrokerError as error:
                logger.warning("%s; trying again in %.1f s", error, wait)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 2.0)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in a task that `close` cancels; its exceptions are logged."""

        async def run() -> None:
            try:
                await work
            except BrokerError as error:
                logger.warning("%s", error)
            except BaseException as error:
                # The boundary of a task that nobody awaits.
                if ends_task(error):
                    raise
                logger.exception("a task of flash-pubsub failed")

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before it runs never awaits it.
        task.add_done_callback(lambda _: work.close())
        return task


# What to do, by a part of what Redis said; in this order.
_REMEDIES = (
    (
        ("username-password", "NOAUTH", "WRONGPASS", "Authentication"),
        "check user and password in the address (broker=, FLASH_BROKER_URL)",
    ),
    (
        ("no permission", "NOPERM"),
        "allow the user this command, its keys and its channels (ACL SETUSER)",
    ),
    (("unknown command",), "use Redis 6.2 or later, with its scripts and pub/sub"),
    (("maxmemory", "read only", "RDB snapshots", "good replicas"), "let Redis accept writes again"),
    (("loading the dataset", "no answer"), "raise PubSub(start_timeout=…) if it only needs longer"),
)


def _remedy(cause: str) -> str:
    """Return what an operator can do about a start that failed with this cause."""
    for parts, remedy in _REMEDIES:
        if any(part in cause for part in parts):
            return remedy
    return "see that Redis runs there and that this machine reaches it"


def client_info(member: Member) -> ClientInfo:
    """Decode the member that `BrokerBackplane.enter` wrote."""
    user, path, connected_at = msgpack.unpackb(member.data)
    return ClientInfo(member.id.rpartition("@")[0], user, path, connected_at)


def envelope_extras(message: Message) -> dict[str, Any]:
    """Return the envelope's extras of a message: the properties that it sets or builds on."""
    extras: dict[str, Any] = {}
    with contextlib.suppress(TypeError, ValueError):
        if message.sets:
            extras["sets"] = [list(cast("tuple[str, str]", key)) for key in message.sets]
        if message.touches:
            extras["touches"] = [list(cast("tuple[str, str]", key)) for key in message.touches]
    return extras


def _frame(channel: str, publication: Publication) -> Frame | None:
    """Return the frame that a publication carries; None if it carries something else."""
    try:
        envelope = Envelope.unpack(publication.payload)
    except UnsupportedEnvelope as error:
        logger.warning("channel %r: %s", channel, error)
        return None
    if envelope.kind != FRAME:
        return None
    extras = envelope.extras
    message = Message(
        envelope.body.decode(),
        sets=_keys(extras.get("sets", ())),
        touches=_keys(extras.get("touches", ())),
    )
    return message.numbered(channel, publication.position.number)


def _keys(pairs: Any) -> frozenset[Any]:
    return frozenset(tuple(pair) for pair in pairs)


def _updates(values: Mapping[str, bytes]) -> str:
    """Encode a snapshot as the member ``u`` of a frame."""
    entries: list[str] = []
    for name, value in values.items():
        component_id, tab, prop = name.partition("\t")
        if tab:
            entries.append(f"[{component_id},{{{prop}:{value.decode()}}}]")
    return f"[{','.join(entries)}]"


def _nothing() -> None:
    """Do nothing."""


def _discard(_: Any) -> None:
    """Do nothing; stands for the callbacks that `start` sets."""
