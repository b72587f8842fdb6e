"""Parts of names of keys and pub/sub channels in Redis."""

from __future__ import annotations


def escaped(name: str) -> bytes:
    """Replace braces, since they mark the part of a key that its hash slot depends on."""
    return name.encode().replace(b"%", b"%25").replace(b"{", b"%7B").replace(b"}", b"%7D")


def unescaped(name: bytes) -> str:
    """Return the name of which `escaped` made these bytes."""
    return name.replace(b"%7B", b"{").replace(b"%7D", b"}").replace(b"%25", b"%").decode()
