"""Live figures of the machine that the demo runs on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class Sample:
    """The machine at one moment; shares run from 0 to 1, sizes are bytes."""

    at: datetime
    cpu: float
    # Of each core.
    cores: tuple[float, ...]
    memory: float
    memory_used: int
    memory_total: int
    process_memory: int
    threads: int
    # Bytes a second, over all network devices.
    received: float
    sent: float


class Machine:
    """Samples the machine at an interval while it is open; any number of pages may look."""

    def __init__(self, *, interval: float = 0.5, keep: int = 240) -> None:
        self._interval = interval
        self._process = psutil.Process()
        # When the network's counters were read, and what they said.
        self._network = (time.monotonic(), *_network())
        self._samples: deque[Sample] = deque([self._take()], maxlen=keep)
        # Set, and replaced by another, with each sample.
        self._sampled = asyncio.Event()
        self._sampling: asyncio.Task[None] | None = None

    @property
    def latest(self) -> Sample:
        """The newest sample."""
        return self._samples[-1]

    @property
    def recent(self) -> list[Sample]:
        """The last samples, oldest first."""
        return list(self._samples)

    @property
    def interval(self) -> float:
        """Seconds between two samples."""
        return self._interval

    async def samples(self) -> AsyncIterator[Sample]:
        """Each sample from now on; who is slow gets the newest, and misses some."""
        while True:
            await self._sampled.wait()
            yield self.latest

    async def __aenter__(self) -> Self:
        self._sampling = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sampling is not None:
            self._sampling.cancel()
            await asyncio.gather(self._sampling, return_exceptions=True)

    async def _sample(self) -> None:
        # One sampler for everybody: psutil counts the processor from the previous call on, so
        # pages that asked for themselves would cut each other's intervals short.
        while True:
            await asyncio.sleep(self._interval)
            self._samples.append(self._take())
            self._sampled.set()
            self._sampled = asyncio.Event()

    def _take(self) -> Sample:
        memory = psutil.virtual_memory()
        cores = tuple(share / 100 for share in psutil.cpu_percent(percpu=True))
        before, received, sent = self._network
        self._network = (time.monotonic(), *_network())
        passed = max(self._network[0] - before, 0.001)
        return Sample(
            at=datetime.now().astimezone(),
            cpu=sum(cores) / max(len(cores), 1),
            cores=cores,
            memory=memory.percent / 100,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            process_memory=self._process.memory_info().rss,
            threads=self._process.num_threads(),
            received=max(self._network[1] - received, 0) / passed,
            sent=max(self._network[2] - sent, 0) / passed,
        )


def _network() -> tuple[int, int]:
    """Bytes received and sent since the machine started; zeros where nobody counts them."""
    counters = psutil.net_io_counters()
    return (counters.bytes_recv, counters.bytes_sent) if counters else (0, 0)
