"""The address of a Redis: one server, a cluster, or servers that Sentinel names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from flash.errors import FlashError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL = "memory://"

# What may stand after the question mark, beside what redis-py knows of TLS.
_NUMBERS = ("timeout", "connect_timeout", "probe_interval")
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_cert_reqs")
_TEXTS = ("prefix", "sentinel_username", "sentinel_password")


class Kind(Enum):
    """What answers at an address."""

    MEMORY = "memory"
    SINGLE = "redis"
    CLUSTER = "redis+cluster"
    SENTINEL = "redis+sentinel"


class InvalidAddress(FlashError, ValueError):
    """An address that cannot be read; ``url`` is without the password."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"address {self.url!r}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Node:
    """One server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is, read from a URL."""

    kind: Kind
    # The server, or those to ask for it: a cluster's nodes, sentinels.
    nodes: tuple[Node, ...] = ()
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    # The name under which sentinels know the master.
    service: str | None = None
    # What all names in Redis begin with.
    prefix: str = "flash"
    # Seconds for one call with all its attempts.
    timeout: float = 5.0
    # Seconds for opening a connection, and for a single attempt.
    connect_timeout: float = 1.5
    # Seconds between two probes of a connection.
    probe_interval: float = 1.0
    # Replicas that are to have a publication before it counts as done.
    min_replicas: int = 0
    # Where the sentinels want others than the master.
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    # What redis-py is told of TLS.
    tls_options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __str__(self) -> str:
        """Write it as a URL, without password and options."""
        if self.kind is Kind.MEMORY:
            return DEFAULT_URL
        scheme = self.kind.value.replace("redis", "rediss", 1) if self.tls else self.kind.value
        user = f"{self.username or ''}:***@" if self.password else ""
        path = f"/{self.service}" if self.service else ""
        return f"{scheme}://{user}{','.join(map(str, self.nodes))}{path}/{self.db}"

    @property
    def client_url(self) -> str | None:
        """The address as redis-py's own clients take it, password included.

        None for what is no single server.
        """
        if self.kind is not Kind.SINGLE:
            return None
        scheme = "rediss" if self.tls else "redis"
        user = quote(self.username or "", safe="")
        credentials = f"{user}:{quote(self.password, safe='')}@" if self.password else ""
        node = self.nodes[0]
        host = f"[{node.host}]" if ":" in node.host else node.host
        options = f"?{urlencode(self.tls_options)}" if self.tls_options else ""
        return f"{scheme}://{credentials}{host}:{node.port}/{self.db}{options}"


def parse_url(url: str) -> Address:
    """Read an address.

    ``memory://``; ``redis://user:password@host:6379/0`` or ``rediss://`` for TLS;
    ``redis+cluster://host:7000,host:7001``; ``redis+sentinel://host:26379,host:26379/service/0``.
    ``rediss+cluster`` and ``rediss+sentinel`` are the same with TLS. Options after a question mark:
    ``prefix``, ``timeout``, ``connect_timeout``, ``probe_interval``, ``min_replicas``,
    ``sentinel_username``, ``sentinel_password``, and redis-py's ``ssl_ca_certs`` and its kin.

    Raises `InvalidAddress`.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    tls = scheme.startswith("rediss")
    try:
        kind = Kind(scheme.replace("rediss", "redis", 1))
    except ValueError as error:
        known = ", ".join(["memory://", "redis://", "rediss://", "redis+cluster://"])
        raise InvalidAddress(
            _masked(url), f"unknown scheme {scheme!r}; known are {known} and redis+sentinel://"
        ) from error
    options = _options(url, parts.query)
    if kind is Kind.MEMORY:
        return Address(kind)
    credentials, at, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    address = Address(
        kind,
        _nodes(url, hosts, 26379 if kind is Kind.SENTINEL else 6379),
        tls,
        unquote(username) or None,
        (unquote(password) or None) if at else None,
        **options,
    )
    path = [unquote(part) for part in parts.path.split("/") if part]
    if kind is Kind.SENTINEL:
        if not path:
            raise InvalidAddress(
                _masked(url), "it names no service; write redis+sentinel://host:26379/mymaster"
            )
        address = replace(address, service=path.pop(0))
    if len(path) > 1 or (path and not path[0].isdigit()):
        raise InvalidAddress(_masked(url), f"{'/'.join(path)!r} is no number of a database")
    db = int(path[0]) if path else 0
    if db and kind is Kind.CLUSTER:
        raise InvalidAddress(_masked(url), f"a cluster has database 0 only, not {db}")
    return replace(address, db=db)


def _nodes(url: str, hosts: str, default_port: int) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for host in hosts.split(","):
        try:
            parts = urlsplit(f"//{host}")
            port = parts.port
        except ValueError as error:
            raise InvalidAddress(_masked(url), f"{host!r} is no host and port") from error
        nodes.append(Node(parts.hostname or "127.0.0.1", port or default_port))
    return tuple(nodes)


def _options(url: str, query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    tls: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _NUMBERS:
            try:
                seconds = float(value)
            except ValueError as error:
                reason = f"{name}={value!r} is no number of seconds"
                raise InvalidAddress(_masked(url), reason) from error
            if seconds <= 0:
                raise InvalidAddress(_masked(url), f"{name}={value!r} is not above 0")
            options[name] = seconds
        elif name == "min_replicas":
            if not value.isdecimal():
                raise InvalidAddress(_masked(url), f"{name}={value!r} is no number of replicas")
            options[name] = int(value)
        elif name in _TLS:
            tls[name] = value
        elif name in _TEXTS:
            options[name] = value
        else:
            known = ", ".join(sorted((*_NUMBERS, "min_replicas", *_TEXTS, *_TLS)))
            raise InvalidAddress(_masked(url), f"unknown option {name!r}; known are {known}")
    return {**options, "tls_options": MappingProxyType(tls)}


def _masked(url: str) -> str:
    """Return a URL without its password, however wrong it is otherwise."""
    start, separator, rest = url.partition("://")
    credentials, at, hosts = rest.rpartition("@")
    hosts = hosts.partition("?")[0]
    user = f"{credentials.partition(':')[0]}:***@" if at else ""
    return f"{start}{separator}{user}{hosts}"
