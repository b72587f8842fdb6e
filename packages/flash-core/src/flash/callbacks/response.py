"""Responses in the form in which the gateway sends them; Quart's views convert them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import quart

if TYPE_CHECKING:
    from flash.callbacks.context import CallbackResponse

# As numbers: each use of a member of the enum takes 0.2 µs.
OK = int(HTTPStatus.OK)
_TIMEOUT = int(HTTPStatus.GATEWAY_TIMEOUT)

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"


class EncodedResponse(NamedTuple):
    """A complete response with its body in bytes.

    A tuple, since each request makes one, and a frozen dataclass takes twice as long to make.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    # Whole seconds, for a 503.
    retry_after: int | None = None
    # Headers and cookies that a callback added.
    additions: CallbackResponse | None = None
    # The ``Content-Encoding`` of the body; None if it is not compressed.
    coding: str | None = None
    # Whether the body depends on the request's ``Accept-Encoding``.
    varies: bool = False
    # The ``Cache-Control``, unless the app sets one.
    cache_control: str | None = None

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, or has headers that a callback added: it may need further headers."""
        return self.additions is not None or self.content_type == HTML

    @property
    def extra_headers(self) -> list[tuple[str, str]]:
        """The headers other than ``Content-Type`` and ``Content-Length``."""
        headers: list[tuple[str, str]] = []
        if self.coding is not None:
            headers.append(("content-encoding", self.coding))
        if self.varies:
            headers.append(("vary", "accept-encoding"))
        if self.cache_control is not None:
            headers.append(("cache-control", self.cache_control))
        if self.retry_after is not None:
            headers.append(("retry-after", str(self.retry_after)))
        if self.status == _TIMEOUT:
            # Pages repeat a request that a proxy answers so, and not one that took too long here.
            headers.append(("flash-timeout", "1"))
        if self.additions is not None:
            headers.extend(self.additions.headers)
        return headers


@dataclass(frozen=True, slots=True)
class PendingJob:
    """The response body of a background callback whose job has not finished.

    ``body`` holds the handles of the job, its progress and its side updates.
    """

    body: dict[str, Any]


# Flash does not compile this kind of request: the caller must pass it to Dash's own handler.
NOT_COMPILED = EncodedResponse(HTTPStatus.NOT_IMPLEMENTED)

NO_CONTENT = EncodedResponse(HTTPStatus.NO_CONTENT)


def text_response(status: int, text: str, *, retry_after: int | None = None) -> EncodedResponse:
    """Return a response with one line of text."""
    return EncodedResponse(status, text.encode(), TEXT, retry_after)


def to_quart_response(response: EncodedResponse) -> quart.Response:
    """Convert a response to one that a Quart view can return."""
    converted = quart.Response(
        response.body, status=response.status, content_type=response.content_type
    )
    converted.headers.extend(response.extra_headers)
    return converted
