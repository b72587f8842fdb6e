"""The address of a Redis: one server, a cluster, or a master that sentinels name."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from flash.errors import FlashError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL = "memory://"

# The options that may follow the question mark.
_NUMBERS = ("timeout", "connect_timeout", "probe_interval")
_COUNTS = ("min_replicas", "db")
_TLS = (
    *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_cert_reqs"),
    "ssl_check_hostname",
)
_TEXTS = ("prefix", "sentinel_username", "sentinel_password")
# Options of redis-py's own URLs: those that have another name here, and those without effect.
_RENAMED = {"socket_timeout": "timeout", "socket_connect_timeout": "connect_timeout"}
_WITHOUT_EFFECT = frozenset(
    {"client_name", "health_check_interval", "max_connections", "protocol"}
    | {"retry_on_timeout", "socket_keepalive"}
)


class Kind(Enum):
    """The kind of store that an address names."""

    MEMORY = "memory"
    SINGLE = "redis"
    UNIX = "unix"
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
    """One server; on a Unix socket ``host`` is the path and ``port`` is 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is, read from a URL."""

    kind: Kind
    # The server, or the servers to ask for it: some nodes of a cluster, or sentinels.
    nodes: tuple[Node, ...] = ()
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    # The name under which sentinels know the master.
    service: str | None = None
    # The beginning of every key and channel in Redis.
    prefix: str = "flash"
    # Seconds for one call with all its attempts.
    timeout: float = 5.0
    # Seconds for opening a connection, and for a single attempt of the broker.
    connect_timeout: float = 1.5
    # Seconds between two probes of the broker's subscription.
    probe_interval: float = 1.0
    # Replicas that must have a publication before it counts as done.
    min_replicas: int = 0
    # The credentials of the sentinels, where they differ from the master's.
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    # The TLS options that redis-py is given.
    tls_options: Mapping[str, str | bool] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )

    def __str__(self) -> str:
        """Return the address as a URL, without password and options."""
        return self._url(f"{self.username or ''}:***@" if self.password else "")

    @property
    def url(self) -> str:
        """The address as a URL that `parse_url` reads back, password and options included."""
        options: dict[str, object] = dict(self.tls_options)
        for each in fields(self):
            if each.name in (*_NUMBERS, *_TEXTS, "min_replicas"):
                value = getattr(self, each.name)
                if value != each.default:
                    options[each.name] = value
        return self._url(self._credentials, options)

    @property
    def server_key(self) -> tuple[object, ...]:
        """What two addresses have in common that may share connections."""
        tls = tuple(sorted(self.tls_options.items()))
        who = (self.username, self.password, self.sentinel_username, self.sentinel_password)
        return self.kind, self.nodes, self.tls, self.db, self.service, who, tls

    @property
    def _credentials(self) -> str:
        if not self.password and not self.username:
            return ""
        user = quote(self.username or "", safe="")
        return f"{user}:{quote(self.password or '', safe='')}@"

    def _url(self, credentials: str, options: Mapping[str, object] | None = None) -> str:
        if self.kind is Kind.MEMORY:
            return DEFAULT_URL
        scheme = self.kind.value.replace("redis", "rediss", 1) if self.tls else self.kind.value
        asked = dict(options or {})
        if self.kind is Kind.UNIX:
            if self.db:
                asked["db"] = self.db
            start = f"{scheme}://{credentials}{quote(self.nodes[0].host)}"
        else:
            path = f"/{quote(self.service, safe='')}" if self.service else ""
            start = f"{scheme}://{credentials}{','.join(map(str, self.nodes))}{path}/{self.db}"
        return f"{start}?{urlencode(asked)}" if asked else start


def parse_url(url: str) -> Address:
    """Read an address.

    ``memory://``; ``redis://user:password@host:6379/0`` or ``rediss://`` for TLS;
    ``unix:///path/to/redis.sock?db=0``; ``redis+cluster://host:7000,host:7001``; ``redis+sentinel://host:26379,host:26379/service/0``.
    ``rediss+cluster`` and ``rediss+sentinel`` are the same with TLS. Options after a question mark:
    ``prefix``, ``timeout``, ``connect_timeout``, ``probe_interval``, ``min_replicas``, ``db``,
    ``sentinel_username``, ``sentinel_password``, and redis-py's ``ssl_ca_certs``,
    ``ssl_certfile``, ``ssl_keyfile``, ``ssl_keyfile_password``, ``ssl_cert_reqs`` and
    ``ssl_check_hostname``.

    Raises `InvalidAddress`.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    tls = scheme.startswith("rediss")
    try:
        kind = Kind(scheme.replace("rediss", "redis", 1))
    except ValueError as error:
        known = "memory://, redis://, rediss://, unix://, redis+cluster://"
        raise InvalidAddress(
            _masked(url), f"unknown scheme {scheme!r}; known are {known} and redis+sentinel://"
        ) from error
    options = _options(url, parts.query)
    if kind is Kind.MEMORY:
        return Address(kind)
    db = options.pop("db", 0)
    credentials, at, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    socket = (Node(unquote(parts.path), 0),) if kind is Kind.UNIX else ()
    address = Address(
        kind,
        socket or _nodes(url, hosts, 26379 if kind is Kind.SENTINEL else 6379),
        tls,
        unquote(username) or None,
        (unquote(password) or None) if at else None,
        **options,
    )
    if kind is Kind.UNIX:
        return replace(address, db=db)
    path = [unquote(part) for part in parts.path.split("/") if part]
    if kind is Kind.SENTINEL:
        if not path:
            raise InvalidAddress(
                _masked(url), "it names no service; write redis+sentinel://host:26379/mymaster"
            )
        address = replace(address, service=path.pop(0))
    if len(path) > 1 or (path and not path[0].isdigit()):
        raise InvalidAddress(_masked(url), f"{'/'.join(path)!r} is not the number of a database")
    db = int(path[0]) if path else db
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
            raise InvalidAddress(_masked(url), f"{host!r} is not a host and a port") from error
        nodes.append(Node(parts.hostname or "127.0.0.1", port or default_port))
    return tuple(nodes)


