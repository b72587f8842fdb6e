"""The demo on three workers around a Redis of its own: ``python examples/demo/cluster.py``.

Three processes on three ports, which know of each other through Redis alone. Ctrl-C ends them all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.request import urlopen

from database import Database

if TYPE_CHECKING:
    from asyncio.subprocess import Process

HOST = "127.0.0.1"
WORKERS = 3
# Seconds that a process may take to begin to answer, and to end when it is asked to.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0
# Seconds until a worker that has ended is started again.
RESTART_PAUSE = 3.0

NO_REDIS = """\
redis-server is not installed, and the workers need it to know of each other.
Install it (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis),
or run the demo on a single worker, without it: make demo"""


class Failed(Exception):
    """The cluster cannot run; the text says why."""


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    # All are held until all are known, so that they differ.
    holders = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


async def start(*command: str, **environment: str) -> Process:
    """Start a program beside this file."""
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=Path(__file__).parent,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        # What goes wrong they say on stderr.
        stdout=asyncio.subprocess.DEVNULL,
        # Out of reach of the terminal's Ctrl-C: it is this script that ends them, in order.
        start_new_session=True,
    )


async def end(process: Process) -> None:
    """Ask a process to end, and force it if it takes too long."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def answering(process: Process, url: str) -> None:
    """Return once a worker is ready; raises `Failed` if it ends before."""
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not await asyncio.to_thread(_is_ready, url):
                if process.returncode is not None:
                    raise Failed(f"The worker at {url} ended with code {process.returncode}.")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise Failed(f"The worker at {url} is not ready after {START_TIMEOUT:.0f} s.") from None


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/_flash/ready", timeout=5):
            return True
    except OSError:
        return False


async def prepare() -> None:
    """Fill the database, which the workers would otherwise all do at once."""
    database = Database.from_environment()
    async with database:
        state = await database.prepared()
    if state.error:
        raise Failed(f"the orders could not be prepared: {state.error}")


async def run() -> NoReturn:
    """Run everything until this is cancelled; raises `Failed`."""
    redis_server = shutil.which("redis-server")
    if redis_server is None:
        raise Failed(NO_REDIS)
    await prepare()
    redis_port, *ports = free_ports(1 + WORKERS)
    with tempfile.TemporaryDirectory(prefix="flash-demo-") as folder:
        redis = await start(
            *(redis_server, "--bind", HOST, "--port", str(redis_port), "--dir", folder),
            *("--save", "", "--appendonly", "no", "--loglevel", "warning"),
        )
        try:
            await serve(redis, redis_port, [f"{HOST}:{port}" for port in ports])
        finally:
            await end(redis)


async def serve(redis: Process, redis_port: int, addresses: list[str]) -> NoReturn:
    """Run a worker on each address until this is cancelled; raises `Failed`."""
    workers: dict[str, Process] = {}
    try:
        for address in addresses:
            url = f"http://{address}"
            workers[url] = await start_worker(url, redis_port)
        await asyncio.gather(*(answering(process, url) for url, process in workers.items()))
        print(f"Redis listens on port {redis_port}, as process {redis.pid}. The workers:")
        for url, process in workers.items():
            print(f"  {url}  (process {process.pid})")
        print("Open two of them side by side. Ctrl-C ends everything.", flush=True)
        await watch(redis, redis_port, workers)
    finally:
        # All at once, and before Redis: their last words go through it.
        await asyncio.gather(*map(end, list(workers.values())))


async def start_worker(url: str, redis_port: int) -> Process:
    """Start a worker that serves at ``url``."""
    return await start(
        *(sys.executable, "-m", "flash.cli", "run", "app:app"),
        *("--bind", url.removeprefix("http://"), "--log-level", "warning"),
        FLASH_REDIS_URL=f"redis://{HOST}:{redis_port}/0",
        DEMO_CLUSTER="1",
    )


async def watch(redis: Process, redis_port: int, workers: dict[str, Process]) -> NoReturn:
    """Start workers that end again, for ever; raises `Failed` when Redis ends or a start fails."""

    async def keep(url: str) -> None:
        while True:
            await workers[url].wait()
            print(f"The worker at {url} has ended; the others go on.", flush=True)
            # For a moment, so that pages show how it is without.
            await asyncio.sleep(RESTART_PAUSE)
            workers[url] = await start_worker(url, redis_port)
            await answering(workers[url], url)
            print(f"It runs again, as process {workers[url].pid}.", flush=True)

    everybody = asyncio.gather(*map(keep, workers))
    store = asyncio.ensure_future(redis.wait())
    try:
        await asyncio.wait({everybody, store}, return_when=asyncio.FIRST_COMPLETED)
        if store.done():
            raise Failed("Redis has ended.")
        everybody.result()
        raise Failed("No worker is left.")
    finally:
        everybody.cancel()
        store.cancel()
        await asyncio.gather(everybody, store, return_exceptions=True)


async def main() -> int:
    """Run until Ctrl-C; returns the exit code."""
    cluster = asyncio.ensure_future(run())

    def stop() -> None:
        if not cluster.cancelling():  # being asked twice must not leave anything behind
            cluster.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.wait({cluster})
    if cluster.cancelled():
        return 0
    failure = cluster.exception()
    if not isinstance(failure, Failed):
        cluster.result()
    print(failure, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
