"""Background jobs that run in the server's own process and keep their state in Redis.

One hash per job holds its state, the progress and the properties that no poll has collected, and
its result or error; any worker answers polls from it. A worker renews one key while it has jobs;
when the key has expired, the jobs are gone too. A cancellation is a state in the hash and an entry
in a list that the worker waits on. Keys, after the prefix:

    job:<worker>-<random>   hash: state, progress, set:<component>\\n<property>, result or error
    worker:<worker>         exists while the worker that runs jobs is alive
    cancel:<worker>         list of jobs that the worker must cancel
    cache:<fingerprint>     the result of an earlier equal job
    secret                  the key that handles are signed with

On a cluster the prefix is a hash tag, so that all keys of one manager share a slot.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import orjson

from flash.background.facade import DashFacade, cache_parts
from flash.background.job import JobHandles, JobSpec, Report, State, UpdateBuffer
from flash.background.tasks import JobTasks
from flash.errors import ConfigurationError
from flash.exits import ends_task
from flash.redis import require_redis
from flash.redis.address import Kind, parse_url
from flash.redis.scripts import Script
from flash.seams import dash as dash_seam
from flash.serialize import dumps
from flash.settings import AMOUNT, COUNT, SECONDS, check
from flash.supervision import SupervisedTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash.callbacks.execution import WorkerPool
    from flash.redis.address import Address
    from flash.redis.client import RedisClient

logger = logging.getLogger(__name__)

# The beginning of a property in the hash of a job; the component's id, a line break and the
# property's name follow.
_SET = b"set:"
# Milliseconds for which a job is known to have been collected.
_COLLECTED_MS = 60_000

# KEYS job, worker, cache; ARGV ms to keep the job, ms to keep the worker, "1" to use the cache.
_START = Script("""
redis.call('SET', KEYS[2], '1', 'PX', ARGV[2])
local cached = ARGV[3] == '1' and redis.call('GET', KEYS[3])
if cached then
    redis.call('PEXPIRE', KEYS[3], ARGV[1])
    redis.call('HSET', KEYS[1], 'state', 'done', 'result', cached)
else
    redis.call('HSET', KEYS[1], 'state', 'running')
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return cached and 1 or 0
""")

# KEYS job, worker; ARGV "1" to collect, ms to remember that the result was collected.
# Returns the hash as a list, and whether the worker is alive.
_POLL = Script("""
local fields = redis.call('HGETALL', KEYS[1])
local alive = redis.call('EXISTS', KEYS[2])
if ARGV[1] == '1' and #fields > 0 then
    local said = {}
    for i = 1, #fields, 2 do
        local name, value = fields[i], fields[i + 1]
        if name == 'state' and (value == 'done' or value == 'failed') then
            redis.call('DEL', KEYS[1])
            redis.call('HSET', KEYS[1], 'state', 'collected')
            redis.call('PEXPIRE', KEYS[1], ARGV[2])
            return {fields, alive}
        elseif name == 'progress' or string.sub(name, 1, 4) == 'set:' then
            said[#said + 1] = name
        end
    end
    -- One at a time: `unpack` has a limit.
    for _, name in ipairs(said) do redis.call('HDEL', KEYS[1], name) end
end
return {fields, alive}
""")

# KEYS job, cancel list; ARGV job, ms to keep the list.
_CANCEL = Script("""
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'cancelled')
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
""")

# KEYS job; ARGV ms to keep it, then names and values. Does nothing if the job has ended.
_WRITE = Script("""
local state = redis.call('HGET', KEYS[1], 'state')
if state and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'running')
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")

