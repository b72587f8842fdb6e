"""Where plain functions run, and how calls meet: the pool, superseding, sharing."""

import asyncio
import contextvars
import functools
import gc
import threading

import pytest

from flash.callbacks import execution
from flash.callbacks.execution import (
    SharedCalls,
    Superseded,
    Supersession,
    WorkerPool,
    is_async,
    within,
)
from flash.errors import CallbackTimeout, ConfigurationError, Overloaded

SECONDS = 20
user = contextvars.ContextVar("user", default="nobody")


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


async def until(condition):
    while not condition():  # noqa: ASYNC110  other threads tell nobody what they do
        await asyncio.sleep(0)


class Gate:
    """A plain function that notes that it began and goes on when let."""

    def __init__(self):
        self.began = []
        self.ended = []
        self.open = threading.Event()

    def __call__(self, name=None):
        self.began.append(name)
        assert self.open.wait(SECONDS)
        self.ended.append(name)
        return name


class TestWorkerPool:
    async def test_a_function_runs_in_a_daemon_thread_of_its_own_and_returns(self):
        pool = WorkerPool()

        def function(a, *, b):
            thread = threading.current_thread()
            return a + b, thread.daemon, thread is threading.main_thread()

        assert await pool.run(function, 1, b=2) == (3, True, False)

    async def test_it_sees_the_caller_s_context_variables_and_changes_only_its_own(self):
        pool = WorkerPool()
        user.set("ada")

        def function():
            seen = user.get()
            user.set("somebody else")
            return seen

        assert await pool.run(function) == "ada"
        assert user.get() == "ada"

    async def test_what_it_raises_the_caller_gets(self):
        def function():
            raise KeyError("x")

        with pytest.raises(KeyError, match="x"):
            await WorkerPool().run(function)

    async def test_stop_iteration_does_not_end_the_caller_quietly(self):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await WorkerPool().run(next, iter(()))

    async def test_callers_wait_in_the_order_they_came(self):
        pool, gate, order = WorkerPool(max_threads=1), Gate(), []
        first = asyncio.create_task(pool.run(gate))
        await until(lambda: gate.began)
        waiting = [asyncio.create_task(pool.run(order.append, number)) for number in range(20)]
        await until(lambda: pool.statistics().waiting == 20)
        gate.open.set()
        await asyncio.gather(first, *waiting)
        assert order == list(range(20))
        assert pool.statistics().running == pool.statistics().waiting == 0

    async def test_no_more_threads_run_than_allowed(self):
        pool, gate = WorkerPool(max_threads=3), Gate()
        calls = [asyncio.create_task(pool.run(gate, number)) for number in range(9)]
        await until(lambda: len(gate.began) == 3)
        assert pool.statistics().running == 3
        assert pool.statistics().waiting == 6
        gate.open.set()
        assert await asyncio.gather(*calls) == list(range(9))

    async def test_idle_threads_are_used_again(self):
        pool = WorkerPool(max_threads=5)
        threads = {await pool.run(threading.get_ident) for _ in range(20)}
        assert len(threads) == 1

    async def test_one_more_than_may_wait_is_refused_at_once_and_counted(self):
        pool, gate = WorkerPool(max_threads=1, max_waiting=1), Gate()
        running = asyncio.create_task(pool.run(gate, 1))
        await until(lambda: gate.began)
        waiting = asyncio.create_task(pool.run(gate, 2))
        await until(lambda: pool.statistics().waiting == 1)
        with pytest.raises(Overloaded, match=r"server busy: 1 threads are busy and 1 calls wait"):
            await pool.run(gate, 3)
        assert pool.statistics().refused == 1
        gate.open.set()
        assert await asyncio.gather(running, waiting) == [1, 2]
        assert gate.began == [1, 2]

    async def test_a_cancelled_waiter_gives_its_place_up(self):
        pool, gate = WorkerPool(max_threads=1, max_waiting=2), Gate()
        running = asyncio.create_task(pool.run(gate, 1))
        await until(lambda: gate.began)
        waiting = [asyncio.create_task(pool.run(gate, number)) for number in (2, 3)]
        await until(lambda: pool.statistics().waiting == 2)
        waiting[0].cancel()
        await asyncio.wait({waiting[0]})
        assert pool.statistics().waiting == 1
        gate.open.set()
        assert await asyncio.gather(running, waiting[1]) == [1, 3]
        assert gate.began == [1, 3]

    async def test_a_waiter_cancelled_as_its_turn_comes_passes_it_on(self):
        pool, gate = WorkerPool(max_threads=1), Gate()
        running = asyncio.create_task(pool.run(gate, 1))
        await until(lambda: gate.began)
        unlucky = asyncio.create_task(pool.run(gate, 2))
        lucky = asyncio.create_task(pool.run(gate, 3))
        await until(lambda: pool.statistics().waiting == 2)
        gate.open.set()
        await running
        # The turn was given when the first job finished; the task has not run since.
        unlucky.cancel()
        assert await lucky == 3
        await asyncio.wait({unlucky})
        await until(lambda: pool.statistics().running == 0)

    async def test_a_function_left_behind_keeps_its_thread_and_is_counted(self):
        pool, gate = WorkerPool(max_threads=1), Gate()
        call = asyncio.create_task(pool.run(gate, 1))
        await until(lambda: gate.began)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert pool.statistics().abandoned == pool.statistics().running == 1
        next_call = asyncio.create_task(pool.run(gate, 2))
        await until(lambda: pool.statistics().waiting == 1)
        gate.open.set()
        assert await next_call == 2
        assert pool.statistics().abandoned == 0

    async def test_closing_ends_the_threads_and_a_later_call_begins_new_ones(self):
        pool = WorkerPool()
        thread = await pool.run(threading.current_thread)
        pool.close()
        await asyncio.to_thread(thread.join, SECONDS)
        assert not thread.is_alive()
        assert (await pool.run(threading.current_thread)).is_alive()
        pool.close()

    async def test_closing_lets_what_runs_come_to_its_end(self):
        pool, gate = WorkerPool(), Gate()
        call = asyncio.create_task(pool.run(gate, "done"))
        await until(lambda: gate.began)
        pool.close()
        gate.open.set()
        assert await call == "done"

    def test_a_function_that_outlives_its_loop_harms_nobody(self):
        pool, gate = WorkerPool(), Gate()

        async def leave():
            call = asyncio.create_task(pool.run(gate))
            await until(lambda: gate.began)
            call.cancel()
            await asyncio.wait({call})

        asyncio.run(leave())
        gate.open.set()
        assert asyncio.run(pool.run(lambda: "next")) == "next"

    async def test_call_awaits_what_is_async_and_threads_what_is_plain(self):
        pool = WorkerPool()

        async def on_loop(value):
            return value, threading.current_thread() is threading.main_thread()

        def in_thread(value):
            return value, threading.current_thread() is threading.main_thread()

        def both(value):
            return on_loop(value)

        assert await pool.call(on_loop, 1) == (1, True)
        assert await pool.call(in_thread, 2) == (2, False)
        assert await pool.call(both, 3) == (3, True)

    @pytest.mark.parametrize("sizes", [{"max_threads": 0}, {"max_waiting": -1}])
    def test_a_size_that_makes_no_sense_is_refused(self, sizes):
        with pytest.raises(ConfigurationError, match=next(iter(sizes))):
            WorkerPool(**sizes)


