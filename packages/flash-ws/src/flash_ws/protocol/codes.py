"""The close codes of links and endpoint WebSockets, and whether the page reconnects."""

from __future__ import annotations

import enum


class CloseCode(enum.Enum):
    """A WebSocket close code of flash-ws.

    Codes 4400 to 4499 are final for the live link: the page does not reconnect and shows "offline".
    After any other code it reconnects, after the usual jittered wait. `docs/link-protocol.md` lists
    the codes; a test compares the two.
    """

    def __init__(self, number: int, meaning: str, reconnects: bool) -> None:
        self.number = number
        self.meaning = meaning
        self.reconnects = reconnects

    MALFORMED = 4400, "a message that is not a list of frames", False
    UNAUTHORIZED = 4401, "not allowed to connect", False
    FORBIDDEN = 4403, "opened by a page of another origin, or by somebody who may not", False
    REPLACED = 4409, "the same page has connected again", False
    TOO_LARGE = 4413, "a message longer than is taken", False
    UNSUPPORTED_VERSION = 4426, "a protocol version that this server does not speak", False
    KICKED = 4430, "disconnected by the application", False
    SILENT = 4508, "nothing was heard for longer than two heartbeats", True
    TOO_FAST = 4529, "more messages than are taken in this time", True
    TOO_SLOW = 4530, "the page takes its messages more slowly than they come", True
    DRAINING = 4531, "the server is about to restart", True
    EXPIRED = 4532, "the permission to connect is to be asked for again", True
    FULL = 4533, "the server has as many pages as it takes", True
