"""Asks all workers of a deployment at once, over the Redis that they share."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from flash.redis.address import Kind, parse_url
from flash.redis.client import RedisClient
from flash.top.exchange import samples_of, topic_of
from flash.top.sample import BadSample, Sample
from flash.top.workers import FORGOTTEN_AFTER, KnownWorkers, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from flash.top.sample import Activity, WorkerId

# Seconds that the workers have for their answers to one round; later ones count in the next.
ANSWER_TIMEOUT = 1.0
_SILENT = (
    f"workers did not answer within {ANSWER_TIMEOUT:g} s: their event loops are held, or they have "
    "just begun"
)
# Late answers that are read; the rest expires.
_MOST_LATE = 10_000
# The shortest wait of Redis for one answer, in seconds; 0 would mean to wait without end.
_SHORTEST_WAIT = 0.01


class RedisWorkers:
    """The workers that are subscribed to the Redis at ``url``, under its prefix; a `Workers`.

    Redis says how many workers have got the question, so that a worker which has ended is left out
    at once, and one that does not answer is shown as silent. Use it as a context manager. Raises
    `flash.redis.address.InvalidAddress`.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.address = parse_url(url)
        if self.address.kind is Kind.MEMORY:
            raise Unreachable(
                "memory:// is inside one process; give the address of a Redis, or watch the app "
                "by its own address: flash top URL"
            )
        self.remark = ""
        self._clock = clock
        self._workers = KnownWorkers()
        self._name = secrets.token_urlsafe(12).encode()
        self._topic = topic_of(self.address.prefix)
        self._samples = samples_of(self.address.prefix, self._name)
        self._client = RedisClient(self.address)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self._runner.run(self._client.close())
        self._runner.close()

    def collect(self) -> list[Activity]:
        """Ask the workers once more; return what each does, sorted by host and process."""
        asked_at = self._clock()
        try:
            asked, answered, newest = self._runner.run(self._ask())
        except (RedisError, OSError) as error:
            raise Unreachable(str(error)) from error
        self._workers.add(newest.values())
        if not len(self._workers):
            raise Unreachable(f"{asked} of {asked} {_SILENT}")
        everybody = answered >= asked
        self._workers.forget_before(asked_at if everybody else asked_at - FORGOTTEN_AFTER)
        self.remark = "" if everybody else f"{asked - answered} of {asked} {_SILENT}"
        return [
            each
            if each.sample.at >= asked_at
            else replace(each, silent_for=self._clock() - each.sample.at)
            for each in self._workers.activities()
        ]

    async def _ask(self) -> tuple[int, int, dict[WorkerId, Sample]]:
        """Return how many workers were asked, how many answered in time, and the samples."""
        client = self._client
        slot = client.slot_of(self._topic)
        publish = b"SPUBLISH" if client.pool.topology.sharded else b"PUBLISH"
        # What came too late for the last round; of a worker that answers in time it is not needed.
        late: list[bytes] | None = await client.call(
            [b"LPOP", self._samples, _MOST_LATE], slot=slot
        )
        too_late = _Samples(self._clock)
        for answer in late or ():
            too_late.add(answer)
        asked: int = await client.call([publish, self._topic, self._name], slot=slot)
        if not asked:
            raise Unreachable(
                f"no worker is connected to {self.address} with the prefix "
                f"{self.address.prefix!r}; check address, database and prefix=, and that the app "
                "is served with flash-pubsub"
            )
        in_time = _Samples(self._clock)
        deadline = self._clock() + ANSWER_TIMEOUT
        while in_time.count < asked:
            left = max(_SHORTEST_WAIT, deadline - self._clock())
            reply: list[bytes] | None = await client.call(
                [b"BLPOP", self._samples, f"{left:.3f}"], slot=slot, blocks=left
            )
            if reply is None:
                break
            in_time.add(reply[1])
        if not in_time.by_worker and in_time.unread is not None:
            raise Unreachable(
                f"what answers in {self.address} is no worker of this version of Flash "
                f"({in_time.unread})"
            ) from in_time.unread
        return asked, len(in_time.by_worker), {**too_late.by_worker, **in_time.by_worker}


class _Samples:
    """The samples of one round, the newest of each worker."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.by_worker: dict[WorkerId, Sample] = {}
        # What the last answer had that is no sample.
        self.unread: BadSample | None = None
        self._unread_count = 0

    @property
    def count(self) -> int:
        """How many workers have answered."""
        return len(self.by_worker) + self._unread_count

    def add(self, answer: bytes) -> None:
        """Read an answer."""
        try:
            sample = Sample.parse(answer, self._clock())
        except BadSample as error:
            self.unread = error
            self._unread_count += 1
        else:
            self.by_worker[sample.worker] = sample