# KEYS job, cache; ARGV ms to keep them, "1" to keep the result for equal calls, names and values.
_FINISH = Script("""
local state = redis.call('HGET', KEYS[1], 'state')
if state and state ~= 'running' then return 0 end
for i = 3, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    if ARGV[i] == 'result' and ARGV[2] == '1' then
        redis.call('SET', KEYS[2], ARGV[i + 1], 'PX', ARGV[1])
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")


class RedisManager(DashFacade):
    """Runs background callbacks as tasks of the worker that started them, with state in Redis.

    ``url`` is an address that `flash.redis.address.parse_url` reads: one server, Sentinel or
    Cluster. Any worker answers a page's polls and cancels its jobs. The jobs of a worker that dies
    end within ``worker_timeout`` seconds with an error that says so. ``cache_by``: functions, plain
    or async, whose results are part of the cache key; equal calls then share a result, in all
    workers. ``expire``: seconds after which a result that no poll collected is dropped, and a
    cached one that no call used. A result above ``max_result_bytes`` of JSON is an error of the
    callback. ``max_jobs`` run at once in a worker and ``max_waiting`` wait; one more is refused
    with 503. ``prefix`` is the beginning of every key, by default ``<prefix of the address>``
    followed by ``:background:``.

    All values in Redis are JSON. Use a Redis that evicts nothing (``maxmemory-policy noeviction``).
    """

    def __init__(
        self,
        url: str | Address,
        *,
        prefix: str | None = None,
        cache_by: Sequence[Callable[[], Any]] | Callable[[], Any] | None = None,
        expire: float = 3600,
        max_result_bytes: int = 16_000_000,
        max_jobs: int = 32,
        max_waiting: int = 1000,
        worker_timeout: float = 15,
    ) -> None:
        require_redis("RedisManager", "flash-core[redis]")
        # Imported here rather than on the loop, since redis-py is an optional dependency.
        from redis import RedisError

        from flash.redis.client import RedisClient

        check(
            expire=(expire, SECONDS),
            max_result_bytes=(max_result_bytes, COUNT),
            max_jobs=(max_jobs, COUNT),
            max_waiting=(max_waiting, AMOUNT),
            worker_timeout=(worker_timeout, SECONDS),
        )
        super().__init__(cache_by)
        address = parse_url(url) if isinstance(url, str) else url
        if address.kind is Kind.MEMORY:
            raise ConfigurationError(
                "RedisManager needs the address of a Redis; memory:// is AsyncManager"
            )
        self.expire = expire
        self.prefix = f"{address.prefix}:background:" if prefix is None else prefix
        # Every key begins with this.
        tagged = address.kind is Kind.CLUSTER and "{" not in self.prefix
        self._root = f"{{{self.prefix}}}" if tagged else self.prefix
        self.max_result_bytes = max_result_bytes
        self.worker_timeout = worker_timeout
        self._redis_errors: tuple[type[Exception], ...] = (RedisError, OSError)
        self._tasks = JobTasks(max_jobs=max_jobs, max_waiting=max_waiting)
        self._client = RedisClient(address, values=True)
        # While the manager closes, a write that fails is not tried again.
        self._closing = False
        # Set while this worker has jobs.
        self._has_jobs = asyncio.Event()
        self._heartbeat = SupervisedTask("the heartbeat of background jobs in Redis", self._beat)

    @property
    def running(self) -> list[str]:
        """The jobs that run or wait in this worker."""
        return self._tasks.ids()

    # -- JobManager --------------------------------------------------------------------------------

    async def start(self, spec: JobSpec, pool: WorkerPool) -> JobHandles:
        """Start ``spec`` as a task of this worker, or find its cached result."""
        self._tasks.check_capacity()
        job = self._tasks.new_id()
        cache = None
        if self.cache_by is not None:
            cache = self._key("cache", spec.fingerprint(await cache_parts(self.cache_by, pool)))
        name = self._key("job", job)
        # The script uses no cache where there is none; the key only has to be in the same slot.
        keys = (name, self._key("worker", self._tasks.process), cache or name)
        ends = (_ms(self.expire), _ms(self.worker_timeout), "1" if cache else "0")
        if await self._client.run(_START, keys, *ends):
            return JobHandles(job, job)
        # Again, since other jobs may have started meanwhile.
        self._tasks.check_capacity()
        news = _Signal()
        buffer = UpdateBuffer(news.set)
        writer = asyncio.create_task(self._write_updates(job, buffer, news))
        self._tasks.start(job, spec, buffer, partial(self._end, job, spec, cache, news, writer))
        self._has_jobs.set()
        self._heartbeat.start()
        return JobHandles(job, job)

    async def poll(self, handles: JobHandles) -> Report:
        """Return how a job goes, whichever worker runs it."""
        return self._read(*await self._ask(self._client, handles.key, take=True))

    async def cancel(self, job: str) -> None:
        """Cancel a job, whichever worker runs it."""
        await self._cancel(self._client, job)
        self._tasks.cancel(job)

    async def close(self) -> None:
        """Cancel this worker's jobs, report that through Redis, and stop using the connections."""
        self._closing = True
        await self._tasks.close()
        await self._heartbeat.stop()
        # A new one, since the next jobs may run on another loop.
        self._has_jobs = asyncio.Event()
        await self._client.close()
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- called by Dash, from threads --------------------------------------------------------------

    def terminate_job(self, job: str | None) -> None:
        """Cancel a job, whichever worker runs it; blocks the calling thread."""
        if job is not None:
            self._client.call_from_thread(lambda client: self._cancel(client, job))

    def peek(self, key: str) -> Report:
        """Return how a job goes without collecting anything; blocks the calling thread."""
        ask = partial(self._ask, job=key, take=False)
        return self._read(*self._client.call_from_thread(ask))

    def take(self, key: str) -> Report:
        """Return how a job goes, as `poll` does; blocks the calling thread."""
        ask = partial(self._ask, job=key, take=True)
        return self._read(*self._client.call_from_thread(ask))

    def get_or_create_signing_secret(self, generate: Callable[[], bytes]) -> bytes:
        """Return the key that all workers sign handles with; blocks the calling thread."""
        key, new = f"{self._root}secret", generate()

        async def agree(client: RedisClient) -> bytes:
            slot = client.slot_of(key)
            await client.call(["SET", key, new, "NX"], slot=slot)
            return await client.call(["GET", key], slot=slot)

        return self._client.call_from_thread(agree)

    # -- the worker's side -------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Renew this worker's key and its jobs, and cancel the jobs that other workers cancelled.

        Supervised: it waits while there are no jobs, and never ends by itself.
        """
        pause = self.worker_timeout / 3
        client = self._client
        while True:
            if not len(self._tasks):
                self._has_jobs.clear()
            await self._has_jobs.wait()
            worker = self._key("worker", self._tasks.process)
            cancelled = self._key("cancel", self._tasks.process)
            slot = client.slot_of(worker)
            jobs = self._tasks.ids()
            alive = ["SET", worker, "1", "PX", _ms(self.worker_timeout)]
            try:
                _, *written = await asyncio.gather(
                    client.call(alive, slot=slot),
                    # Restores the hash too, if Redis has lost it.
                    *(
                        client.run(_WRITE, [self._key("job", job)], _ms(self.expire))
                        for job in jobs
                    ),
                )
                for job, is_running in zip(jobs, written, strict=True):
                    if not is_running:
                        # Cancelled, and its entry in the list was lost.
                        self._tasks.cancel(job)
                entry = await client.call(
                    ["BLPOP", cancelled, f"{pause:.3f}"], slot=slot, blocks=pause
                )
                if entry is not None:
                    self._tasks.cancel(entry[1].decode())
            except self._redis_errors as error:
                logger.warning("background jobs run on without Redis: %s", error)
                await asyncio.sleep(pause)

    async def _write_updates(self, job: str, buffer: UpdateBuffer, news: _Signal) -> None:
        """Write the updates of a job to Redis; later ones go with the next write."""
        last = False
        while not last:
            await news.wait()
            # Read before the buffer: a job that has ended adds no updates.
            last = news.ended
            progress, updates = buffer.take()
            fields: list[Any] = []
            if progress is not None:
                fields += ["progress", dumps(progress)]
            for component, props in updates.items():
                for name, value in props.items():
                    fields += [_SET + f"{component}\n{name}".encode(), dumps(value)]
            if fields:
                await self._write(job, _WRITE, [self._key("job", job)], _ms(self.expire), *fields)

    async def _end(
        self,
        job: str,
        spec: JobSpec,
        cache: str | None,
        news: _Signal,
        writer: asyncio.Task[None],
        report: Report,
    ) -> None:
        """Write the end of a job to Redis, after all entries of its buffer."""
        news.end()
        await asyncio.wait({writer})
        error = writer.exception()
        if error is not None and report.state is State.DONE:
            # A value that it set cannot be written as JSON.
            report = Report.failed(error)
        if report.state is State.CANCELLED:
            # The call that cancelled it has written that.
            return
        fields: list[Any] = []
        if report.state is State.DONE:
            try:
                result = await asyncio.to_thread(_written, spec, report.result)
                if len(result) <= self.max_result_bytes:
                    fields = ["result", result]
                else:
                    report = Report.lost(
                        f"its result is {len(result):,} bytes of JSON, which is more than "
                        f"max_result_bytes={self.max_result_bytes:,}"
                    )
            except BaseException as error:
                # The job's boundary: the page gets it.
                if ends_task(error):
                    raise
                report = Report.failed(error)
        if report.state is State.FAILED:
            fields = ["message", report.message, "trace", report.trace]
        name = self._key("job", job)
        options = (_ms(self.expire), "1" if cache and report.state is State.DONE else "0")
        state = ("state", report.state.value)
        await self._write(job, _FINISH, [name, cache or name], *options, *state, *fields)

    async def _write(self, job: str, script: Script, keys: list[str], *values: Any) -> None:
        """Run a script; while Redis does not answer, try again for ``expire`` seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.expire
        while True:
            try:
                await self._client.run(script, keys, *values)
            except self._redis_errors as error:
                if self._closing or loop.time() > end:
                    logger.error("the state of background job %s is lost: %s", job, error)
                    return
                logger.warning("background job %s waits for Redis: %s", job, error)
                await asyncio.sleep(self.worker_timeout / 3)
            else:
                return

    # -- Redis -------------------------------------------------------------------------------------

    def _key(self, kind: str, name: str) -> str:
        return f"{self._root}{kind}:{name}"

    async def _ask(self, client: RedisClient, job: str, *, take: bool) -> tuple[list[bytes], int]:
        keys = (self._key("job", job), self._key("worker", job.partition("-")[0]))
        return await client.run(_POLL, keys, "1" if take else "0", _COLLECTED_MS)

    async def _cancel(self, client: RedisClient, job: str) -> None:
        keys = (self._key("job", job), self._key("cancel", job.partition("-")[0]))
        await client.run(_CANCEL, keys, job, _ms(self.expire))

    def _read(self, flat: list[bytes], alive: int) -> Report:
        """Return the report that the poll script's answer stands for."""
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if not fields:
            return Report.lost(
                f"nothing is known of this job any more: it was dropped after "
                f"expire={self.expire:g} s, or Redis lost its data"
            )
        progress = orjson.loads(fields[b"progress"]) if b"progress" in fields else None
        updates: dict[str, dict[str, Any]] = {}
        for name, value in fields.items():
            if name.startswith(_SET):
                component, _, prop = name[len(_SET) :].decode().rpartition("\n")
                updates.setdefault(component, {})[prop] = orjson.loads(value)
        match fields[b"state"]:
            case b"running" if not alive:
                return Report.lost("the worker process that ran this job is gone")
            case b"running":
                return Report(State.RUNNING, progress=progress, updates=updates)
            case b"done":
                result = orjson.loads(fields[b"result"])
                return Report(State.DONE, result, progress=progress, updates=updates)
            case b"failed":
                message, trace = fields[b"message"].decode(), fields[b"trace"].decode()
                return Report(State.FAILED, None, message, trace, progress, updates)
            case b"cancelled":
                return Report(State.CANCELLED, progress=progress, updates=updates)
            case _:
                return Report.lost("its result has been collected")


class _Signal:
    """Wakes the writer of a job's buffer; `set` may be called from any thread.

    Several calls before the writer has woken count as one.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_set = False
        # Whether the job has ended and adds no updates.
        self.ended = False

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            # Suppressed: the loop may have closed before an abandoned function calls this.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._event.set)

    def end(self) -> None:
        self.ended = True
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()
        # Cleared before the buffer is read: a later entry sets it again.
        self._is_set = False


def _written(spec: JobSpec, result: Any) -> bytes:
    """Return a result as JSON; raises what Dash raises for a value that has no JSON form."""
    try:
        return dumps(result)
    except TypeError:
        # Raises Dash's error, which names the value and its place.
        dash_seam.validate.fail_callback_output(result, spec.plan.output_grouping)
        raise


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