def _options(url: str, query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    tls: dict[str, str | bool] = {}
    for given, value in parse_qsl(query, keep_blank_values=True):
        name = _RENAMED.get(given, given)
        if name in _NUMBERS:
            try:
                seconds = float(value)
            except ValueError:
                seconds = math.nan
            if not math.isfinite(seconds):
                reason = f"{name}={value!r} is not a number of seconds"
                raise InvalidAddress(_masked(url), reason)
            if seconds <= 0:
                raise InvalidAddress(_masked(url), f"{name}={value!r} is not above 0")
            options[name] = seconds
        elif name in _COUNTS:
            if not value.isdecimal():
                raise InvalidAddress(_masked(url), f"{name}={value!r} is not a whole number")
            options[name] = int(value)
        elif name == "ssl_check_hostname":
            tls[name] = value.lower() not in ("0", "f", "false", "n", "no", "")
        elif name in _TLS:
            tls[name] = value
        elif name in _TEXTS:
            options[name] = value
        elif name in _WITHOUT_EFFECT:
            text = f"{name}= in the address of a Redis has no effect any more; remove it"
            warnings.warn(text, DeprecationWarning, stacklevel=4)
        else:
            known = ", ".join(sorted((*_NUMBERS, *_COUNTS, *_TEXTS, *_TLS)))
            raise InvalidAddress(_masked(url), f"unknown option {name!r}; known are {known}")
    return {**options, "tls_options": MappingProxyType(tls)}


def _masked(url: str) -> str:
    """Return a URL without its password, however wrong it is otherwise."""
    start, separator, rest = url.partition("://")
    credentials, at, hosts = rest.rpartition("@")
    hosts = hosts.partition("?")[0]
    user = f"{credentials.partition(':')[0]}:***@" if at else ""
    return f"{start}{separator}{user}{hosts}"
