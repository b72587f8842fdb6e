"""Responses to the requests of an app that come by Quart's routes; the gateway makes the others."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import quart
from werkzeug.exceptions import RequestEntityTooLarge

from flash.callbacks.response import NOT_COMPILED, EncodedResponse, text_response, to_quart_response
from flash.errors import BadRequest
from flash.http.compression import compress, decompress
from flash.http.gateway import LARGE_JSON, Gateway, parse_json
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger

    from flash.callbacks.dispatch import Dispatcher
    from flash.callbacks.execution import WorkerPool
    from flash.static import StaticResponse


class CompressingApp(Protocol):
    """What is needed of an app to send what its views return."""

    internal_pool: WorkerPool
    # Whether responses that are made per request are compressed.
    compresses: bool


class CalledApp(CompressingApp, Protocol):
    """What is needed of an app to respond to callback requests."""

    server: Any
    logger: Logger
    dispatcher: Dispatcher


async def callback_response(app: CalledApp, dash_view: Callable[[], Any]) -> Any:
    """Return the response to a callback request; ``dash_view`` does what Flash does not compile."""
    request = quart.request
    dash_seam.enter_app(app)
    try:
        body: bytes = await request.get_data(as_text=False)  # type: ignore[assignment]
    except RequestEntityTooLarge:
        error = BadRequest.too_long(request.max_content_length or 0)
        Gateway.of(app.server).log_too_long()
        return to_quart_response(text_response(error.status, str(error)))
    try:
        coding = request.headers.get("Content-Encoding")
        if coding is not None:
            body = await app.internal_pool.run(decompress, body, coding, request.max_content_length)
        content_type = request.headers.get("Content-Type", "").encode("latin-1")
        if len(body) < LARGE_JSON:
            value = parse_json(content_type, body)
        else:
            value = await app.internal_pool.run(parse_json, content_type, body)
    except BadRequest as error:
        if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            Gateway.of(app.server).log_too_long()
        return to_quart_response(text_response(error.status, str(error)))
    response = await app.dispatcher.respond(value)
    if response is NOT_COMPILED:
        return await _delegate_to_dash(app, dash_view, value)
    return await encoded(app, response)


async def _delegate_to_dash(app: CalledApp, dash_view: Callable[[], Any], body: Any) -> Any:
    """Let Dash handle a kind of request that Flash does not compile.

    For a request that Dash does not know either, Dash raises one of a few unspecific exceptions.
    They become a response with status 400.
    """
    try:
        return await dash_view()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(body.get("output"), str):
            # The exception comes from a callback.
            raise
        app.logger.debug("Dash cannot handle the request either", exc_info=error)
        reason = "the body is not a callback request: 'output' is missing"
        return to_quart_response(text_response(HTTPStatus.BAD_REQUEST, reason))


async def encoded(app: CompressingApp, response: EncodedResponse) -> quart.Response:
    """Return a response to the current request, compressed if the app says so."""
    if app.compresses:
        accepted = quart.request.headers.get("Accept-Encoding")
        response = await compress(response, accepted, app.internal_pool)
    return to_quart_response(response)


def raw_headers() -> list[tuple[bytes, bytes]]:
    """Return the headers of the current request as ASGI has them."""
    scope: Any = quart.request.scope
    return scope["headers"]


def file_response(response: StaticResponse | None) -> quart.Response:
    """Return the response that sends a file; 404 for None."""
    if response is None:
        return quart.Response("no such file", status=404, content_type="text/plain")
    converted = quart.Response(response.body, status=response.status)
    converted.headers.clear()
    for name, value in response.headers:
        converted.headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return converted
