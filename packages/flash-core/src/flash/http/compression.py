"""Compression of responses, for apps with ``compress=True``, and decompression of requests."""

from __future__ import annotations

import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from werkzeug.http import parse_accept_header

from flash.errors import BadRequest, quoted
from flash.static.codings import ENCODERS, Coding

if TYPE_CHECKING:
    from flash.callbacks.execution import WorkerPool
    from flash.callbacks.response import EncodedResponse

# Shorter bodies, in bytes, are not compressed: they fit into one packet with their headers.
MIN_COMPRESSED = 1024

# Longer bodies, in bytes, are compressed in a thread; this many take about 1 ms on the loop.
MAX_COMPRESSED_ON_LOOP = 64 * 1024


# The fastest first, because a response that is made per request is seldom sent twice.
_PREFERRED: tuple[Coding, ...] = ("zstd", "br", "gzip")


async def compress(
    response: EncodedResponse, accepted: str | None, pool: WorkerPool
) -> EncodedResponse:
    """Return ``response`` compressed with the best coding that the client accepts.

    ``accepted`` is the request's ``Accept-Encoding``. A short body is returned as it is.
    """
    if len(response.body) < MIN_COMPRESSED:
        return response
    coding = parse_accept_header(accepted).best_match(_PREFERRED)
    if coding is None:
        return response._replace(varies=True)
    encode = ENCODERS[cast("Coding", coding)]
    if len(response.body) > MAX_COMPRESSED_ON_LOOP:
        body = await pool.run(encode, response.body)
    else:
        body = encode(response.body)
    return response._replace(body=body, coding=coding, varies=True)


def decompress(body: bytes, coding: str, limit: int | None) -> bytes:
    """Return the decompressed body of a request.

    Raises `BadRequest`: 415 for a ``Content-Encoding`` other than gzip, 413 for a result of more
    than ``limit`` bytes, 400 for invalid gzip. Decompresses at most ``limit`` + 1 bytes.
    """
    if coding.strip().lower() not in ("gzip", "x-gzip"):
        raise BadRequest(
            f"the body may be compressed with gzip only, not with {quoted(coding)}",
            status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        whole = stream.decompress(body, 0 if limit is None else limit + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not gzip: {error}") from error
    if limit is not None and len(whole) > limit:
        raise BadRequest.too_long(limit)
    if not stream.eof:
        raise BadRequest("the body is not gzip: it ends too early")
    return whole
