"""The servers of one address, and the hash slots that each of them has."""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from flash.redis.address import Address, Kind, Node

if TYPE_CHECKING:
    from flash.redis.connection import Connector

_SLOTS = 16384
# Seconds between two discoveries.
_ASK_INTERVAL = 0.1


class Topology(Protocol):
    """Names the server of each hash slot.

    Discovery raises ``RedisError`` or ``OSError`` when no server answers. Its result is used until
    `forget` or `learn`.
    """

    # Whether pub/sub is sharded: only subscribers on the owner of a channel's slot get a message.
    sharded: bool

    async def owner(self, slot: int) -> Node:
        """Return the server that has a slot."""
        ...

    async def owners(self) -> list[Node]:
        """Return every server that has slots."""
        ...

    def forget(self) -> None:
        """Discover again before the next answer, since the last discovery is out of date."""
        ...

    def learn(self, slot: int, node: Node) -> None:
        """Note that ``node`` has ``slot``, as another server said."""
        ...


class Single:
    """One server, always the same."""

    sharded = False

    def __init__(self, node: Node) -> None:
        self._node = node

    async def owner(self, slot: int) -> Node:
        """Return the server."""
        return self._node

    async def owners(self) -> list[Node]:
        """Return the server."""
        return [self._node]

    def forget(self) -> None:
        """Do nothing: nothing was discovered."""

    def learn(self, slot: int, node: Node) -> None:
        """Do nothing: the one server has all slots."""


class _Discovered:
    """A topology that is discovered by asking the known servers one after the other."""

    def __init__(self, address: Address) -> None:
        # The server that answered last is asked first.
        self.known = list(address.nodes)
        # Seconds for asking one of them.
        self._ask_timeout = address.connect_timeout
        self._lock = asyncio.Lock()
        self._stale = True
        self._asked_at = -math.inf

    async def refresh(self) -> None:
        """Discover if the last discovery is out of date; concurrent callers discover once."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._stale and now - self._asked_at > _ASK_INTERVAL:
                await self.ask()
                self._stale = False
                self._asked_at = asyncio.get_running_loop().time()

    def forget(self) -> None:
        """Discover again at the next call, unless the last discovery was a moment ago."""
        self._stale = True

    async def ask(self) -> None:
        """Ask servers until one answers; raises what the last one raised."""
        failure: Exception = RedisConnectionError("no server is known")
        for node in list(self.known):
            try:
                async with asyncio.timeout(self._ask_timeout):
                    await self.ask_one(node)
            except (RedisError, OSError) as error:
                failure = error
            else:
                self.known.remove(node)
                self.known.insert(0, node)
                return
        raise failure

    async def ask_one(self, node: Node) -> None:
        """Ask one server and store its answer."""
        raise NotImplementedError


class Sentinels(_Discovered):
    """The master that sentinels name."""

    sharded = False

    def __init__(self, address: Address, connector: Connector) -> None:
        super().__init__(address)
        self._service = address.service or ""
        self._connector = connector
        self._master: Node | None = None

    async def owner(self, slot: int) -> Node:
        """Return the master."""
        await self.refresh()
        if self._master is None:
            raise RedisConnectionError("no sentinel has named a master yet")
        return self._master

    async def owners(self) -> list[Node]:
        """Return the master."""
        return [await self.owner(0)]

    def learn(self, slot: int, node: Node) -> None:
        """Do nothing: the master has all slots."""

    async def ask_one(self, node: Node) -> None:
        """Ask one sentinel."""
        connection = await self._connector.connect_sentinel(node)
        try:
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            reply = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        if not reply:
            raise RedisConnectionError(
                f"sentinel {node} does not know the service {self._service!r}"
            )
        self._master = Node(reply[0].decode(), int(reply[1]))


class Cluster(_Discovered):
    """The nodes of a cluster and their slots."""

    sharded = True

    def __init__(self, address: Address, connector: Connector) -> None:
        super().__init__(address)
        self._seeds = address.nodes
        self._connector = connector
        # One per slot; None where nobody has it.
        self._owners: list[Node | None] = [None] * _SLOTS

    async def owner(self, slot: int) -> Node:
        """Return the node that has a slot."""
        await self.refresh()
        node = self._owners[slot]
        if node is None:
            self.forget()
            raise RedisConnectionError(f"no node of the cluster has slot {slot}")
        return node

    async def owners(self) -> list[Node]:
        """Return every node that has slots."""
        await self.refresh()
        return sorted({node for node in self._owners if node}, key=str)

    def learn(self, slot: int, node: Node) -> None:
        """Note that a slot has moved."""
        self._owners[slot] = node

    async def ask_one(self, node: Node) -> None:
        """Ask one node."""
        connection = await self._connector.connect(node)
        try:
            await connection.send_command("CLUSTER", "SLOTS")
            reply: Any = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        owners: list[Node | None] = [None] * _SLOTS
        for first, last, (host, port, *_), *_ in reply:
            # A node that does not know its own address sends none.
            name = host.decode() if host else node.host
            owner = Node(node.host if name in {"", "?"} else name, int(port))
            owners[int(first) : int(last) + 1] = [owner] * (int(last) + 1 - int(first))
        if not any(owners):
            raise RedisConnectionError(f"{node} knows no node with slots")
        self._owners = owners
        others = list({owner for owner in owners if owner} | set(self._seeds))
        random.shuffle(others)
        self.known = [node, *(other for other in others if other != node)]


def topology_of(address: Address, connector: Connector) -> Topology:
    """Return the topology of an address."""
    match address.kind:
        case Kind.CLUSTER:
            return Cluster(address, connector)
        case Kind.SENTINEL:
            return Sentinels(address, connector)
        case _:
            with suppress(IndexError):
                return Single(address.nodes[0])
            raise ValueError(f"{address} names no server")