def test_async_callables_are_known_whatever_they_are():
    class Instance:
        async def __call__(self):
            """Be awaited."""

    async def function():
        """Be awaited."""

    assert is_async(function)
    assert is_async(functools.partial(function))
    assert is_async(Instance())
    assert not is_async(print)
    assert not is_async(Instance)


class TestWithin:
    @pytest.mark.parametrize("fails", [False, True])
    async def test_what_never_waits_needs_no_timer(self, fails, monkeypatch):
        monkeypatch.setattr(execution, "time_limit", None)

        async def work():
            if fails:
                raise LookupError
            return 7

        if fails:
            with pytest.raises(LookupError):
                await within("name", 1, work())
        else:
            assert await within("name", 1, work()) == 7

    async def test_what_waits_too_long_is_cancelled_and_named(self):
        ended = False

        async def work():
            nonlocal ended
            try:
                await asyncio.Event().wait()
            finally:
                ended = True

        with pytest.raises(CallbackTimeout, match=r"'name' took longer than its timeout of 0.01 s"):
            await within("name", 0.01, work())
        assert ended
        assert asyncio.current_task().cancelling() == 0

    @pytest.mark.parametrize("seconds", [None, SECONDS])
    async def test_a_limit_of_the_work_s_own_that_began_before_is_its_own(self, seconds):
        async def work():
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError) as caught:
            await within("name", seconds, work())
        assert type(caught.value) is TimeoutError

    async def test_the_limit_goes_through_one_of_the_work_s_own(self):
        async def work():
            async with asyncio.timeout(SECONDS):
                await asyncio.Event().wait()

        with pytest.raises(CallbackTimeout):
            await within("name", 0.01, work())


