"""What a page does with the frames of a table, as flash_table.js does it."""

import asyncio
import json

from flash_pubsub.channels.subscription import sign
from flash_pubsub.table.changes import channel_of
from flash_ws.protocol.position import Position


class PageTable:
    """The rows of a table on a page."""

    def __init__(self):
        self.rows = {}
        self.position = None
        # Frames taken.
        self.frames = 0

    def take(self, frame):
        self.frames += 1
        if frame.get("first"):
            self.rows, self.position = {}, None
        for key in frame.get("r", ()):
            self.rows.pop(key, None)
        for values in frame.get("u", ()):
            if str(values[0]) in self.rows:
                self.rows[str(values[0])] = values
        for values in frame.get("a", ()):
            self.rows.pop(str(values[0]), None)
            self.rows[str(values[0])] = values
        if "n" in frame:
            self.position = Position(frame["e"], frame["n"])

    def take_all(self, parts):
        """Take all frames; returns how many."""
        index = 0
        while (frame := parts.frame(index)) is not None:
            self.take(json.loads(frame.text))
            index += 1
        return index

    def as_lists(self):
        return list(self.rows.values())


def ask(page, app, table="orders", at=None, token=None):
    """Send what a page sends when a TableFeed is on it."""
    token = token or sign(app, channel_of(table))
    frame = {"t": "table", "table": table, "token": token}
    page.send({**frame, "at": at} if at else frame)


async def status(page):
    """Return what a page is told of its request."""
    while True:
        frame = await page.frame()
        if frame["t"] == "table":
            return frame["status"]


async def shown(page, wanted, table=None):
    """Take frames until a page shows these rows; returns its table."""
    table = table or PageTable()
    async with asyncio.timeout(20):
        while table.position is None or table.as_lists() != wanted:
            frame = await page.frame()
            if frame["t"] == "rows":
                table.take(frame)
    return table
