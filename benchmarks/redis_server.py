"""A Redis of a benchmark's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_START_SECONDS = 10.0


@contextlib.asynccontextmanager
async def redis_server() -> AsyncGenerator[str]:
    """Start a Redis that keeps nothing on the disk, and return its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    with tempfile.TemporaryDirectory() as directory:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(_START_SECONDS), Redis.from_url(url) as client:
                while True:
                    with contextlib.suppress(RedisConnectionError):
                        await client.ping()
                        break
                    await asyncio.sleep(0.02)
            yield url
        finally:
            process.terminate()
            await process.wait()
