"""Tokens: a loader's name and arguments, signed, as a page carries them.

Pure: a `Signer` holds a key and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash_lazy.errors import ArgumentError, TokenRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

# The limit of the arguments' JSON in bytes; pages receive it with the layout and send it back.
MAX_ARGUMENT_BYTES = 4096
# Within a token each quotation mark of the arguments' JSON takes twice as much, and base64 a third
# more; the rest is for the loader's name.
_MAX_TOKEN_CHARS = 3 * MAX_ARGUMENT_BYTES + 1024
_MAC_CHARS = 43
_DIGEST_BYTES = 12


@dataclass(frozen=True, slots=True)
class LoaderCall:
    """A loader's name with arguments; equal calls have equal results."""

    loader: str
    # Canonical JSON: an object by parameter name.
    arguments: str

    def values(self) -> dict[str, Any]:
        """Return the arguments by parameter name."""
        return json.loads(self.arguments)

    @classmethod
    def of(cls, loader: str, arguments: Mapping[str, Any]) -> LoaderCall:
        """Encode the arguments; raises `ArgumentError` for values that JSON does not preserve."""
        for name, value in arguments.items():
            if (found := _first_unsupported(value)) is not None:
                raise ArgumentError(
                    loader,
                    f"argument {name}={found!r} is a {type(found).__name__}, which JSON does not "
                    "preserve; give an id, a number or a string, and fetch the rest in the loader",
                )
        text = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ArgumentError(
                loader, "an argument contains half a surrogate pair, which UTF-8 cannot encode"
            ) from error
        if size > MAX_ARGUMENT_BYTES:
            raise ArgumentError(
                loader,
                f"the arguments take {size:,} bytes of at most {MAX_ARGUMENT_BYTES:,}; give an id "
                "and fetch the rest in the loader",
            )
        return cls(loader, text)


class Signer:
    """Signs calls with a key of the app, and reads only tokens that it signed.

    ``identity`` is the visitor of the token. It is part of the signature and not of the token, so a
    token does not reveal its visitor, and another visitor cannot use it.
    """

    def __init__(self, secret: bytes, scope: str) -> None:
        self._key = hmac.digest(secret, f"flash-lazy\0{scope}".encode(), "sha256")

    def digest(self, *parts: str) -> str:
        """Return a short keyed hash of ``parts``, which hides them and differs between apps."""
        message = json.dumps(parts).encode()
        return hmac.digest(self._key, b"digest\0" + message, "sha256")[:_DIGEST_BYTES].hex()

    def sign(self, call: LoaderCall, identity: str = "") -> str:
        """Return the token of ``call``; equal calls for the same visitor have equal tokens."""
        members = json.dumps([call.loader, call.arguments], ensure_ascii=False)
        payload = _encode(members.encode())
        return self._mac(payload, identity) + payload

    def loader(self, token: object) -> str:
        """Return the loader's name in a token, without checking the signature."""
        return self._parse(token)[1].loader

    def read(self, token: object, identity: str = "") -> LoaderCall:
        """Return the call in a token; raises `TokenRefused` if the signature is not valid."""
        mac, call, payload = self._parse(token)
        if not hmac.compare_digest(
            mac.encode(errors="replace"), self._mac(payload, identity).encode()
        ):
            raise TokenRefused
        return call

    def _mac(self, payload: str, identity: str) -> str:
        message = f"{len(identity)}:{identity}:{payload}".encode()
        return _encode(hmac.digest(self._key, message, hashlib.sha256))

    def _parse(self, token: object) -> tuple[str, LoaderCall, str]:
        if not isinstance(token, str) or not _MAC_CHARS < len(token) <= _MAX_TOKEN_CHARS:
            raise TokenRefused
        mac, payload = token[:_MAC_CHARS], token[_MAC_CHARS:]
        try:
            match json.loads(base64.b64decode(f"{payload}==", altchars=b"-_")):
                case [str(loader), str(arguments)]:
                    return mac, LoaderCall(loader, arguments), payload
                case _:
                    raise TokenRefused
        except (binascii.Error, ValueError, RecursionError) as error:
            raise TokenRefused from error


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _first_unsupported(value: Any) -> Any:
    """Return the first part of ``value`` that JSON would change or refuse, else None.

    Only exact classes pass: an enum or a numpy integer would be decoded as another class.
    """
    kind = type(value)
    if kind in (str, int, bool, type(None)) or (kind is float and math.isfinite(value)):
        return None
    if kind is list:
        return next(
            (found for each in value if (found := _first_unsupported(each)) is not None), None
        )
    if kind is dict:
        for name, each in value.items():
            if type(name) is not str:
                return name
            if (found := _first_unsupported(each)) is not None:
                return found
        return None
    return value
