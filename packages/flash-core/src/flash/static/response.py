"""The response to a request for a file: negotiation, conditions and ranges, without I/O."""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass, field
from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING

from werkzeug.http import parse_accept_header

from flash.static.codings import CODINGS, Coding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flash.static.file import StaticFile

# Browsers do not request the file again; a year is the longest lifetime in use.
IMMUTABLE = b"public, max-age=31536000, immutable"
# Browsers keep the file but revalidate it each time; an unchanged file gives a 304.
REVALIDATE = b"no-cache"


@dataclass(frozen=True, slots=True)
class StaticResponse:
    """A complete response; header names are in lower case, as ASGI requires."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = field(repr=False)


def respond(
    file: StaticFile, *, method: str, headers: Iterable[tuple[bytes, bytes]], immutable: bool
) -> StaticResponse:
    """Return the response to a request for a file, from the forms that it has; never raises.

    ``immutable`` means that the content of this URL never changes, so browsers need not revalidate
    it. A range refers to the uncompressed bytes; a request for several ranges gets the whole file.
    A client that accepts none of the forms gets the uncompressed file instead of a 406, as RFC 9110
    §12.4.1 allows.
    """
    return answer(file, FileRequest.parse(method, headers), immutable=immutable)


_READ_HEADERS = frozenset(
    {b"accept-encoding", b"if-modified-since", b"if-none-match", b"if-range", b"range"}
)
_TAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(rb"bytes=(?:(\d{1,30})-(\d{0,30})|-(\d{1,30}))", re.IGNORECASE)

# The weight of the uncompressed body if the header does not list it: below 0.001, the smallest
# weight that a header can give.
_UNLISTED = 0.0005


@dataclass(frozen=True, slots=True)
class FileRequest:
    """The parts of a request on which the response depends."""

    method: str
    # The client's weight (q-value) of each coding; 0 if it is not acceptable.
    weights: Mapping[Coding, float]
    if_none_match: bytes | None
    if_modified_since: bytes | None
    if_range: bytes | None
    range: bytes | None

    @classmethod
    def parse(cls, method: str, headers: Iterable[tuple[bytes, bytes]]) -> FileRequest:
        """Read a request's method and headers; header names may be in any case."""
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            key = name.lower()
            if key in _READ_HEADERS:
                found[key] = found[key] + b", " + value if key in found else value
        return cls(
            method=method,
            weights=_weigh(found.get(b"accept-encoding")),
            if_none_match=found.get(b"if-none-match"),
            if_modified_since=found.get(b"if-modified-since"),
            if_range=found.get(b"if-range"),
            range=found.get(b"range"),
        )

    def choose(self, forms: Mapping[Coding, bytes]) -> Coding:
        """Return the coding with the highest weight among the available forms."""
        best: Coding = "identity"
        # "identity" is last in CODINGS, so a compressed form of the same weight is preferred.
        weight = 0.0
        for coding in CODINGS:
            if self.weights[coding] > weight and (coding == "identity" or coding in forms):
                best, weight = coding, self.weights[coding]
        return best

    def best_codings(self) -> list[Coding]:
        """Return the compressed codings that the client prefers, whether made or not."""
        weight = max(self.weights.values())
        if weight == 0:
            return []
        return [c for c in CODINGS if c != "identity" and self.weights[c] == weight]

    def fresh_tag(self, file: StaticFile, chosen: Coding) -> bytes | None:
        """Return the tag of the client's copy if it is current, or None if the file must be sent.

        All forms of one digest have the same content, so the tag of any form that the client
        accepts is current, even if that form is no longer in memory.
        """
        if self.if_none_match is None:
            since = _parse_date(self.if_modified_since)
            unchanged = since is not None and file.last_modified <= since
            return file.tag(chosen) if unchanged else None
        if self.if_none_match.strip() == b"*":
            return file.tag(chosen)
        held = set(_TAG.findall(self.if_none_match))
        acceptable = (file.tag(coding) for coding in CODINGS if self.weights[coding] > 0)
        return next((tag for tag in (file.tag(chosen), *acceptable) if tag in held), None)

    def span(self, file: StaticFile) -> tuple[int, int] | None:
        """Return the requested range as (start, stop), or None for the whole file.

        ``start`` is not below ``stop`` if the file has no such bytes.
        """
        # Ranges are defined for GET only, and refer to the uncompressed bytes.
        if self.range is None or self.method != "GET" or self.weights["identity"] == 0:
            return None
        match = _RANGE.fullmatch(self.range.strip())
        if match is None or not self._range_still_applies(file):
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            length = min(int(suffix), file.size)
            return (file.size - length, file.size) if file.size or not int(suffix) else None
        start, stop = int(first), min(int(last) + 1, file.size) if last else file.size
        if last and int(last) < start:
            return None
        return start, stop

    def _range_still_applies(self, file: StaticFile) -> bool:
        if self.if_range is None:
            return True
        validator = self.if_range.strip()
        return validator == file.tag() or _parse_date(validator) == file.last_modified


