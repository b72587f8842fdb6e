"""Which pages may open a connection: those of the app's own origin, and those it names.

A browser sends cookies along with any WebSocket or event stream that any page opens, and for
WebSockets no other rule of the browser stands in between: only the server can refuse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash.access.refusal import Header

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^\s/:@\[\]?#\\,]+)(:(?P<port>\d{1,5}))?",
    re.IGNORECASE,
)
_PORTS = {"http": 80, "https": 443}
# The schemes under which ASGI knows what a page calls http and https.
_PAGE_SCHEMES = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port; ``port`` is None where the scheme has no usual one."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Read an origin as browsers write it; None for what is none, ``null`` included."""
        match = _ORIGIN.fullmatch(text)
        if match is None:
            return None
        scheme = match["scheme"].lower()
        port = int(match["port"]) if match["port"] else _PORTS.get(scheme)
        return cls(scheme, match["host"].lower().removesuffix("."), port)


class OriginPolicy:
    """Decides by the ``Origin`` of a request.

    The app's own origin is always allowed: scheme, host and port of the request itself, or what the
    browser says is ``same-origin`` in a header that no page can set. ``allowed`` names others:
    ``https://example.org``, ``https://*.example.org`` for every host below, ``*`` for any page
    whatever, sandboxed ones (``null``) included. A request without ``Origin`` comes from a program,
    which could claim any origin, or from a browser that says by ``Sec-Fetch-Site`` where its page
    is from: allowed unless that is another site.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        names = (allowed,) if isinstance(allowed, str) else tuple(allowed)
        self._everyone = "*" in names
        below = {name: name.replace("://*.", "://", 1) for name in names if "://*." in name}
        self._below = frozenset(map(_read, below.values()))
        self._allowed = frozenset(_read(name) for name in {*names} - {"*", *below})

    def objection(self, scope: dict[str, Any]) -> str | None:
        """Say in one line why the page behind this request is refused; None if it is not."""
        sent = _values(scope, b"origin")
        site = _values(scope, b"sec-fetch-site")
        if self._everyone or site == ["same-origin"]:
            return None
        if not sent:
            if site in ([], ["none"]):
                return None
            return "the request comes from a page of another site"
        origin = Origin.parse(sent[0]) if len(sent) == 1 else None
        if origin is None:
            return f"{', '.join(sent)!r} is no origin that is allowed"
        own = _own(scope)
        if origin == own or self._names(origin):
            return None
        if own is not None and origin.host == own.host and origin.scheme == "https":
            return (
                f"the page is from {sent[0]}, the request came by {own.scheme}: behind a proxy, "
                "name it in trusted_proxies=, or the origin in allowed_origins="
            )
        return f"the page is from {sent[0]}, which is neither this server nor in allowed_origins="

    def sharing(self, scope: dict[str, Any]) -> list[Header]:
        """Return the headers that let an allowed page of another origin read the answer.

        Cookies are shared with origins that are named, never with ``*``.
        """
        sent = _values(scope, b"origin")
        origin = Origin.parse(sent[0]) if len(sent) == 1 else None
        if origin is not None and origin != _own(scope) and self._names(origin):
            return [
                (b"access-control-allow-origin", sent[0].encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                (b"vary", b"origin"),
            ]
        return [(b"access-control-allow-origin", b"*")] if sent and self._everyone else []

    def _names(self, origin: Origin) -> bool:
        return origin in self._allowed or any(
            (origin.scheme, origin.port) == (above.scheme, above.port)
            and origin.host.endswith(f".{above.host}")
            for above in self._below
        )


def _read(name: str) -> Origin:
    origin = Origin.parse(name)
    if origin is None or "*" in origin.host:
        raise ConfigurationError(
            f"allowed_origins={name!r}: write scheme and host and nothing after them, such as "
            "https://example.org, https://*.example.org or http://localhost:3000; or * for any page"
        )
    return origin


def _own(scope: dict[str, Any]) -> Origin | None:
    hosts = _values(scope, b"host")
    scheme = scope.get("scheme", "http")
    return (
        Origin.parse(f"{_PAGE_SCHEMES.get(scheme, scheme)}://{hosts[0]}")
        if len(hosts) == 1
        else None
    )


def _values(scope: dict[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]
