"""`HostPolicy`: the hosts under which an app may be reached.

A page of another site whose name resolves to this server (DNS rebinding) is of the same origin as
the server for a browser. Only the ``Host`` header shows that the name is not the app's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

# A host as a browser sends it: a name, an IPv4 address or an IPv6 address in brackets; then a port.
_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d{1,5})?", re.IGNORECASE)


class HostPolicy:
    """Decides by the ``Host`` header whether a request is for this app; ports do not matter.

    ``allowed`` names hosts: ``example.org``; ``*.example.org`` for all subdomains; ``*`` for any.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = (allowed,) if isinstance(allowed, str) else tuple(allowed)
        self._allows_any = "*" in names
        self._hosts: set[str] = set()
        # Domains whose subdomains are allowed, with a dot in front.
        self._parents: list[str] = []
        for name in names:
            if name == "*":
                continue
            host = _host_of(name.removeprefix("*."))
            if host is None or ":" in name.rpartition("]")[2] or not name:
                raise ConfigurationError(
                    f"allowed_hosts={name!r} is not a host: write a name or an address without "
                    "scheme and port, such as example.org, *.example.org, 127.0.0.1 or [::1], or * "
                    "for any host"
                )
            if name.startswith("*."):
                self._parents.append(f".{host}")
            else:
                self._hosts.add(host)

    @property
    def allows_any(self) -> bool:
        """Whether every host is allowed."""
        return self._allows_any

    def refusal_reason(self, scope: dict[str, Any]) -> str | None:
        """Return in one line why the request is refused; None if it is allowed."""
        if self._allows_any:
            return None
        sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = _host_of(sent[0]) if len(sent) == 1 else None
        if host is not None and (host in self._hosts or host.endswith(tuple(self._parents))):
            return None
        shown = ", ".join(sent)[:100]
        return f"the host {shown!r} is not in allowed_hosts="


def _host_of(text: str) -> str | None:
    match = _HOST.fullmatch(text.strip())
    return None if match is None else match["host"].lower().removesuffix(".")
