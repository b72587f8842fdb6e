"""Lua scripts that run in Redis, sent by their digest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash.redis.connection import Argument


class Script:
    """A Lua script: sent as EVALSHA, and as EVAL to a server that does not know it.

    EVAL makes the server remember the script, so the source travels once per server and start.
    On a cluster all keys of one call must share a hash slot.
    """

    __slots__ = ("_digest", "_source")

    def __init__(self, source: str | bytes) -> None:
        self._source = source.encode() if isinstance(source, str) else source
        self._digest = hashlib.sha1(self._source, usedforsecurity=False).hexdigest().encode()

    def call(self, keys: Sequence[bytes | str], arguments: Sequence[Argument]) -> list[Argument]:
        """Return the command that runs the script by its digest."""
        return [b"EVALSHA", self._digest, len(keys), *keys, *arguments]

    def load(self, command: Sequence[Argument]) -> list[Argument]:
        """Return a command that `call` made, with the source in the place of the digest."""
        return [b"EVAL", self._source, *command[2:]]
