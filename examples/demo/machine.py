"""Live figures of the machine that the demo runs on."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class Sample:
    """The machine at one moment; shares run from 0 to 1, sizes are bytes."""

    cpu: float
    memory: float
    memory_used: int
    memory_total: int
    process_memory: int
    threads: int


class Machine:
    """Samples the machine at an interval while it is open; any number of pages may look."""

    def __init__(self, *, interval: float = 0.5, keep: int = 240) -> None:
        self._interval = interval
        self._process = psutil.Process()
        self._samples: deque[Sample] = deque([self._take()], maxlen=keep)
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

    def _take(self) -> Sample:
        memory = psutil.virtual_memory()
        return Sample(
            cpu=psutil.cpu_percent() / 100,
            memory=memory.percent / 100,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            process_memory=self._process.memory_info().rss,
            threads=self._process.num_threads(),
        )
