"""Background jobs in the server's own process, with everything they say in Redis.

One hash per job holds its state, the progress and the properties not yet collected, and how it
ended; any worker answers polls from it. A worker keeps one key alive while it has jobs: when the
key is gone, so are they. A cancellation is a state in the hash, and an entry in a list that the
worker at work waits on. Keys, under the prefix:

    job:<worker>-<random>   hash: state, progress, set:<component>\\n<property>, how it ended
    worker:<worker>         exists while the worker that runs jobs is alive
    cancel:<worker>         list of jobs that the worker is to end
    cache:<fingerprint>     the result of an earlier equal job
    secret                  what handles are signed with
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import orjson

from flash.background.facade import DashFacade, cache_parts
from flash.background.job import JobHandles, JobSpec, Report, State, UpdateBuffer
from flash.background.tasks import JobTasks
from flash.errors import ConfigurationError
from flash.seams import dash as dash_seam
from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash.callbacks.execution import WorkerPool

logger = logging.getLogger(__name__)

# Per command; Redis answers within milliseconds or not at all.
_SOCKET_SECONDS = 5.0
# Four retries, 0.2 to 1.6 s apart: a restart of Redis passes unnoticed.
_RETRIES = 4
_RETRY_SECONDS = 0.2
# A job's property in its hash: this, the component's id, a line break, the property.
_SET = b"set:"
# Between two attempts to end a task.
_CANCEL_SECONDS = 0.05
# As many commands are under way at once; one more waits.
_CONNECTIONS = 32
# How long it is remembered that a result was collected.
_COLLECTED_MS = 60_000

# KEYS job, worker, cache; ARGV life of the job in ms, of the worker in ms, "1" to use the cache.
_START = """
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
"""

# KEYS job, worker; ARGV "1" to take what was said, ms to remember that a result was collected.
# Gives the hash as a list, and whether the worker is there.
_POLL = """
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
"""

# KEYS job, cancel list; ARGV job, life of the list in ms.
_CANCEL = """
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'cancelled')
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""

