"""Callbacks with ``once``: one worker of the deployment runs them, for every message in order."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

import msgpack

from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.leases import run_while_leading
from flash_pubsub.broker.page_frames import FRAME, PREFIX, envelope_extras
from flash_pubsub.channels.declaration import ONE_WORKER
from flash_pubsub.channels.history import BrokerReader
from flash_pubsub.errors import PayloadTooLarge
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Lease, Publication
    from flash_pubsub.channels.declaration import MatchedCallback
    from flash_pubsub.channels.runner import CallbackRunner

logger = logging.getLogger(__name__)

# The value in the snapshot of a `ONE_WORKER` channel: the position of the last message processed.
_PROCESSED_UP_TO = "@upto"


class OnceConsumer:
    """Runs callbacks on one worker of the deployment, for every message in order.

    The result and the position of the message are published in one step. When a worker dies during
    a callback, another worker runs the callback again with the same message.
    """

    def __init__(
        self,
        runner: CallbackRunner,
        listeners: Listeners,
        channel: str,
        callbacks: list[MatchedCallback],
        *,
        lease_ttl: float,
    ) -> None:
        self._runner = runner
        self._listeners = listeners
        self._lease_ttl = lease_ttl
        self._channel = channel
        self._callbacks = callbacks
        self._results_channel = f"{PREFIX}{ONE_WORKER}:{channel}"
        # Where to begin if no worker has run the callbacks yet.
        self.start_position = Position("", 0)
        # Set when a message arrives; None while another worker runs the callbacks.
        self._new_message: asyncio.Event | None = None

    def deliver(self, publication: Publication) -> None:
        """Wake the consumer, if it runs on this worker."""
        del publication
        if self._new_message is not None:
            self._new_message.set()

    async def lead(self) -> None:
        """Run the callbacks while this worker holds the lease; never returns."""
        broker = self._listeners.broker
        await run_while_leading(
            broker,
            ONE_WORKER,
            self._lease_ttl,
            self._consume,
            channel=self._results_channel,
        )

    async def _consume(self, lease: Lease) -> None:
        done = await self._load_position(lease)
        new_message = self._new_message = asyncio.Event()
        try:
            while True:
                done, missed = await self._read_after(done)
                for publication in missed:
                    await self._run(publication, lease)
                    done = publication.position
                await new_message.wait()
                new_message.clear()
        finally:
            self._new_message = None

    async def _read_after(self, done: Position) -> tuple[Position, Sequence[Publication]]:
        """Return the messages after ``done`` that are kept, and the position before the first.

        Counts and reports those that the history no longer has.
        """
        missed = await self._listeners.broker.since(self._channel, done)
        if missed is not None:
            return done, missed
        kept = await BrokerReader(self._listeners.broker).kept(self._channel, done)
        # In another epoch the numbering has begun anew, and none of its messages has been run.
        before = done.number if done.epoch == kept.position.epoch else 0
        lost = kept.position.number - before
        if lost > 0:
            self._runner.counters.lost += lost
            await self._runner.report_lost(
                self._channel,
                self._callbacks,
                lost,
                "the history no longer has them; those with once=True continue with message "
                f"{kept.position.number + 1}",
            )
        return kept.position, kept.publications

    async def _load_position(self, lease: Lease) -> Position:
        values = (await self._listeners.broker.snapshot(self._results_channel)).values
        written = values.get(_PROCESSED_UP_TO)
        if written is None:
            await self._write_position(self.start_position, lease)
            return self.start_position
        epoch, number = msgpack.unpackb(written)
        return Position(epoch, number)

    async def _run(self, publication: Publication, lease: Lease) -> None:
        message = await self._runner.run(self._callbacks, publication)
        envelope = Envelope("done", b"")
        if message is not None:
            envelope = Envelope(FRAME, message.members.encode(), extras=envelope_extras(message))
        try:
            await self._write_position(publication.position, lease, envelope)
        except PayloadTooLarge as error:
            # To run the message again would give the same, and no other message would be run.
            names = ", ".join(each.callback.name for each in self._callbacks)
            logger.error("channel %r: what %s set is not shown: %s", self._channel, names, error)
            await self._write_position(publication.position, lease)

    async def _write_position(
        self, position: Position, lease: Lease, envelope: Envelope | None = None
    ) -> None:
        """Publish a result together with the position up to which all messages are processed."""
        processed_up_to = cast("bytes", msgpack.packb([position.epoch, position.number]))
        await self._listeners.broker.publish(
            self._results_channel,
            (envelope or Envelope("done", b"")).pack(),
            changes={_PROCESSED_UP_TO: processed_up_to},
            fence=lease,
        )
