"""Files served from memory: read once, compressed once, never a disk read on the loop.

The pure half turns a file and a request's headers into an answer (`respond`); `StaticCache`
reads, watches and compresses in its own threads; `StaticTree` maps the paths of a folder and lets
none leave it.

Which compressed form is made when follows from measurements on Dash's bundles (5.8 MB, of which
plotly.js 4.8 MB): zstd at level 3 takes 23 ms and sends 28 %, brotli at 5 takes 120 ms and sends
25 %, gzip at 5 106 ms and 29 %. So a first client that takes zstd waits a few milliseconds for
it, and brotli, the smaller, is made behind its back once a file has been sent often enough to pay
for the work. Waiting beats sending the file as it is: on anything slower than 300 Mbit/s the
3.4 MB saved take longer to send than to compress.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import logging
import os
import re
import stat
import time
import zlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, get_args
from urllib.parse import unquote

import brotli
import zstandard

from flash.errors import FlashError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

__all__ = [
    "OversizedFile",
    "StaticCache",
    "StaticFile",
    "StaticResponse",
    "StaticTree",
    "respond",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What a body can be sent as; of equally welcome ones the earlier is sent.
Coding: TypeAlias = Literal["br", "zstd", "gzip", "identity"]
CODINGS: tuple[Coding, ...] = get_args(Coding)

# The form that costs least to make: a fifth of the others.
QUICKEST: Coding = "zstd"

# Shorter bodies go out as they are: they fit the packet that carries their headers.
MIN_COMPRESSED = 512

# Held here rather than read from the machine, whose registry may call a script text/plain, which
# a browser then refuses to run.
CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        suffix: content_type
        for content_type, suffixes in {
            "application/geo+json": ".geojson",
            "application/gzip": ".gz .tgz",
            "application/json": ".json .map .topojson",
            "application/manifest+json": ".webmanifest",
            "application/pdf": ".pdf",
            "application/rtf": ".rtf",
            "application/vnd.apache.arrow.file": ".arrow .feather",
            "application/vnd.apache.parquet": ".parquet",
            "application/vnd.ms-fontobject": ".eot",
            "application/wasm": ".wasm",
            "application/x-7z-compressed": ".7z",
            "application/x-tar": ".tar",
            "application/xhtml+xml": ".xhtml",
            "application/xml": ".xml .xsl",
            "application/zip": ".zip",
            "audio/aac": ".aac",
            "audio/flac": ".flac",
            "audio/mp4": ".m4a",
            "audio/mpeg": ".mp3",
            "audio/ogg": ".oga .ogg .opus",
            "audio/wav": ".wav",
            "audio/webm": ".weba",
            "font/otf": ".otf",
            "font/ttf": ".ttf",
            "font/woff": ".woff",
            "font/woff2": ".woff2",
            "image/apng": ".apng",
            "image/avif": ".avif",
            "image/bmp": ".bmp",
            "image/gif": ".gif",
            "image/jpeg": ".jpeg .jpg",
            "image/png": ".png",
            "image/svg+xml": ".svg",
            "image/tiff": ".tif .tiff",
            "image/webp": ".webp",
            "image/x-icon": ".ico",
            "model/gltf+json": ".gltf",
            "model/gltf-binary": ".glb",
            "text/css": ".css",
            "text/csv": ".csv",
            "text/html": ".htm .html",
            "text/javascript": ".cjs .js .jsx .mjs",
            "text/markdown": ".md",
            "text/plain": ".txt",
            "text/tab-separated-values": ".tsv",
            "text/vtt": ".vtt",
            "video/mp4": ".m4v .mp4",
            "video/ogg": ".ogv",
            "video/quicktime": ".mov",
            "video/webm": ".webm",
        }.items()
        for suffix in suffixes.split()
    }
)

# Text, JSON and XML of any kind are besides.
COMPRESSIBLE_TYPES = frozenset(
    {
        "application/json",
        "application/rtf",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-tar",
        "application/xml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/x-icon",
        "model/gltf-binary",
    }
)

# A browser does not even ask again; a year stands for ever.
IMMUTABLE = b"public, max-age=31536000, immutable"
# A browser keeps it and asks each time; the answer is a 304 when nothing changed.
REVALIDATE = b"no-cache"

_NO_FORMS: Mapping[Coding, bytes] = MappingProxyType({})


class OversizedFile(FlashError):
    """A file is too large to be held in memory; serve it by a handler that streams from disk."""

    def __init__(self, path: Path, size: int, limit: int) -> None:
        super().__init__(path, size, limit)
        self.path = path
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{self.path} is {self.size} bytes, more than the {self.limit} held in memory; "
            "stream it from disk or raise StaticCache(max_file_bytes=…)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class StaticFile:
    """One version of a file, with the compressed forms made of it so far."""

    path: Path
    # As the header has it, charset included.
    content_type: bytes
    body: bytes = field(repr=False)
    # Hex digits that follow from the body alone.
    digest: bytes
    # Whole seconds since 1970, never in the future.
    last_modified: int
    # Whether compressed forms are worth making; a trial that saved nothing says no.
    compressible: bool
    forms: Mapping[Coding, bytes] = field(default_factory=lambda: _NO_FORMS, repr=False)

    @classmethod
    def of(cls, path: Path, body: bytes, *, last_modified: int) -> StaticFile:
        """Describe a body; its type follows from the name in ``path``, which need not exist."""
        content_type = CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")
        textual = content_type.startswith("text/") or content_type.endswith(("+json", "+xml"))
        if content_type.startswith("text/"):
            content_type += "; charset=utf-8"
        return cls(
            path=path,
            content_type=content_type.encode(),
            body=body,
            digest=hashlib.sha256(body).hexdigest()[:32].encode(),
            last_modified=max(0, min(last_modified, int(time.time()))),
            compressible=len(body) >= MIN_COMPRESSED
            and (textual or content_type in COMPRESSIBLE_TYPES),
        )

    @property
    def size(self) -> int:
        """Bytes of the body as it is on disk."""
        return len(self.body)

    @property
    def bytes_held(self) -> int:
        """Bytes of the body and all forms."""
        return len(self.body) + sum(map(len, self.forms.values()))

    def tag(self, coding: Coding = "identity") -> bytes:
        """The strong entity tag of a form, with its quotes; a form not made yet has one too."""
        if coding == "identity":
            return b'"%b"' % self.digest
        return b'"%b-%b"' % (self.digest, coding.encode())

    def with_form(self, coding: Coding, body: bytes) -> StaticFile:
        """The same file with one more form, or marked incompressible if that saves nothing."""
        if len(body) >= len(self.body):
            return replace(self, compressible=False)
        return replace(self, forms=MappingProxyType({**self.forms, coding: body}))


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
    return _answer(file, _Request.parse(method, headers), immutable=immutable)


# --- what a request asks for -------------------------------------------------------------------

_READ_HEADERS = frozenset(
    {b"accept-encoding", b"if-modified-since", b"if-none-match", b"if-range", b"range"}
)
_WEIGHTED = re.compile(rb"([^\s;,]+)(?:\s*;\s*[qQ]\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?")
_TAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(rb"bytes=(?:(\d{1,30})-(\d{0,30})|-(\d{1,30}))", re.IGNORECASE)

# Not excluded, yet welcome only after all that is listed: below 0.001, the least that a header
# can say.
_UNLISTED = 0.0005


@dataclass(frozen=True, slots=True)
class _Request:
    """The parts of a request that an answer depends on."""

    method: str
    # How welcome each coding is, 0 for not at all.
    weights: Mapping[Coding, float]
    if_none_match: bytes | None
    if_modified_since: bytes | None
    if_range: bytes | None
    range: bytes | None

    @classmethod
    def parse(cls, method: str, headers: Iterable[tuple[bytes, bytes]]) -> _Request:
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


def _weigh(accept: bytes | None) -> Mapping[Coding, float]:
    """Read Accept-Encoding; an element that is not well-formed counts as absent."""
    weights: dict[Coding, float] = dict.fromkeys(CODINGS, 0.0)
    weights["identity"] = _UNLISTED
    if accept is None:
        return weights
    listed: dict[bytes, float] = {}
    for element in accept.split(b","):
        if match := _WEIGHTED.fullmatch(element.strip()):
            name, weight = match.groups()
            listed[name.lower()] = 1.0 if weight is None else float(weight)
    if b"x-gzip" in listed:
        listed.setdefault(b"gzip", listed[b"x-gzip"])
    others = listed.get(b"*")
    for coding in CODINGS:
        weight = listed.get(coding.encode(), others)
        if weight is not None:
            weights[coding] = weight
    return weights


def _parse_date(value: bytes | None) -> int | None:
    if value is None:
        return None
    try:
        date = email.utils.parsedate_to_datetime(value.decode("latin-1"))
        # A zone of -0000 leaves the date naive; HTTP dates are in UTC whatever they say.
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


# --- what it gets ------------------------------------------------------------------------------


def _answer(file: StaticFile, request: _Request, *, immutable: bool) -> StaticResponse:
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
    modified = email.utils.formatdate(file.last_modified, usegmt=True).encode()
    headers += [
        (b"content-type", file.content_type),
        (b"content-length", b"%d" % len(body)),
        (b"etag", file.tag(coding)),
        (b"last-modified", modified),
    ]
    return StaticResponse(status, headers, b"" if request.method == "HEAD" else body)


# --- the file as it is on disk -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Version:
    """A file as read at one moment, and what tells that it has changed since."""

    file: StaticFile
    modified_ns: int
    size: int
    inode: int
    # False when it was read so soon after a change that the clock could not tell another one.
    settled: bool

    def matches(self, status: os.stat_result) -> bool:
        seen = (self.modified_ns, self.size, self.inode)
        return self.settled and seen == (status.st_mtime_ns, status.st_size, status.st_ino)


# File systems count time in steps of up to two seconds.
_CLOCK_STEP_NS = 2_000_000_000


def _read(
    path: Path, root: Path | None, known: _Version | None, max_file_bytes: int
) -> _Version | None:
    """Read a file, in a thread; None unless it is a regular file inside ``root``.

    Returns ``known`` itself when that is still what the disk holds.
    """
    try:
        real = path.resolve(strict=True)
        if root is not None and not real.is_relative_to(root.resolve(strict=True)):
            return None
        status = real.stat()
        # Asked before opening, since opening a pipe waits for its writer.
        if not stat.S_ISREG(status.st_mode):
            return None
        if known is not None and known.matches(status):
            return known
        if status.st_size > max_file_bytes:
            raise OversizedFile(path, status.st_size, max_file_bytes)
        # One byte over the limit is enough to know a file that grew meanwhile.
        with real.open("rb") as stream:
            body = stream.read(max_file_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError, ValueError) as error:
        # pathlib reports a loop of symbolic links by RuntimeError, a NUL in a name by ValueError.
        logger.warning("cannot read static file %s: %s", path, error)
        return None
    if len(body) > max_file_bytes:
        raise OversizedFile(path, len(body), max_file_bytes)
    return _Version(
        file=StaticFile.of(path, body, last_modified=int(status.st_mtime)),
        modified_ns=status.st_mtime_ns,
        size=status.st_size,
        inode=status.st_ino,
        settled=abs(time.time_ns() - status.st_mtime_ns) > _CLOCK_STEP_NS,
    )


def _gzip(body: bytes) -> bytes:
    # The window's 16 asks for gzip's header, which zlib writes without a date: equal bodies give
    # equal forms.
    compressor = zlib.compressobj(5, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(body)


def _brotli(body: bytes) -> bytes:
    return brotli.compress(body, quality=5)


_ENCODERS: Mapping[Coding, Callable[[bytes], bytes]] = MappingProxyType(
    {"br": _brotli, "zstd": _zstd, "gzip": _gzip}
)

# The path and the folder that it must not leave.
_Key: TypeAlias = "tuple[str, Path | None]"


@dataclass(slots=True)
class _Entry:
    version: _Version
    # The version's file, with the forms made of it since.
    file: StaticFile
    # On the loop's clock.
    checked_at: float
    # Complete answers given.
    sent: int = 0


class StaticCache:
    """Files in memory with their compressed forms; least recently used ones make room.

    Belongs to one event loop at a time. Reading, looking for changes and compressing happen in
    its own threads, once however many requests wait, and go on when a waiting request is
    cancelled.

    - ``max_bytes``: of bodies and forms together; beyond it, least recently used files go.
    - ``max_file_bytes``: a larger file raises `OversizedFile`.
    - ``max_compressed_file_bytes``: a larger file is sent as it is, not to keep a client waiting.
    - ``check_interval``: seconds for which a file once looked at is taken to be unchanged.
    - ``brotli_after``: complete answers after which a file's brotli form is made for clients that
      could be served with the cheaper zstd so far.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 256 * 2**20,
        max_file_bytes: int = 64 * 2**20,
        max_compressed_file_bytes: int = 16 * 2**20,
        check_interval: float = 0.25,
        brotli_after: int = 100,
        max_threads: int = 2,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._max_compressed_file_bytes = max_compressed_file_bytes
        self._check_interval = check_interval
        self._brotli_after = brotli_after
        self._max_threads = max_threads
        # Least recently used first.
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._bytes_held = 0
        # Work under way; each entry is removed by the future's own callback.
        self._reading: dict[_Key, asyncio.Future[_Version | None]] = {}
        self._encoding: dict[tuple[_Key, Coding], asyncio.Future[bytes]] = {}
        # Started by the first file, so that a closed cache can be used again.
        self._threads: ThreadPoolExecutor | None = None

    @property
    def bytes_held(self) -> int:
        """Bytes of all bodies and forms in memory."""
        return self._bytes_held

    async def answer(
        self,
        path: Path,
        *,
        method: str,
        headers: Iterable[tuple[bytes, bytes]],
        immutable: bool,
        revalidate: bool,
        root: Path | None = None,
    ) -> StaticResponse | None:
        """Answer a request for a file, making the compressed form that its client likes best.

        None when there is no such file; the rest is as in `respond` and `load`.
        """
        file = await self.load(path, revalidate=revalidate, root=root)
        if file is None:
            return None
        request = _Request.parse(method, headers)
        response = _answer(file, request, immutable=immutable)
        entry = self._entries.get(_key(path, root))
        # An entry may be missing: a file too large to stay, or evicted meanwhile.
        if response.status != 200 or entry is None:
            return response
        entry.sent += 1
        if coding := self._next_form(entry, request):
            encoding = self._encode(_key(path, root), entry, coding)
            if not any(best in entry.file.forms for best in request.best_codings()):
                form = await asyncio.shield(encoding)
                response = _answer(file.with_form(coding, form), request, immutable=immutable)
        return response

    async def load(
        self, path: Path, *, revalidate: bool, root: Path | None = None
    ) -> StaticFile | None:
        """The file, from memory where possible; None when it is missing or not a regular file.

        With ``revalidate``, a file changed on disk is read again. With ``root``, a path whose
        real place, symbolic links followed, is outside that folder counts as missing. Raises
        `OversizedFile`.
        """
        key = _key(path, root)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            if not revalidate or self._checked_lately(entry):
                return entry.file
        version = await asyncio.shield(self._reading.get(key) or self._read(path, root, entry))
        if version is None:
            return None
        entry = self._entries.get(key)
        return version.file if entry is None else entry.file

    async def close(self) -> None:
        """Wait for work under way and end the threads; files stay, and a next use starts anew."""
        await asyncio.gather(
            *self._reading.values(), *self._encoding.values(), return_exceptions=True
        )
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def _checked_lately(self, entry: _Entry) -> bool:
        return asyncio.get_running_loop().time() - entry.checked_at < self._check_interval

    def _next_form(self, entry: _Entry, request: _Request) -> Coding | None:
        """The form to make now: the quickest for want of any, the smallest once it pays."""
        file = entry.file
        best = request.best_codings()
        if not best or not file.compressible or file.size > self._max_compressed_file_bytes:
            return None
        if not any(coding in file.forms for coding in best):
            return QUICKEST if QUICKEST in best else best[0]
        if best[0] not in file.forms and entry.sent > self._brotli_after:
            return best[0]
        return None

    def _read(
        self, path: Path, root: Path | None, entry: _Entry | None
    ) -> asyncio.Future[_Version | None]:
        known = None if entry is None else entry.version
        reading = self._run(partial(_read, path, root, known, self._max_file_bytes))
        key = _key(path, root)
        self._reading[key] = reading
        # Added before anybody waits, hence called before any waiter goes on.
        reading.add_done_callback(partial(self._keep, key))
        return reading

    def _encode(self, key: _Key, entry: _Entry, coding: Coding) -> asyncio.Future[bytes]:
        under_way = self._encoding.get((key, coding))
        if under_way is not None:
            return under_way
        file = entry.file
        encoding = self._run(partial(_ENCODERS[coding], file.body))
        self._encoding[key, coding] = encoding
        encoding.add_done_callback(partial(self._keep_form, key, file, coding))
        return encoding

    def _run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._max_threads, "flash-static")
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _keep(self, key: _Key, reading: asyncio.Future[_Version | None]) -> None:
        del self._reading[key]
        # Asking for the exception keeps asyncio from reporting one whose waiters all left.
        version = None if reading.cancelled() or reading.exception() else reading.result()
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes_held -= entry.file.bytes_held
        if version is None:
            return
        now = reading.get_loop().time()
        if entry is None or entry.file.digest != version.file.digest:
            entry = _Entry(version, version.file, now)
        else:
            entry.version, entry.checked_at = version, now
            entry.file = replace(entry.file, last_modified=version.file.last_modified)
        self._entries[key] = entry
        self._bytes_held += entry.file.bytes_held
        self._evict()

    def _keep_form(
        self, key: _Key, file: StaticFile, coding: Coding, encoding: asyncio.Future[bytes]
    ) -> None:
        del self._encoding[key, coding]
        entry = self._entries.get(key)
        failed = encoding.cancelled() or encoding.exception() is not None
        # The file may have changed or gone while its form was being made.
        if failed or entry is None or entry.file.digest != file.digest:
            return
        self._bytes_held -= entry.file.bytes_held
        entry.file = entry.file.with_form(coding, encoding.result())
        self._bytes_held += entry.file.bytes_held
        self._evict()

    def _evict(self) -> None:
        while self._bytes_held > self._max_bytes:
            _, entry = self._entries.popitem(last=False)
            self._bytes_held -= entry.file.bytes_held