# KEYS job; ARGV life in ms, then names and values. Nothing where the job has ended.
_WRITE = """
local state = redis.call('HGET', KEYS[1], 'state')
if state and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'running')
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""

# KEYS job, cache; ARGV life in ms, "1" to keep the result for equal calls, names and values.
_FINISH = """
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
"""


class RedisManager(DashFacade):
    """Runs background callbacks as tasks of the worker that started them, shared through Redis.

    Any worker answers a page's polls and cancels its jobs. A job whose worker died ends, within
    ``worker_timeout`` seconds, with an error that says so. ``cache_by``: functions, plain or async,
    whose results are part of the cache key; equal calls then share a result, in all workers.
    ``expire``: seconds after which a result that nobody came for is dropped, and a cached one that
    nobody used. A result above ``max_result_bytes`` of JSON is an error of the callback.
    ``max_jobs`` run at once in a worker and ``max_waiting`` wait; one more is refused with 503.

    Everything in Redis is JSON. Use a Redis that evicts nothing (``maxmemory-policy noeviction``).
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "flash:background:",
        cache_by: Sequence[Callable[[], Any]] | Callable[[], Any] | None = None,
        expire: float = 3600,
        max_result_bytes: int = 16_000_000,
        max_jobs: int = 32,
        max_waiting: int = 1000,
        worker_timeout: float = 15,
    ) -> None:
        try:
            # An extra, and imported here rather than on the loop.
            import redis
            from redis.asyncio import BlockingConnectionPool
            from redis.asyncio import Redis as LoopRedis
            from redis.asyncio.retry import Retry as LoopRetry
            from redis.backoff import ExponentialBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ImportError(
                'RedisManager needs redis: pip install "flash-core[redis]"'
            ) from error
        if expire <= 0 or worker_timeout <= 0:
            raise ConfigurationError("expire=… and worker_timeout=… are seconds above 0")
        super().__init__(cache_by)
        self.expire = expire
        self.prefix = prefix
        self.max_result_bytes = max_result_bytes
        self.worker_timeout = worker_timeout
        self._redis_errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._tasks = JobTasks(max_jobs=max_jobs, max_waiting=max_waiting)
        options: Any = {
            "socket_timeout": _SOCKET_SECONDS,
            "socket_connect_timeout": _SOCKET_SECONDS,
        }
        if importlib.util.find_spec("redis.driver_info"):
            # redis 8 reads its own version from disk for every connection, unless told not to.
            options["driver_info"] = None
        backoff = ExponentialBackoff(cap=2, base=_RETRY_SECONDS)
        connections = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_SOCKET_SECONDS,
            retry=LoopRetry(backoff, _RETRIES),
            **options,
        )
        # For the loop, and for threads, which share it. Both connect when first used, and again
        # after `close`. Untyped: half of redis-py's annotations are for both at once.
        self._client: Any = LoopRedis.from_pool(connections)
        self._blocking: Any = redis.Redis.from_url(url, retry=Retry(backoff, _RETRIES), **options)
        # Whether what cannot be written now is given up.
        self._closing = False
        # Beats while this worker has jobs.
        self._heart: asyncio.Task[None] | None = None

    @property
    def running(self) -> list[str]:
        """The jobs that run or wait in this worker."""
        return self._tasks.ids()

    # -- JobManager --------------------------------------------------------------------------------

    async def start(self, spec: JobSpec, pool: WorkerPool) -> JobHandles:
        """Begin ``spec`` as a task of this worker, or find its cached result."""
        self._tasks.check_capacity()
        job = self._tasks.new_id()
        cache = None
        if self.cache_by is not None:
            cache = self._key("cache", spec.fingerprint(await cache_parts(self.cache_by, pool)))
        keys = (self._key("job", job), self._key("worker", self._tasks.process), cache or "")
        ends = (_ms(self.expire), _ms(self.worker_timeout), "1" if cache else "0")
        if await self._client.eval(_START, 3, *keys, *ends):
            return JobHandles(job, job)
        # Again, for others may have begun meanwhile.
        self._tasks.check_capacity()
        bell = _Bell()
        buffer = UpdateBuffer(bell.ring)
        scribe = asyncio.create_task(self._write_down(job, buffer, bell))
        self._tasks.start(job, spec, buffer, partial(self._end, job, spec, cache, bell, scribe))
        if self._heart is None or self._heart.done():
            self._heart = asyncio.create_task(self._beat())
        return JobHandles(job, job)

    async def poll(self, handles: JobHandles) -> Report:
        """Tell how a job goes, whichever worker runs it."""
        return self._read(*await self._client.eval(*self._asking(handles.key, take=True)))

    async def cancel(self, job: str) -> None:
        """End a job, whichever worker runs it."""
        await self._client.eval(*self._cancelling(job))
        self._tasks.cancel(job)

    async def close(self) -> None:
        """Cancel this worker's jobs, tell their pages through Redis, and hang up."""
        self._closing = True
        await self._tasks.close()
        if self._heart is not None:
            while not self._heart.done():
                # Again and again, for redis-py swallows a cancellation while it connects.
                self._heart.cancel()
                await asyncio.wait({self._heart}, timeout=_CANCEL_SECONDS)
            self._heart = None
        await self._client.aclose()
        await asyncio.to_thread(self._blocking.close)
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- what Dash calls, from threads -------------------------------------------------------------

    def terminate_job(self, job: str | None) -> None:
        """End a job, whichever worker runs it; from a thread, which it blocks."""
        if job is not None:
            self._blocking.eval(*self._cancelling(job))

    def peek(self, key: str) -> Report:
        """Tell how a job goes without taking anything; from a thread, which it blocks."""
        return self._read(*self._blocking.eval(*self._asking(key, take=False)))

    def take(self, key: str) -> Report:
        """Tell how a job goes as `poll` does; from a thread, which it blocks."""
        return self._read(*self._blocking.eval(*self._asking(key, take=True)))

    def get_or_create_signing_secret(self, generate: Callable[[], bytes]) -> bytes:
        """Return the key that all workers sign handles with; blocks on Redis."""
        name = f"{self.prefix}secret"
        self._blocking.set(name, generate(), nx=True)
        return self._blocking.get(name)

    # -- the worker's side -------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Keep this worker's key and its jobs' alive, and end the jobs that others cancelled."""
        pause = self.worker_timeout / 3
        worker = self._key("worker", self._tasks.process)
        cancelled = self._key("cancel", self._tasks.process)
        while len(self._tasks):
            jobs = self._tasks.ids()
            try:
                pipe = self._client.pipeline(transaction=False)
                pipe.set(worker, "1", px=_ms(self.worker_timeout))
                for job in jobs:
                    # Brings the hash back as well, should Redis have lost it.
                    pipe.eval(_WRITE, 1, self._key("job", job), _ms(self.expire))
                for job, runs in zip(jobs, (await pipe.execute())[1:], strict=True):
                    if not runs:
                        # Its entry in the list was lost on the way.
                        self._tasks.cancel(job)
                entry = await self._client.blpop(
                    [cancelled], timeout=min(pause, _SOCKET_SECONDS / 2)
                )
                if entry is not None:
                    self._tasks.cancel(entry[1].decode())
            except self._redis_errors as error:
                logger.warning("background jobs run on without Redis: %s", error)
                await asyncio.sleep(pause)

    async def _write_down(self, job: str, buffer: UpdateBuffer, bell: _Bell) -> None:
        """Carry what a job says to Redis; what it says meanwhile goes with the next write."""
        last = False
        while not last:
            await bell.wait()
            # Asked before the buffer is read: a job that has ended says nothing after.
            last = bell.silenced
            progress, updates = buffer.take()
            fields: list[Any] = []
            if progress is not None:
                fields += ["progress", dumps(progress)]
            for component, props in updates.items():
                for name, value in props.items():
                    fields += [_SET + f"{component}\n{name}".encode(), dumps(value)]
            if fields:
                await self._insist(job, _WRITE, [self._key("job", job)], _ms(self.expire), *fields)

    async def _end(
        self,
        job: str,
        spec: JobSpec,
        cache: str | None,
        bell: _Bell,
        scribe: asyncio.Task[None],
        report: Report,
    ) -> None:
        """Put how a job ended into Redis, after everything that it said."""
        bell.silence()
        await asyncio.wait({scribe})
        error = scribe.exception()
        if error is not None and report.state is State.DONE:
            # Something that it set cannot be written as JSON.
            report = Report.failed(error)
        if report.state is State.CANCELLED:
            # Whoever cancelled it has said so there.
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
            except Exception as error:  # noqa: BLE001  the job's boundary: the page gets it
                report = Report.failed(error)
        if report.state is State.FAILED:
            fields = ["message", report.message, "trace", report.trace]
        keys = [self._key("job", job), cache or ""]
        options = (_ms(self.expire), "1" if cache and report.state is State.DONE else "0")
        await self._insist(job, _FINISH, keys, *options, "state", report.state.value, *fields)

    async def _insist(self, job: str, script: str, keys: list[str], *values: Any) -> None:
        """Run a script; while Redis is away, try again until what it is to write has no taker."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.expire
        while True:
            try:
                await self._client.eval(script, len(keys), *keys, *values)
            except self._redis_errors as error:
                if self._closing or loop.time() > end:
                    logger.error("lost what background job %s had to say: %s", job, error)
                    return
                logger.warning("background job %s waits for Redis: %s", job, error)
                await asyncio.sleep(self.worker_timeout / 3)
            else:
                return

    # -- Redis -------------------------------------------------------------------------------------

    def _key(self, kind: str, name: str) -> str:
        return f"{self.prefix}{kind}:{name}"

    def _asking(self, job: str, *, take: bool) -> tuple[Any, ...]:
        worker = self._key("worker", job.partition("-")[0])
        return _POLL, 2, self._key("job", job), worker, "1" if take else "0", _COLLECTED_MS

    def _cancelling(self, job: str) -> tuple[Any, ...]:
        entries = self._key("cancel", job.partition("-")[0])
        return _CANCEL, 2, self._key("job", job), entries, job, _ms(self.expire)

    def _read(self, flat: list[bytes], alive: int) -> Report:
        """Read a report out of what the poll script gave."""
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


class _Bell:
    """Rung, from any thread, when a job has said something; rings before the answer are one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._rung = False
        # Whether the job has ended and will say nothing more.
        self.silenced = False

    def ring(self) -> None:
        if not self._rung:
            self._rung = True
            # Suppressed: the loop may be closed by the time an abandoned function speaks.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._event.set)

    def silence(self) -> None:
        self.silenced = True
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()
        # Before the buffer is read: what comes after rings again.
        self._rung = False


def _written(spec: JobSpec, result: Any) -> bytes:
    """Write a result as JSON; raises what Dash raises for one that has no JSON form."""
    try:
        return dumps(result)
    except TypeError:
        # Says which value, where, in Dash's words.
        dash_seam.validate.fail_callback_output(result, spec.plan.output_grouping)
        raise


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
