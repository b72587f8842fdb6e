"""The format of every message that flash-pubsub publishes.

A payload is a msgpack array of six members, in this order:

1. the version, ``1``;
2. the kind, a string: ``json`` and ``bytes`` are messages of users, whose body is JSON text or any
   bytes; the other kinds are defined by the modules that publish them;
3. the message's id, a string that is unique;
4. the time at which it was published, in seconds since 1970, by the publisher's clock;
5. the body, bytes: serialised once by the publisher and forwarded without being parsed;
6. extras, a map with string keys, mostly empty; a traced message has ``traceparent`` there, see
   `flash_pubsub.broker.spans`. A reader ignores keys that it does not know.

A reader refuses a message of another version and logs one line. It ignores a message of a kind
that it does not know. Nothing is ever unpickled.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import msgpack
import orjson

from flash.serialize import dumps
from flash_pubsub.errors import UnsupportedEnvelope

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1

JSON = "json"
BYTES = "bytes"

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def message_id() -> str:
    """Return a unique id for a message."""
    return secrets.token_urlsafe(12)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message; its body is serialised already."""

    kind: str
    body: bytes
    id: str = field(default_factory=message_id)
    # Seconds since 1970 by the publisher's clock.
    time: float = field(default_factory=time.time)
    # Values that msgpack can write: scalars, lists and maps.
    extras: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @classmethod
    def of(cls, data: object) -> Envelope:
        """Return the envelope of a user's message: bytes as they are, everything else as JSON.

        Raises ``TypeError`` for data without a JSON form.
        """
        if isinstance(data, bytes | bytearray | memoryview):
            return cls(BYTES, bytes(data))
        return cls(JSON, dumps(data))

    @property
    def data(self) -> Any:
        """The message as a user published it: bytes, or the decoded JSON.

        Raises `UnsupportedEnvelope` for a message of any other kind.
        """
        if self.kind == BYTES:
            return self.body
        if self.kind != JSON:
            raise UnsupportedEnvelope(f"kind {self.kind!r} is no message of a user")
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise UnsupportedEnvelope(f"its body is not JSON ({error})") from error

    def pack(self) -> bytes:
        """Encode the envelope as a payload."""
        members = [VERSION, self.kind, self.id, self.time, self.body, dict(self.extras)]
        return cast("bytes", msgpack.packb(members))

    @classmethod
    def unpack(cls, payload: bytes) -> Envelope:
        """Decode a payload; raises `UnsupportedEnvelope`."""
        try:
            members = msgpack.unpackb(payload)
        except (ValueError, msgpack.UnpackException) as error:
            raise UnsupportedEnvelope("it is not msgpack") from error
        match members:
            case [1, str(kind), str(id_), int() | float() as at, bytes(body), dict(extras)]:
                return cls(kind, body, id_, float(at), cast("dict[str, Any]", extras))
            case [int(version), *_] if version != VERSION:
                raise UnsupportedEnvelope(
                    f"it has version {version}, and this worker reads version {VERSION}; "
                    f"run one version of flash-pubsub everywhere"
                )
            case _:
                raise UnsupportedEnvelope("it is no envelope of flash-pubsub")
