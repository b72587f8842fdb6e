"""The signing key that all workers of one Redis share, for an app without a `secret_key`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from flash.redis.client import RedisClient
from flash.supervision import SupervisedTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash.redis.address import Address

logger = logging.getLogger(__name__)

# Seconds that a starting worker waits for Redis.
_START_TIMEOUT = 30.0
# Seconds between two looks whether Redis still has the key.
_LOOK_EVERY = 15.0


class RedisSigningKey:
    """Lets a worker sign with the key in Redis; the first worker creates it.

    ``use`` is called with the key at the start, and with another one if Redis lost the first. A
    lost key is written again, so that workers which start later accept earlier signatures.
    """

    def __init__(self, address: Address, use: Callable[[bytes], None]) -> None:
        self._name = f"{address.prefix}:signing-key"
        self._address = address
        self._use = use
        self._key = secrets.token_bytes(32)
        self._client = RedisClient(address)
        self._keeping = SupervisedTask("the shared signing key in Redis", self._keep)

    async def start(self) -> None:
        """Read or create the key; raises `RedisUnavailable` if Redis does not answer in 30 s."""
        client = RedisClient(self._address, timeout=max(_START_TIMEOUT, self._address.timeout))
        try:
            self._key = await self._agree(client)
        finally:
            await client.close()
        self._use(self._key)
        self._keeping.start()

    async def close(self) -> None:
        """Stop looking after the key."""
        await self._keeping.stop()
        await self._client.close()

    async def _agree(self, client: RedisClient) -> bytes:
        """Return the key in Redis; write this worker's key if there is none."""
        slot = client.slot_of(self._name)
        while True:
            await client.call(["SET", self._name, self._key, "NX"], slot=slot)
            stored: bytes | None = await client.call(["GET", self._name], slot=slot)
            if stored:
                return stored

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                stored = await self._agree(self._client)
            except RedisError:
                # Nothing that is signed needs Redis until another worker starts.
                logger.debug("the signing key in Redis could not be looked up", exc_info=True)
                continue
            if stored != self._key:
                logger.warning(
                    "Redis lost the signing key, and another worker has created a new one; what "
                    "was signed with the old one, such as open pages, is not accepted any more"
                )
                self._key = stored
                self._use(stored)
