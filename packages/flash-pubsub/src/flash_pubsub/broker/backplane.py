"""The backplane of flash-ws over a broker, which connects the pages of all workers."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import msgpack

from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.memory import MemoryBroker
from flash_pubsub.broker.page_frames import (
    FRAME,
    PREFIX,
    SHORT_RETENTION,
    envelope_extras,
    frame_of,
    updates_of,
)
from flash_pubsub.broker.page_owners import PageOwners
from flash_pubsub.broker.seam import Retention
from flash_pubsub.errors import BrokerError, BrokerUnavailable, UnsupportedEnvelope
from flash_ws import Disconnect
from flash_ws.clients.backplane import GroupMessage, Moved
from flash_ws.protocol.channel import CatchUp
from flash_ws.protocol.frames import reset_frame, snapshot_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Broker, Publication
    from flash_ws.clients.backplane import ClientInfo, Deliver, OnCommand, OwnedByAnotherUser
    from flash_ws.protocol.frames import Frame, Message
    from flash_ws.protocol.position import Position

logger = limited_logger(__name__)

T = TypeVar("T")

COMMANDS = f"{PREFIX}orders"

# Kinds of the envelopes on this channel: a command for all workers, a message for the endpoint
# connections of a group, and a channel that is taken from a page.
COMMAND = "order"
TO_GROUP = "group"
UNSUBSCRIBE = "unsubscribe"

# The channel of all pages is not short-lived.
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
        self._owners = PageOwners(listeners, self.worker, client_ttl=client_ttl)
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
        self._publications_during_reset.clear()
        self._owners.clear()

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
            retention=_LONG_RETENTION if ":" not in channel else SHORT_RETENTION,
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
        frames = tuple(frame for each in missed if (frame := frame_of(channel, each)) is not None)
        return CatchUp(end, frames, recovered=True)

    async def _catch_up_from_snapshot(self, channel: str) -> CatchUp:
        name = PREFIX + channel
        snapshot = await self._broker.snapshot(name)
        await self._listeners.wait_until_delivered(name, snapshot.position)
        number = snapshot.position.number
        updates = updates_of(snapshot.values)
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
        frame = frame_of(name.removeprefix(PREFIX), publication)
        if frame is not None:
            self._deliver(frame)
        elif name.startswith(f"{PREFIX}page:"):
            moved = self._owners.take_change(publication)
            if moved is not None:
                self.spawn(self._owners.leave_list(moved))
                self._on_command(Moved(moved))

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
        self._deliver(reset_frame(channel, position, updates_of(snapshot.values)))
        since = self._publications_during_reset.pop(name)
        for publication in since:
            # Publications of another epoch came before the last reset.
            if (
                publication.position.epoch == position.epoch
                and publication.position.number > position.number
            ):
                self.deliver(publication)
        await self._owners.restore(channel.removeprefix("page:"))

    # -- clients ---------------------------------------------------------------------------------

    async def enter(self, client: ClientInfo) -> None:
        """Record that a client is connected to this worker."""
        await self._owners.enter(client)

    async def leave(self, client_id: str) -> None:
        """Record that a client has gone; idempotent, and errors of the broker are logged."""
        await self._owners.leave(client_id)

    async def clients(self) -> list[ClientInfo]:
        """Return the clients connected to any worker."""
        return await self._owners.clients()

    async def remember(self, client_id: str, channels: frozenset[str]) -> None:
        """Save the groups of a client; of several calls at once only the last is written."""
        await self._owners.remember(client_id, channels)

    async def resume(
        self, client_id: str, user: str | None
    ) -> frozenset[str] | OwnedByAnotherUser | None:
        """Make this worker the owner of a page and return the page's groups.

        The earlier owner is notified in the page's channel and forgets the page.
        """
        return await self._owners.resume(client_id, user)

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


def _nothing() -> None:
    """Do nothing."""


def _discard(_: Any) -> None:
    """Do nothing; stands for the callbacks that `start` sets."""
