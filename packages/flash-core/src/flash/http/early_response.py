"""Reads the rest of a request's body before its response ends.

A response may be complete before the body is, such as a 413. A server of HTTP/1 then closes the
connection while the client still sends, and the client may lose the response. Hypercorn drops the
whole connection in HTTP/2.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

# Seconds for which the rest of a body is read, and for which its next part is awaited.
LINGER_SECONDS = 30.0
PAUSE_SECONDS = 2.0

# Bytes that a client sends at once, whatever the server does.
SHORT_BODY = 64 * 1024

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def has_long_body(scope: dict[str, Any], headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a request may have a body that the client still sends after a response."""
    if b"expect" in headers:
        # The client sends the body once the server asks for it.
        return False
    length = headers.get(b"content-length")
    if length is not None:
        return not length.isdigit() or int(length[:20]) > SHORT_BODY
    is_stream = not str(scope.get("http_version", "1.1")).startswith("1")
    return b"transfer-encoding" in headers or (is_stream and scope["method"] in _METHODS_WITH_BODY)


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value[:20])
    return None


class EarlyResponse:
    """``receive`` and ``send`` of one request, of which ``send`` reads the rest of the body.

    It does so before it sends the last part of the response. What is read is dropped.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self._receive = receive
        self._send = send
        # Held while a message is awaited, since the application may await one as well.
        self._receiving = asyncio.Lock()
        # The bytes of the response that are still to come; None if that is not known.
        self._length: int | None = None
        # Whether the body has ended, or the client is gone.
        self._has_ended = False

    async def receive(self) -> dict[str, Any]:
        """Return the next message of the client."""
        async with self._receiving:
            message = await self._receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                self._has_ended = True
        return message

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message of the response."""
        if message["type"] == "http.response.start":
            self._length = _declared_length(message.get("headers", ()))
        elif self._is_last(message) and not self._has_ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._drop_rest()
        await self._send(message)

    def _is_last(self, message: dict[str, Any]) -> bool:
        """Return whether the response is complete with ``message``."""
        if message["type"] != "http.response.body":
            return False
        if self._length is not None:
            self._length -= len(message.get("body", b""))
            if self._length <= 0:
                # Granian ends the response now.
                return True
        return not message.get("more_body", False)

    async def _drop_rest(self) -> None:
        while not self._has_ended:
            async with asyncio.timeout(PAUSE_SECONDS), self._receiving:
                # The application may have received the end meanwhile.
                if not self._has_ended:
                    message = await self._receive()
                    self._has_ended = message["type"] == "http.disconnect" or not message.get(
                        "more_body", False
                    )
