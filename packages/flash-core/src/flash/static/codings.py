"""The codings in which a body can be sent compressed, and what each costs to make."""

from __future__ import annotations

import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import brotli
import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What a body can be sent as; of equally welcome ones the earlier is sent.
Coding: TypeAlias = Literal["br", "zstd", "gzip", "identity"]
CODINGS: tuple[Coding, ...] = get_args(Coding)

# The form that costs least to make: a fifth of the others.
QUICKEST: Coding = "zstd"


def _gzip(body: bytes) -> bytes:
    # The window's 16 asks for gzip's header, which zlib writes without a date: equal bodies give
    # equal forms.
    compressor = zlib.compressobj(5, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(body)


def _brotli(body: bytes) -> bytes:
    return brotli.compress(body, quality=5)


# By coding; each takes a body and returns the form.
ENCODERS: Mapping[Coding, Callable[[bytes], bytes]] = MappingProxyType(
    {"br": _brotli, "zstd": _zstd, "gzip": _gzip}
)
