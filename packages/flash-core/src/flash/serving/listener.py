"""The addresses on which a server listens, and the sockets bound to them."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator

DEFAULT_PORT = 8050

# Connections that the operating system queues until a worker accepts them.
BACKLOG = 1024

_TCP = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]*)(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on: TCP, a Unix socket, or an inherited file descriptor."""

    kind: Literal["tcp", "unix", "fd"]
    # The host name or IP address of "tcp", without brackets; the path of "unix".
    host: str
    # The port of "tcp", where 0 lets the system choose; the number of the descriptor of "fd".
    port: int = 0

    @classmethod
    def parse(cls, bind: str) -> Address:
        """Read ``host:port``, ``host``, ``:port``, ``[v6]:port``, ``unix:path`` or ``fd://N``.

        Raises ConfigurationError for anything else.
        """
        if bind.startswith("unix:") and len(bind) > len("unix:"):
            return cls("unix", bind.removeprefix("unix:"))
        if bind.startswith("fd://") and bind.removeprefix("fd://").isdecimal():
            return cls("fd", "", int(bind.removeprefix("fd://")))
        match = _TCP.fullmatch(bind)
        port = int(match["port"] or DEFAULT_PORT) if match else -1
        if match is None or not bind or not 0 <= port <= 65535:
            raise ConfigurationError(
                f"cannot listen on {bind!r}: give host:port, [v6 address]:port, unix:/path or fd://N"
            )
        return cls("tcp", match["host"].strip("[]") or "0.0.0.0", port)

    def url(self, *, tls: bool, path: str = "/") -> str:
        """The address as a URL; the address itself if it is not TCP."""
        if self.kind == "tcp":
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"{'https' if tls else 'http'}://{host}:{self.port}{path}"
        return str(self)

    def ip(self) -> str:
        """The IP address of the host of "tcp"; blocks while it resolves a name."""
        found = socket.getaddrinfo(self.host, None, family=_family(self.host))
        return str(found[0][4][0])

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.host}"
        if self.kind == "fd":
            return f"fd://{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@contextmanager
def bound(address: Address) -> Generator[tuple[socket.socket, Address]]:
    """Bind a socket that does not listen yet; yield it with its actual address.

    A Unix socket's file is removed at the end; the file of a server that no longer runs is
    replaced. Raises ConfigurationError if the address cannot be bound.
    """
    try:
        sock = _bind(address)
    except OSError as error:
        hint = "; stop the other server or choose another address"
        raise ConfigurationError(
            f"cannot listen on {address}: {(error.strerror or str(error)).lower()}"
            + (hint if error.errno == errno.EADDRINUSE else "")
        ) from None
    with sock:
        if address.kind == "tcp":
            address = Address("tcp", address.host, sock.getsockname()[1])
        try:
            yield sock, address
        finally:
            if address.kind == "unix":
                _remove_file(address.host)


@contextmanager
def reserved(address: Address) -> Generator[Address]:
    """Yield an address that is free, for a server that binds by itself; port 0 becomes a real one.

    Raises ConfigurationError if another server has the address. Without this check, servers that
    share ports among their workers would silently share connections with the other server.
    """
    if address.kind == "fd":
        yield address
        return
    with bound(address) as (_, free):
        pass
    if address.kind == "unix" or address.port:
        yield free
        return
    with socket.socket(_family(free.host)) as holder:
        # Bound but not listening: it accepts no connections and reserves the port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((free.host, 0))
        yield Address("tcp", free.host, holder.getsockname()[1])


def _bind(address: Address) -> socket.socket:
    if address.kind == "fd":
        # A duplicate, so that its owner keeps the original descriptor.
        return socket.socket(fileno=os.dup(address.port))
    if address.kind == "unix":
        _replace_stale(address.host)
        sock = socket.socket(socket.AF_UNIX)
        where: object = address.host
    else:
        sock = socket.socket(_family(address.host))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        where = (address.host, address.port)
    try:
        sock.bind(where)
    except OSError:
        sock.close()
        raise
    return sock


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _replace_stale(path: str) -> None:
    """Remove the socket file of a server that no longer runs; keep one that accepts connections."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def _remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
