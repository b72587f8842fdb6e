"""Bodies, compressed: answers for apps that ask for it with ``compress=True``, and requests."""

from __future__ import annotations

import zlib
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from werkzeug.http import parse_accept_header

from flash.errors import BadRequest, quoted
from flash.static.codings import ENCODERS, Coding

if TYPE_CHECKING:
    from flash.callbacks.execution import WorkerPool
    from flash.callbacks.response import EncodedResponse

# Shorter bodies go out as they are: they fit the packet that carries their headers.
MIN_COMPRESSED = 1024

# Longer ones are compressed in a thread: about a millisecond on the loop.
MAX_COMPRESSED_ON_LOOP = 64 * 1024


# The quickest first: what is made per request is seldom sent twice.
_PREFERRED: tuple[Coding, ...] = ("zstd", "br", "gzip")


async def compress(
    answer: EncodedResponse, accepted: str | None, pool: WorkerPool
) -> EncodedResponse:
    """Return ``answer`` in the best form that its reader takes, as it is where that is shortest.

    ``accepted`` is the request's ``Accept-Encoding``.
    """
    if len(answer.body) < MIN_COMPRESSED:
        return answer
    coding = parse_accept_header(accepted).best_match(_PREFERRED)
    if coding is None:
        return replace(answer, varies=True)
    encode = ENCODERS[cast("Coding", coding)]
    if len(answer.body) > MAX_COMPRESSED_ON_LOOP:
        body = await pool.run(encode, answer.body)
    else:
        body = encode(answer.body)
    return replace(answer, body=body, coding=coding, varies=True)


def expand(body: bytes, coding: str, limit: int | None) -> bytes:
    """Return a request's body as it was before its sender compressed it.

    Raises `BadRequest`: 415 for a ``Content-Encoding`` that is not gzip, 413 as soon as the result
    is longer than ``limit`` bytes.
    """
    if coding.strip().lower() not in ("gzip", "x-gzip"):
        raise BadRequest(
            f"the body may be compressed with gzip, not with {quoted(coding)}",
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
