"""The load generator: keep-alive HTTP/1.1 callers, cheap enough not to be what is measured.

Reading answers is a plain state machine (``AnswerReader``); a connection moves the bytes. One
process with 32 connections asks a bare ASGI handler more often than any Dash server can answer,
and it runs on a core of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")

# How long a caller waits for its last answer after the time is up: 32 callers of a server that
# serves them one after the other at 100 ms each need 3.2 s.
_DRAIN_SECONDS = 15.0


class LoadError(Exception):
    """A server answered something else than the work it was asked for, or not at all."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. ``head`` is in lower case, up to and without the empty line."""

    status: int
    head: bytes
    body: bytes
    # Everything that came over the socket for this answer, framing included.
    wire_bytes: int

    @property
    def closes(self) -> bool:
        return b"\r\nconnection: close" in self.head


class AnswerReader:
    """Cuts the bytes of one connection into answers. No socket, no loop."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        # Where the body starts; 0 until the head is complete.
        self._body_at = 0
        self._head = b""
        # None: the body is chunked.
        self._length: int | None = 0

    def feed(self, data: bytes) -> Answer | None:
        """Take in what arrived; the answer when it is complete. Never more than one at a time."""
        buffer = self._buffer
        buffer += data
        if not self._body_at:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            self._body_at = end + 4
            self._head = bytes(buffer[:end]).lower()
            self._length = self._declared_length()
        body = self._complete_body()
        if body is None:
            return None
        answer = Answer(int(self._head[9:12]), self._head, body, len(buffer))
        buffer.clear()
        self._body_at = 0
        return answer

    def _declared_length(self) -> int | None:
        found = _LENGTH.search(self._head)
        if found is not None:
            return int(found[1])
        if b"transfer-encoding: chunked" in self._head:
            return None
        if self._head[9:12] in (b"204", b"304"):
            return 0
        raise LoadError(f"an answer without a length: {self._head[:200]!r}")

    def _complete_body(self) -> bytes | None:
        if self._length is not None:
            end = self._body_at + self._length
            return bytes(self._buffer[self._body_at : end]) if len(self._buffer) >= end else None
        if not self._buffer.endswith(b"0\r\n\r\n"):
            return None
        return self._joined_chunks()

    def _joined_chunks(self) -> bytes | None:
        body = bytearray()
        at = self._body_at
        while True:
            line_end = self._buffer.find(b"\r\n", at)
            if line_end < 0:
                return None
            size = int(self._buffer[at:line_end].split(b";")[0], 16)
            if size == 0:
                return bytes(body)
            body += self._buffer[line_end + 2 : line_end + 2 + size]
            at = line_end + 2 + size + 2
            if at >= len(self._buffer):
                return None


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._request = b""
        self._pause = 0.0
        # Called with every answer and the seconds it took; True asks the same again.
        self._on_answer: Callable[[Answer, float], bool] = _once
        self._finished: asyncio.Future[Answer] | None = None
        self._sent_at = 0.0

    @classmethod
    async def open(cls, port: int) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def fetch(self, request: bytes) -> Answer:
        """Send one request and wait for its answer."""
        return await self.repeat(request, _once)

    async def repeat(
        self, request: bytes, on_answer: Callable[[Answer, float], bool], *, pause: float = 0.0
    ) -> Answer:
        """Send ``request`` again after each answer until ``on_answer`` says no; the last answer.

        Ends early when the server closes the connection after an answer. ``pause`` is in seconds,
        between an answer and the next request.
        """
        self._request, self._on_answer, self._pause = request, on_answer, pause
        self._finished = self._loop.create_future()
        self._send()
        return await self._finished

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            answer = self._reader.feed(data)
            if answer is None:
                return
            again = self._on_answer(answer, time.perf_counter() - self._sent_at)
        except LoadError as error:
            self._fail(error)
            return
        if answer.closes:
            self.close()
        if again and not answer.closes:
            if self._pause:
                self._loop.call_later(self._pause, self._send)
            else:
                self._send()
        elif self._finished is not None and not self._finished.done():
            self._finished.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(LoadError(f"the server closed the connection before answering ({exc})"))

    def _send(self) -> None:
        if not self.is_open:
            self._fail(LoadError("the server closed the connection between two requests"))
            return
        self._sent_at = time.perf_counter()
        assert self._transport is not None
        self._transport.write(self._request)

    def _fail(self, error: LoadError) -> None:
        if self._finished is not None and not self._finished.done():
            self._finished.set_exception(error)


@dataclass(frozen=True, slots=True)
class Burst:
    """What a crowd of callers saw of one server in one stretch of time."""

    seconds: float
    # Sorted, in seconds, from the first byte sent to the last byte received.
    latencies: tuple[float, ...]
    # Processor time of the server within these seconds.
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def load(self) -> float:
        """The share of one core that the server used, 1.0 being all of it."""
        return self.cpu_seconds / self.seconds

    @property
    def cpu_per_request(self) -> float:
        return self.cpu_seconds / max(len(self.latencies), 1)

    def percentile(self, percent: float) -> float:
        """The time within which ``percent`` of the answers came, in seconds; inf without any."""
        if not self.latencies:
            return math.inf
        return self.latencies[int((len(self.latencies) - 1) * percent / 100)]


@contextlib.asynccontextmanager
async def awake() -> AsyncGenerator[None]:
    """Keep this process from sleeping while it waits for answers.

    To wake a process on another core costs its server up to 12 µs a write on a virtual machine. No
    caller of a real server is on its machine.
    """

    async def spin() -> None:
        while True:  # noqa: ASYNC110  it waits for nothing
            await asyncio.sleep(0)

    task = asyncio.create_task(spin())
    try:
        yield
    finally:
        task.cancel()


async def drive(
    request: bytes,
    *,
    port: int,
    connections: int,
    seconds: float,
    cpu: Callable[[], float],
    expect: bytes = b"",
    pause: float = 0.0,
) -> Burst:
    """Let ``connections`` callers repeat ``request`` for ``seconds``.

    Answers still under way when the time is up are waited for and counted, and the stretch ends
    with the last of them: a server that keeps 32 callers waiting and then answers all at once is
    measured fairly. ``cpu`` reads the server's processor time so far. Raises LoadError at the
    first answer that is not a 200 holding ``expect``.
    """
    latencies: list[float] = []
    start = time.perf_counter()
    deadline = start + seconds
    cpu_at_start = cpu()

    def on_answer(answer: Answer, latency: float) -> bool:
        if answer.status != 200 or expect not in answer.body:
            raise LoadError(f"answered {answer.status}: {answer.body[:300]!r}")
        latencies.append(latency)
        return time.perf_counter() < deadline

    async def caller() -> None:
        while time.perf_counter() < deadline:
            connection = await Connection.open(port)
            try:
                await connection.repeat(request, on_answer, pause=pause)
            finally:
                connection.close()

    async with asyncio.timeout(seconds + _DRAIN_SECONDS), awake(), asyncio.TaskGroup() as callers:
        for _ in range(connections):
            callers.create_task(caller())
    elapsed = time.perf_counter() - start
    return Burst(elapsed, tuple(sorted(latencies)), cpu() - cpu_at_start)


def http_request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The bytes of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _once(answer: Answer, latency: float) -> bool:
    return False
