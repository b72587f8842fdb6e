"""WebSocket callers by the thousand: raw sockets, and no more parsing than counting needs.

Masks are zero, which leaves a payload as it is, and no extension is offered: a server that
compresses would do so for every contender.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from load import LoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A

# Sockets that are being opened at a time: a server's backlog is a hundred.
_OPENING = 50
_OPEN_SECONDS = 60.0

# Descriptors that a process needs beside its sockets.
_SPARE_FILES = 200


class MessageReader:
    """Cuts the bytes of one socket into messages. No socket, no loop.

    Servers under test send every message whole.
    """

    def __init__(self) -> None:
        self._buffer = b""
        # What to answer pings with, until it is taken from here.
        self.pongs: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what arrived; the text messages that are complete. Raises LoadError at an end."""
        buffer = self._buffer + data if self._buffer else data
        messages: list[bytes] = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            kind, size = buffer[at], buffer[at + 1]
            start = at + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size = int.from_bytes(buffer[start : start + width], "big")
                start += width
            if end - start < size or end < start:
                break
            at = start + size
            if kind == _TEXT:
                messages.append(buffer[start:at])
            elif kind == _CLOSE:
                raise LoadError(f"the server closed the socket: {buffer[start:at]!r}")
            elif kind == _PING:
                self.pongs.append(as_frame(buffer[start:at], _PONG))
        self._buffer = buffer[at:]
        return messages


def as_frame(content: bytes, kind: int = _TEXT) -> bytes:
    """A message as a client sends it, of less than 64 KiB."""
    size = len(content)
    if size < 126:
        head = bytes((kind, 0x80 | size))
    else:
        head = bytes((kind, 0x80 | 126)) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + content


class Socket(asyncio.Protocol):
    """One WebSocket. ``on_message`` gets each message and the moment it came, `time.monotonic`."""

    def __init__(self, port: int, path: str) -> None:
        self.on_message: OnMessage = _nowhere
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
        self._reader = MessageReader()
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._is_closed = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # What went wrong, once something has.
        self.failed: LoadError | None = None

    @classmethod
    async def open(cls, port: int, path: str) -> Socket:
        """Connect and wait until the server has accepted."""
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(lambda: cls(port, path), "127.0.0.1", port)
        await socket.opened
        return socket

    async def ask(self, text: bytes) -> bytes:
        """Send a message and return the first that comes; for before the load begins."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def take(socket: Socket, message: bytes, now: float) -> None:
            if not answer.done():
                answer.set_result(message)

        self.on_message = take
        self.send(text)
        return await answer

    def send(self, text: bytes) -> None:
        assert self._transport is not None
        self._transport.write(as_frame(text))

    def close(self) -> None:
        """Break off; nothing is handed on any more."""
        self._is_closed = True
        self.on_message = _nowhere
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.opened.done():
            self._head += data
            head, separator, data = self._head.partition(b"\r\n\r\n")
            if not separator:
                return
            if b" 101" not in head.split(b"\r\n")[0]:
                self.opened.set_exception(LoadError(f"the handshake was refused: {head[:200]!r}"))
                return
            self.opened.set_result(None)
        try:
            for message in self._reader.feed(data):
                self.on_message(self, message, now)
            while self._reader.pongs and self._transport is not None:
                self._transport.write(self._reader.pongs.pop())
        except LoadError as error:
            self.failed = error

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_closed:
            return
        self.failed = self.failed or LoadError(f"the server broke the socket off ({exc})")
        if not self.opened.done():
            self.opened.set_exception(self.failed)


OnMessage = Callable[[Socket, bytes, float], None]


def _nowhere(socket: Socket, message: bytes, now: float) -> None:
    """Take what comes while nobody listens."""


class Crowd:
    """Many sockets of one server, opened a few at a time and closed together."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self.sockets: list[Socket] = []

    async def grow(self, count: int, hello: bytes, on_message: OnMessage) -> None:
        """Open sockets until there are ``count``; each says ``hello`` and waits for the answer."""
        gate = asyncio.Semaphore(_OPENING)

        async def one() -> None:
            async with gate:
                socket = await Socket.open(self._port, self._path)
                self.sockets.append(socket)
                await socket.ask(hello)
                socket.on_message = on_message

        async with asyncio.timeout(_OPEN_SECONDS), asyncio.TaskGroup() as tasks:
            for _ in range(count - len(self.sockets)):
                tasks.create_task(one())

    def close(self) -> None:
        """Close all of them; raises what had gone wrong on any before."""
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            socket.close()
        for socket in sockets:
            if socket.failed is not None:
                raise socket.failed


def allow_sockets(count: int) -> None:
    """Let this process, and the servers that it starts from now on, have that many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise LoadError(f"{count} sockets are more than `ulimit -Hn` allows: {hard} files")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value within which ``percent`` of the values lie; there must be at least one."""
    ordered = sorted(values)
    return ordered[int((len(ordered) - 1) * percent / 100)]
