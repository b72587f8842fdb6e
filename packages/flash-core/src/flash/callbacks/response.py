"""What goes back to the browser, before it is either sent directly or made a Quart response."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import quart

if TYPE_CHECKING:
    from flash.callbacks.context import CallbackResponse

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A whole response."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    # Whole seconds, for a 503.
    retry_after: int | None = None
    # Headers and cookies that a callback added.
    additions: CallbackResponse | None = None
    # How the body is compressed, in HTTP's word for it.
    coding: str | None = None
    # Whether another reader may get the body in another form.
    varies: bool = False

    @property
    def extra_headers(self) -> list[tuple[str, str]]:
        """The headers besides the body's type and length."""
        headers: list[tuple[str, str]] = []
        if self.coding is not None:
            headers.append(("content-encoding", self.coding))
        if self.varies:
            headers.append(("vary", "accept-encoding"))
        if self.retry_after is not None:
            headers.append(("retry-after", str(self.retry_after)))
        if self.additions is not None:
            headers.extend(self.additions.headers)
        return headers


@dataclass(frozen=True, slots=True)
class PendingJob:
    """The answer of a background callback whose job still runs: handles, progress, side updates."""

    body: dict[str, Any]


# The request is of a kind that Flash does not compile: Dash's own handler answers it.
NOT_COMPILED = EncodedResponse(HTTPStatus.NOT_IMPLEMENTED)

NO_CONTENT = EncodedResponse(HTTPStatus.NO_CONTENT)


def text_response(status: int, text: str, *, retry_after: int | None = None) -> EncodedResponse:
    """Return an answer of one line of text."""
    return EncodedResponse(status, text.encode(), TEXT, retry_after)


def to_quart_response(answer: EncodedResponse) -> quart.Response:
    """Return an answer as the response of a Quart view."""
    response = quart.Response(answer.body, status=answer.status, content_type=answer.content_type)
    response.headers.extend(answer.extra_headers)
    return response
