"""A file in memory: its content type, entity tags and compressed forms."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flash.static.codings import Coding

# Bytes; shorter bodies are not compressed, as they fit into one packet with their headers.
MIN_COMPRESSED = 512

# Listed here because the machine's registry may map scripts to text/plain, which browsers refuse to
# run.
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

_NO_FORMS: Mapping[Coding, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class StaticFile:
    """One version of a file, with the compressed forms made so far."""

    path: Path
    # The value of the Content-Type header, charset included.
    content_type: bytes
    body: bytes = field(repr=False)
    # A hash of the body, in hex digits.
    digest: bytes
    # Whole seconds since 1970, never in the future.
    last_modified: int
    # Whether compressed forms are worth making; False after a form that saved nothing.
    compressible: bool
    forms: Mapping[Coding, bytes] = field(default_factory=lambda: _NO_FORMS, repr=False)

    @classmethod
    def of(cls, path: Path, body: bytes, *, last_modified: int) -> StaticFile:
        """Create a file from a body; ``path`` need not exist, its suffix gives the content type."""
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
        """The size of the uncompressed body, in bytes."""
        return len(self.body)

    @property
    def bytes_held(self) -> int:
        """The size of the body and all forms, in bytes."""
        return len(self.body) + sum(map(len, self.forms.values()))

    def tag(self, coding: Coding = "identity") -> bytes:
        """Return the strong entity tag of a form, with quotes; the form need not be made yet."""
        if coding == "identity":
            return b'"%b"' % self.digest
        return b'"%b-%b"' % (self.digest, coding.encode())

    def with_form(self, coding: Coding, body: bytes) -> StaticFile:
        """Return the file with one more form, or marked incompressible if it saves nothing."""
        if len(body) >= len(self.body):
            return replace(self, compressible=False)
        return replace(self, forms=MappingProxyType({**self.forms, coding: body}))
