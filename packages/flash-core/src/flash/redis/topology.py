"""Which server has which keys: one, whichever a sentinel names, or the nodes of a cluster."""

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
    from flash.redis.connection import Dialer

_SLOTS = 16384
# Seconds between two times of asking who has what.
_ASK_INTERVAL = 0.1


class Topology(Protocol):
    """Knows which server to ask.

    Discovering raises ``RedisError`` or ``OSError`` when nobody answers. What was discovered is
    believed until `forget` or `learn`.
    """

    # Whether pub/sub is sharded: a message reaches only who asked the owner of its slot.
    sharded: bool

    async def owner(self, slot: int) -> Node:
        """Return the server that has a slot."""
        ...

    async def owners(self) -> list[Node]:
        """Return every server that has slots."""
        ...

    def forget(self) -> None:
        """What was discovered has turned out wrong."""
        ...

    def learn(self, slot: int, node: Node) -> None:
        """A server said that another one has a slot."""
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
        """Nothing was discovered."""

    def learn(self, slot: int, node: Node) -> None:
        """One server has all slots."""


class _Discovered:
    """What is discovered by asking one server after the other, by one caller for all."""

    def __init__(self, address: Address) -> None:
        # Whoever answered last is asked first.
        self.known = list(address.nodes)
        # Seconds for asking one of them.
        self._ask_timeout = address.connect_timeout
        self._lock = asyncio.Lock()
        self._stale = True
        self._asked_at = -math.inf

    async def refresh(self) -> None:
        """Ask if what is known may be wrong; many who find so at once ask once."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._stale and now - self._asked_at > _ASK_INTERVAL:
                await self.ask()
                self._stale = False
                self._asked_at = asyncio.get_running_loop().time()

    def forget(self) -> None:
        """Ask again, the next time but for those that come at once."""
        self._stale = True

    async def ask(self) -> None:
        """Ask until one has answered; raises what the last one raised."""
        failure: Exception = RedisConnectionError("there is nobody to ask")
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
        """Ask one server and note what it says."""
        raise NotImplementedError


class Sentinels(_Discovered):
    """The master that sentinels name."""

    sharded = False

    def __init__(self, address: Address, dialer: Dialer) -> None:
        super().__init__(address)
        self._service = address.service or ""
        self._dialer = dialer
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
        """A master has all slots."""

    async def ask_one(self, node: Node) -> None:
        """Ask one sentinel."""
        connection = await self._dialer.dial_sentinel(node)
        try:
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            reply = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        if not reply:
            raise RedisConnectionError(f"sentinel {node} knows no service {self._service!r}")
        self._master = Node(reply[0].decode(), int(reply[1]))


class Cluster(_Discovered):
    """The nodes of a cluster, each with its slots."""

    sharded = True

    def __init__(self, address: Address, dialer: Dialer) -> None:
        super().__init__(address)
        self._seeds = address.nodes
        self._dialer = dialer
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
        connection = await self._dialer.dial(node)
        try:
            await connection.send_command("CLUSTER", "SLOTS")
            reply: Any = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        owners: list[Node | None] = [None] * _SLOTS
        for first, last, (host, port, *_), *_ in reply:
            # A node that does not know its own address leaves it out.
            name = host.decode() if host else node.host
            owner = Node(node.host if name in {"", "?"} else name, int(port))
            owners[int(first) : int(last) + 1] = [owner] * (int(last) + 1 - int(first))
        if not any(owners):
            raise RedisConnectionError(f"{node} knows nobody with slots")
        self._owners = owners
        others = list({owner for owner in owners if owner} | set(self._seeds))
        random.shuffle(others)
        self.known = [node, *(other for other in others if other != node)]


def topology_of(address: Address, dialer: Dialer) -> Topology:
    """Return the topology that an address stands for."""
    match address.kind:
        case Kind.CLUSTER:
            return Cluster(address, dialer)
        case Kind.SENTINEL:
            return Sentinels(address, dialer)
        case _:
            with suppress(IndexError):
                return Single(address.nodes[0])
            raise ValueError(f"{address} names no server")