# Browsers send only a few different headers; the bound is for other clients.
@lru_cache(maxsize=64)
def _weigh(accept: bytes | None) -> Mapping[Coding, float]:
    """Parse Accept-Encoding into weights; ignores elements that are not well-formed."""
    listed = parse_accept_header((accept or b"").decode("latin-1").replace("x-gzip", "gzip"))
    weights: dict[Coding, float] = {coding: listed.quality(coding) for coding in CODINGS}
    if "identity" not in listed:
        weights["identity"] = _UNLISTED
    return weights


# The bound is the number of files that are requested often.
@lru_cache(maxsize=1024)
def _http_date(seconds: int) -> bytes:
    return email.utils.formatdate(seconds, usegmt=True).encode()


def _parse_date(value: bytes | None) -> int | None:
    if value is None:
        return None
    try:
        date = email.utils.parsedate_to_datetime(value.decode("latin-1"))
        # A zone of -0000 gives a naive date; HTTP dates are always in UTC.
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def answer(file: StaticFile, request: FileRequest, *, immutable: bool) -> StaticResponse:
    """Return the response as `respond` does, for a parsed request."""
    nosniff = (b"x-content-type-options", b"nosniff")
    if request.method not in ("GET", "HEAD"):
        headers = [(b"allow", b"GET, HEAD"), (b"content-length", b"0"), nosniff]
        return StaticResponse(405, headers, b"")
    headers = [(b"cache-control", IMMUTABLE if immutable else REVALIDATE), nosniff]
    if file.compressible:
        headers.append((b"vary", b"accept-encoding"))
    coding = request.choose(file.forms)
    if tag := request.fresh_tag(file, coding):
        # No content-length: it would be that of a body that is not sent, and servers check it.
        return StaticResponse(304, [(b"etag", tag), *headers], b"")
    span = request.span(file)
    if span is not None:
        coding = "identity"
    body = file.body if coding == "identity" else file.forms[coding]
    status = 200
    if span is not None:
        start, stop = span
        if start >= stop:
            # Without cache-control: a cache must not store an error in place of the file.
            headers = [(b"content-range", b"bytes */%d" % file.size), (b"content-length", b"0")]
            return StaticResponse(416, [*headers, nosniff], b"")
        status, body = 206, body[start:stop]
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, file.size)))
    if coding == "identity":
        headers.append((b"accept-ranges", b"bytes"))
    else:
        headers.append((b"content-encoding", coding.encode()))
    headers += [
        (b"content-type", file.content_type),
        (b"content-length", b"%d" % len(body)),
        (b"etag", file.tag(coding)),
        (b"last-modified", _http_date(file.last_modified)),
    ]
    return StaticResponse(status, headers, b"" if request.method == "HEAD" else body)
