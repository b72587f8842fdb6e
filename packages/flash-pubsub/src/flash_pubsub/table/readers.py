"""Sending a table to the pages of one worker: what has changed, once per interval for all pages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash_pubsub.table.parts import Parts

if TYPE_CHECKING:
    from flash_pubsub.table.replica import TableReplica
    from flash_ws.clients.client import LinkedClient as Client
    from flash_ws.link.link import Link
    from flash_ws.protocol.position import Position

# Seconds for which pages that come share the frames with all rows. What has changed since those
# were made is sent after them.
_SHARE_WHOLE_FOR = 2.0


@dataclass(slots=True, eq=False)
class _Reader:
    """One page, and how far it has been sent the table."""

    client: Client
    # The connection that asked. Another connection asks again.
    link: Link
    # What the page has when ``parts`` are sent; None if it has to get all rows.
    position: Position | None
    # What is being sent, and how many of its frames were sent.
    parts: Parts | None = None
    sent: int = 0


class TableReaders:
    """The pages of this worker that show one table.

    Every ``interval`` seconds at most, each page is sent what has changed since it was last sent
    something: each row once, with its newest values. Pages with the same position get the same
    frame, which is made once. A page whose outbox is half full is sent nothing until it has room;
    so the backlog of a slow page is at most the table, and it is never closed for it.
    """

    def __init__(self, replica: TableReplica, interval: float) -> None:
        self._replica = replica
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._by_client: dict[str, _Reader] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_at = 0.0
        # The frames with all rows that pages share.
        self._whole: Parts | None = None
        # By the position from which they lead to the present one.
        self._differences: dict[Position, Parts] = {}
        self._differences_to: Position | None = None
        # Frames handed to the links of pages.
        self.frames = 0
        replica.on_change = self.schedule

    def __len__(self) -> int:
        return len(self._by_client)

    def add(self, client: Client, position: Position | None) -> None:
        """Send the table to a page that has it as of ``position``; None if it has nothing."""
        if client.link is not None:
            self._by_client[client.id] = _Reader(client, client.link, position)
            self.schedule()

    def discard(self, client_id: str) -> None:
        """Send the table to a page no more; idempotent."""
        self._by_client.pop(client_id, None)

    def close(self) -> None:
        """Send nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._by_client.clear()
        self._whole = None
        self._differences.clear()

    def schedule(self) -> None:
        """Send what has changed soon; idempotent until then."""
        if self._timer is None and self._by_client:
            self._timer = self._loop.call_at(max(self._next_at, self._loop.time()), self._send)

    def _send(self) -> None:
        self._timer = None
        self._next_at = self._loop.time() + self._interval
        is_behind = False
        for client_id, reader in list(self._by_client.items()):
            if reader.client.link is not reader.link:
                del self._by_client[client_id]
            elif not self._send_to(reader):
                is_behind = True
        if is_behind:
            self.schedule()

    def _send_to(self, reader: _Reader) -> bool:
        """Send a page what it can take; returns whether it has everything then."""
        while True:
            if reader.parts is None and not self._begin(reader):
                return True
            while reader.parts is not None:
                frame = reader.parts.frame(reader.sent)
                if frame is None:
                    reader.position, reader.parts = reader.parts.position, None
                elif not reader.link.outbox.has_room_for(frame):
                    return False
                else:
                    reader.sent += 1
                    self.frames += 1
                    reader.client.deliver(frame)

    def _begin(self, reader: _Reader) -> bool:
        """Choose the next frames for a page; returns False if it has everything."""
        rows, position = self._replica.rows, reader.position
        reader.sent = 0
        if position is None or position.epoch != rows.position.epoch:
            reader.parts = self._all()
        elif position.number >= rows.position.number:
            # It may be higher: the page comes from a worker that has received more.
            return False
        else:
            reader.parts = self._since(position) if rows.covers(position) else self._all()
        return True

    def _since(self, position: Position) -> Parts:
        rows, settings = self._replica.rows, self._replica.settings
        if self._differences_to != rows.position:
            self._differences.clear()
            self._differences_to = rows.position
        parts = self._differences.get(position)
        if parts is None:
            difference = rows.since(position.number)
            parts = Parts(self._replica.name, rows, settings, difference)
            self._differences[position] = parts
        return parts

    def _all(self) -> Parts:
        rows, whole = self._replica.rows, self._whole
        if whole is None or not rows.covers(whole.position):
            whole = self._whole = Parts(self._replica.name, rows, self._replica.settings, None)
            self._loop.call_later(_SHARE_WHOLE_FOR, self._forget_whole, whole)
        return whole

    def _forget_whole(self, whole: Parts) -> None:
        """Make frames anew for pages that come from now on."""
        if self._whole is whole:
            self._whole = None