class TestSupersession:
    async def test_a_newer_call_cancels_the_older_and_answers(self):
        supersession, cancelled = Supersession(), asyncio.Event()
        started = asyncio.Event()

        async def older():
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def newer():
            return "newer"

        first = asyncio.create_task(supersession.run("key", older))
        await started.wait()
        assert await supersession.run("key", newer) == "newer"
        with pytest.raises(Superseded):
            await first
        assert cancelled.is_set()
        assert not supersession._latest

    async def test_calls_with_other_keys_go_on(self):
        supersession, go = Supersession(), asyncio.Event()

        async def call():
            await go.wait()
            return "done"

        calls = [asyncio.create_task(supersession.run(key, call)) for key in (1, 2)]
        await until(lambda: len(supersession._latest) == 2)
        go.set()
        assert await asyncio.gather(*calls) == ["done", "done"]

    async def test_a_caller_that_leaves_takes_its_call_along(self):
        supersession, cancelled, started = Supersession(), asyncio.Event(), asyncio.Event()

        async def call():
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        caller = asyncio.create_task(supersession.run("key", call))
        await started.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert cancelled.is_set()
        assert not supersession._latest

    async def test_what_the_call_raises_its_caller_gets(self):
        async def call():
            raise KeyError("x")

        with pytest.raises(KeyError):
            await Supersession().run("key", call)


class TestSharedCalls:
    async def test_equal_calls_in_flight_are_one_execution(self):
        shared, go, runs = SharedCalls(), asyncio.Event(), []

        async def call():
            runs.append(1)
            await go.wait()
            return object()

        callers = [asyncio.create_task(shared.run("key", call)) for _ in range(5)]
        await until(lambda: runs)
        go.set()
        results = await asyncio.gather(*callers)
        assert len(set(map(id, results))) == len(runs) == 1
        assert not shared._calls

    async def test_a_call_after_the_end_is_another(self):
        shared, runs = SharedCalls(), []

        async def call():
            runs.append(1)

        await shared.run("key", call)
        await shared.run("key", call)
        assert len(runs) == 2

    async def test_each_caller_gets_what_it_raises(self):
        shared, go = SharedCalls(), asyncio.Event()

        async def call():
            await go.wait()
            raise KeyError("x")

        callers = [asyncio.create_task(shared.run("key", call)) for _ in range(3)]
        await until(lambda: shared._calls and shared._calls["key"].callers == 3)
        go.set()
        errors = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(error) for error in errors] == [KeyError] * 3

    async def test_one_leaving_does_not_disturb_the_others(self):
        shared, go = SharedCalls(), asyncio.Event()

        async def call():
            await go.wait()
            return "done"

        callers = [asyncio.create_task(shared.run("key", call)) for _ in range(3)]
        await until(lambda: shared._calls and shared._calls["key"].callers == 3)
        callers[0].cancel()
        await asyncio.wait({callers[0]})
        go.set()
        assert await asyncio.gather(*callers[1:]) == ["done", "done"]

    async def test_the_last_one_leaving_cancels_it_and_the_next_begins_anew(self):
        shared, cancelled = SharedCalls(), asyncio.Event()

        async def call():
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def another():
            return "another"

        callers = [asyncio.create_task(shared.run("key", call)) for _ in range(2)]
        await until(lambda: shared._calls and shared._calls["key"].callers == 2)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        assert all(caller.cancelled() for caller in callers)
        assert await shared.run("key", another) == "another"
        await cancelled.wait()
        assert not shared._calls

    @pytest.mark.parametrize("fails", [False, True])
    async def test_nobody_is_told_how_an_execution_ends_that_no_caller_waits_for(self, fails):
        shared, begun, told = SharedCalls(), asyncio.Event(), []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

        async def call():
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                if fails:
                    raise KeyError("x")

        caller = asyncio.create_task(shared.run("key", call))
        await begun.wait()
        execution = shared._calls["key"].task
        caller.cancel()
        await asyncio.wait({caller, execution})
        await asyncio.sleep(0)
        assert execution.cancelled() is not fails
        del execution, caller
        gc.collect(0)
        assert told == []
