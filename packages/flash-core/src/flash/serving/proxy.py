"""Middleware for apps behind a proxy: the client's address and the path of the app."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .target import ASGIApp, Receive, Scope, Send


class TrustedProxy:
    """An ASGI middleware that uses the X-Forwarded headers of trusted proxies only.

    The client becomes the last address in ``X-Forwarded-For`` that is not a trusted proxy, and the
    scheme becomes ``X-Forwarded-Proto``. Both headers are ignored from other senders. A connection
    without an address (a Unix socket) comes from this machine and is trusted.
    """

    def __init__(self, app: ASGIApp, *, trusted: Iterable[str]) -> None:
        self._app = app
        names = tuple(trusted)
        self._everyone = "*" in names
        self._networks = tuple(_network(name) for name in names if name != "*")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] != "lifespan":
            client = scope.get("client")
            if not client or self._trusts(client[0]):
                self._apply(scope)
        await self._app(scope, receive, send)

    def _apply(self, scope: Scope) -> None:
        hops: list[str] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                hops += [hop.strip() for hop in value.decode("latin-1").split(",") if hop.strip()]
            elif name == b"x-forwarded-proto":
                secure = value.strip().lower() in {b"https", b"wss"}
                plain = "ws" if scope["type"] == "websocket" else "http"
                scope["scheme"] = plain + ("s" if secure else "")
        if hops:
            outside = [hop for hop in hops if not self._trusts(hop)]
            scope["client"] = (outside[-1] if outside else hops[0], 0)

    def _trusts(self, host: str) -> bool:
        if self._everyone:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


class RootPath:
    """An ASGI middleware that sets ``root_path``, whether or not the proxy strips it."""

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] != "lifespan":
            scope["root_path"] = self._root_path
            if not f"{scope['path']}/".startswith(f"{self._root_path}/"):
                # ASGI's path includes the root path; it is added if the proxy has stripped it.
                scope["path"] = self._root_path + scope["path"]
                if scope.get("raw_path"):
                    scope["raw_path"] = self._root_path.encode() + scope["raw_path"]
        await self._app(scope, receive, send)


def _network(name: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(name)
    except ValueError:
        raise ConfigurationError(
            f"trusted_proxies={name!r}: give an IP address, a network such as 10.0.0.0/8, or *"
        ) from None
