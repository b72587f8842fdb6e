"""The answer to a request for a file: negotiation, conditions and ranges, without a loop."""

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

# A browser does not even ask again; a year stands for ever.
IMMUTABLE = b"public, max-age=31536000, immutable"
# A browser keeps it and asks each time; the answer is a 304 when nothing changed.
REVALIDATE = b"no-cache"


@dataclass(frozen=True, slots=True)
class StaticResponse:
    """An answer ready to be written; header names are lower case, as ASGI wants them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = field(repr=False)


def respond(
    file: StaticFile, *, method: str, headers: Iterable[tuple[bytes, bytes]], immutable: bool
) -> StaticResponse:
    """Answer a request for a file out of the forms that it has; pure, and never raises.

    ``immutable`` says that the URL names this very content, so that a browser need never ask
    again. A range is one of the uncompressed bytes; several ranges at once get the whole file. A
    client that accepts nothing there is gets the uncompressed file rather than a 406, as RFC 9110
    §12.4.1 allows: a page that works is more use to it than an error.
    """
    return answer(file, FileRequest.parse(method, headers), immutable=immutable)


_READ_HEADERS = frozenset(
    {b"accept-encoding", b"if-modified-since", b"if-none-match", b"if-range", b"range"}
)
_TAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(rb"bytes=(?:(\d{1,30})-(\d{0,30})|-(\d{1,30}))", re.IGNORECASE)

# Not excluded, yet welcome only after all that is listed: below 0.001, the least that a header
# can say.
_UNLISTED = 0.0005


@dataclass(frozen=True, slots=True)
class FileRequest:
    """The parts of a request that an answer depends on."""

    method: str
    # How welcome each coding is, 0 for not at all.
    weights: Mapping[Coding, float]
    if_none_match: bytes | None
    if_modified_since: bytes | None
    if_range: bytes | None
    range: bytes | None

    @classmethod
    def parse(cls, method: str, headers: Iterable[tuple[bytes, bytes]]) -> FileRequest:
        """Pick from a request what matters here; header names may be in any case."""
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
        """The most welcome coding among what there is."""
        best: Coding = "identity"
        # The uncompressed body comes last in CODINGS: what is as welcome, and smaller, wins.
        weight = 0.0
        for coding in CODINGS:
            if self.weights[coding] > weight and (coding == "identity" or coding in forms):
                best, weight = coding, self.weights[coding]
        return best

    def best_codings(self) -> list[Coding]:
        """The compressed forms this client would most like, whether made or not."""
        weight = max(self.weights.values())
        if weight == 0:
            return []
        return [c for c in CODINGS if c != "identity" and self.weights[c] == weight]

    def fresh_tag(self, file: StaticFile, chosen: Coding) -> bytes | None:
        """The tag of what the client holds already, or None when the file must be sent.

        All forms of one digest hold the same content, so any that the client accepts is as good
        as the one that it would be sent, even when that form is not in memory any more.
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
        """The first byte asked for and the one after the last, or None for the whole file.

        The first is at or behind the last when the file has no such bytes.
        """
        # Ranges are defined for GET alone, and are cut from the uncompressed bytes.
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


# Browsers send one of a handful; the bound is against clients that do not.
@lru_cache(maxsize=64)
def _weigh(accept: bytes | None) -> Mapping[Coding, float]:
    """Read Accept-Encoding; an element that is not well-formed counts as absent."""
    listed = parse_accept_header((accept or b"").decode("latin-1").replace("x-gzip", "gzip"))
    weights: dict[Coding, float] = {coding: listed.quality(coding) for coding in CODINGS}
    if "identity" not in listed:
        weights["identity"] = _UNLISTED
    return weights


# As many as there are files that are asked for often.
@lru_cache(maxsize=1024)
def _http_date(seconds: int) -> bytes:
    return email.utils.formatdate(seconds, usegmt=True).encode()


def _parse_date(value: bytes | None) -> int | None:
    if value is None:
        return None
    try:
        date = email.utils.parsedate_to_datetime(value.decode("latin-1"))
        # A zone of -0000 leaves the date naive; HTTP dates are in UTC whatever they say.
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def answer(file: StaticFile, request: FileRequest, *, immutable: bool) -> StaticResponse:
    """Do what `respond` does for a request already parsed."""
    nosniff = (b"x-content-type-options", b"nosniff")
    if request.method not in ("GET", "HEAD"):
        headers = [(b"allow", b"GET, HEAD"), (b"content-length", b"0"), nosniff]
        return StaticResponse(405, headers, b"")
    headers = [(b"cache-control", IMMUTABLE if immutable else REVALIDATE), nosniff]
    if file.compressible:
        headers.append((b"vary", b"accept-encoding"))
    coding = request.choose(file.forms)
    if tag := request.fresh_tag(file, coding):
        # No content-length: it would be that of the body not sent, and servers count.
        return StaticResponse(304, [(b"etag", tag), *headers], b"")
    span = request.span(file)
    if span is not None:
        coding = "identity"
    body = file.body if coding == "identity" else file.forms[coding]
    status = 200
    if span is not None:
        start, stop = span
        if start >= stop:
            # Without cache-control: a cache must not keep a refusal in the file's place.
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
