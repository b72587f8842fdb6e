"""Origin policy: pages of the app's own origin and of named origins may open a connection.

A browser sends the app's cookies with every WebSocket and event stream, whichever page opens it.
The same-origin policy does not cover WebSockets, so the server must check the origin.
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
# WebSocket schemes of ASGI and the scheme that the origin of a page has instead.
_PAGE_SCHEMES = {"ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin; ``port`` is None if the scheme has no default port."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Parse an ``Origin`` header; None for ``null`` and for a text that is no origin."""
        match = _ORIGIN.fullmatch(text)
        if match is None:
            return None
        scheme = match["scheme"].lower()
        port = int(match["port"]) if match["port"] else _PORTS.get(scheme)
        return cls(scheme, match["host"].lower().removesuffix("."), port)


class OriginPolicy:
    """Decides by the ``Origin`` header of a request whether its page may connect.

    The app's own origin is always allowed: scheme, host and port are those of the request, or the
    browser sends ``Sec-Fetch-Site: same-origin``, which a page cannot set. ``allowed`` names other
    origins: ``https://example.org``; ``https://*.example.org`` for all subdomains; ``*`` for every
    page, also a sandboxed one (``null``). A request without ``Origin`` is allowed unless
    ``Sec-Fetch-Site`` names another site: it comes from a program, which could claim any origin.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        names = (allowed,) if isinstance(allowed, str) else tuple(allowed)
        self._allows_any = "*" in names
        parents = {name: name.replace("://*.", "://", 1) for name in names if "://*." in name}
        # Origins whose subdomains are allowed, and origins that are allowed themselves.
        self._parents = frozenset(map(_parse_allowed, parents.values()))
        self._allowed = frozenset(_parse_allowed(name) for name in {*names} - {"*", *parents})

    def refusal_reason(self, scope: dict[str, Any]) -> str | None:
        """Return in one line why the request is refused; None if it is allowed."""
        sent = _header_values(scope, b"origin")
        site = _header_values(scope, b"sec-fetch-site")
        if self._allows_any or site == ["same-origin"]:
            return None
        if not sent:
            if site in ([], ["none"]):
                return None
            return "the request comes from a page of another site"
        origin = Origin.parse(sent[0]) if len(sent) == 1 else None
        if origin is None:
            return f"the origin {', '.join(sent)!r} is not allowed"
        own = _own_origin(scope)
        if origin == own or self._is_allowed(origin):
            return None
        if own is not None and origin.host == own.host and origin.scheme == "https":
            return (
                f"the page is from {sent[0]}, but the request came over {own.scheme}: if a proxy "
                "handles TLS, name it in trusted_proxies=, or the origin in allowed_origins="
            )
        host = ", ".join(_header_values(scope, b"host")) or "missing"
        return (
            f"the page is from {sent[0]}, which is neither this server nor in allowed_origins=; "
            f"the request's Host is {host}: if a proxy has changed it, set `proxy_set_header Host "
            "$host;` (nginx) or the like"
        )

    @property
    def allows_any(self) -> bool:
        """Whether every page may connect."""
        return self._allows_any

    def may_use_cookies(self, scope: dict[str, Any]) -> bool:
        """Whether the cookies of an allowed request count.

        They do not if its page is allowed by ``*`` alone: any site could act as the browser's user.
        """
        sent = _header_values(scope, b"origin")
        site = _header_values(scope, b"sec-fetch-site")
        if not self._allows_any or site == ["same-origin"]:
            return True
        if not sent:
            return site in ([], ["none"])
        origin = Origin.parse(sent[0]) if len(sent) == 1 else None
        return origin is not None and (origin == _own_origin(scope) or self._is_allowed(origin))

    def cors_headers(self, scope: dict[str, Any]) -> list[Header]:
        """Return the CORS headers that let a page of another allowed origin read the response.

        Credentials are allowed for origins that are named, never for ``*``.
        """
        sent = _header_values(scope, b"origin")
        origin = Origin.parse(sent[0]) if len(sent) == 1 else None
        if origin is not None and origin != _own_origin(scope) and self._is_allowed(origin):
            return [
                (b"access-control-allow-origin", sent[0].encode("latin-1")),
                (b"access-control-allow-credentials", b"true"),
                (b"vary", b"origin"),
            ]
        return [(b"access-control-allow-origin", b"*")] if sent and self._allows_any else []

    def _is_allowed(self, origin: Origin) -> bool:
        return origin in self._allowed or any(
            (origin.scheme, origin.port) == (parent.scheme, parent.port)
            and origin.host.endswith(f".{parent.host}")
            for parent in self._parents
        )


def _parse_allowed(name: str) -> Origin:
    origin = Origin.parse(name)
    if origin is None or "*" in origin.host:
        raise ConfigurationError(
            f"allowed_origins={name!r} is not an origin: write scheme, host and port only, such as "
            "https://example.org, https://*.example.org or http://localhost:3000, or * for any page"
        )
    return origin


def _own_origin(scope: dict[str, Any]) -> Origin | None:
    hosts = _header_values(scope, b"host")
    scheme = scope.get("scheme", "http")
    return (
        Origin.parse(f"{_PAGE_SCHEMES.get(scheme, scheme)}://{hosts[0]}")
        if len(hosts) == 1
        else None
    )


def _header_values(scope: dict[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]