def _key(path: Path, root: Path | None) -> _Key:
    return os.fspath(path), root


# --- a folder ----------------------------------------------------------------------------------

_MAX_NAME = 255
_MAX_PATH = 4096


class StaticTree:
    """A folder whose every file is served, and nothing outside it."""

    def __init__(self, root: Path, cache: StaticCache, *, revalidate: bool = True) -> None:
        self.root = root.absolute()
        self._cache = cache
        self._revalidate = revalidate

    def locate(self, url_path: str) -> Path | None:
        """Where a path below the folder's URL, percent-decoded once, would be; asks no disk.

        None for what cannot be inside: absolute paths, empty names, ``.`` and ``..`` however
        often encoded, backslashes, control characters.
        """
        if len(url_path) > _MAX_PATH or not all(map(_is_plain_name, url_path.split("/"))):
            return None
        return self.root / url_path

    async def load(self, url_path: str) -> StaticFile | None:
        """The file at a path as in `locate`; None for links that lead outside, too."""
        path = self.locate(url_path)
        if path is None:
            return None
        return await self._cache.load(path, revalidate=self._revalidate, root=self.root)

    async def answer(
        self,
        url_path: str,
        *,
        method: str,
        headers: Iterable[tuple[bytes, bytes]],
        immutable: bool = False,
    ) -> StaticResponse | None:
        """Answer a request for the file at a path as in `locate`, or None if there is none."""
        path = self.locate(url_path)
        if path is None:
            return None
        return await self._cache.answer(
            path,
            method=method,
            headers=headers,
            immutable=immutable,
            revalidate=self._revalidate,
            root=self.root,
        )


def _is_plain_name(name: str) -> bool:
    """Whether a name stays one harmless name, however often something decodes it further."""
    try:
        if not 0 < len(os.fsencode(name)) <= _MAX_NAME:
            return False
    except UnicodeEncodeError:
        return False
    while True:
        if name in ("", ".", "..") or any(c in "/\\" or c < " " for c in name):
            return False
        decoded = unquote(name)
        if decoded == name:
            return True
        name = decoded
