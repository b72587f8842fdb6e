import asyncio
import gc
import logging

import pytest

from flash.redis.backoff import Backoff
from flash.supervision import SupervisedTask, supervised


def quick() -> Backoff:
    return Backoff(first=0.001, cap=0.002)


class Flaky:
    """Work that fails as told, then lasts."""

    def __init__(self, *failures: BaseException | None) -> None:
        self.failures = list(failures)
        self.runs = 0
        self.lasts = asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        if self.failures:
            failure = self.failures.pop(0)
            if failure is None:
                return
            raise failure
        self.lasts.set()
        await asyncio.Event().wait()


async def until_it_lasts(task: SupervisedTask, work: Flaky) -> None:
    task.start()
    async with asyncio.timeout(60):
        await work.lasts.wait()


@pytest.mark.parametrize(
    "failure",
    [
        ValueError("broken"),
        asyncio.CancelledError(),
        SystemExit(3),
        KeyboardInterrupt(),
        BaseException("polars raises such"),
        None,
    ],
    ids=repr,
)
async def test_whatever_ends_the_work_but_its_own_cancellation_starts_it_again(failure):
    work = Flaky(failure)
    task = SupervisedTask("flaky", work, backoff=quick())
    await until_it_lasts(task, work)
    assert work.runs == 2
    assert task.failures == 1
    await task.stop()
    assert not task.is_running


async def test_a_failure_is_logged_once_with_its_traceback_however_often_it_happens(caplog):
    work = Flaky(*(ValueError("broken") for _ in range(5)))
    task = SupervisedTask("news of the cache", work, backoff=quick())
    with caplog.at_level(logging.ERROR, logger="flash.supervision"):
        await until_it_lasts(task, work)
    (record,) = caplog.records
    assert record.exc_info
    assert "news of the cache ended" in record.getMessage()
    assert task.failures == 5
    await task.stop()


async def test_another_failure_is_logged_as_well(caplog):
    work = Flaky(ValueError("one"), ValueError("two"))
    task = SupervisedTask("flaky", work, backoff=quick())
    with caplog.at_level(logging.ERROR, logger="flash.supervision"):
        await until_it_lasts(task, work)
    assert len(caplog.records) == 2
    await task.stop()


async def test_a_failure_shows_until_the_work_has_run_well_for_a_while():
    work = Flaky(ValueError("broken\nin two lines"))
    task = SupervisedTask("flaky", work, backoff=quick(), recovered_after=3600)
    assert task.failure is None
    await until_it_lasts(task, work)
    assert task.failure == "ValueError: broken"
    await task.stop()
    recovered = SupervisedTask("flaky", Flaky(ValueError()), backoff=quick(), recovered_after=0)
    recovered.start()
    async with asyncio.timeout(60):
        while not recovered.failures or recovered.failure:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
    await recovered.stop()


async def test_work_that_swallows_a_cancellation_is_cancelled_again():
    swallowed = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.append(True)
        await asyncio.Event().wait()

    task = SupervisedTask("stubborn", stubborn)
    task.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await task.stop()
    assert swallowed == [True]


async def test_the_tasks_of_this_loop_are_listed_while_they_run():
    first, second = (SupervisedTask(name, Flaky()) for name in ("b", "a"))
    first.start()
    second.start()
    second.start()
    assert supervised() == [second, first]
    await first.stop()
    await first.stop()
    assert supervised() == [second]
    await second.stop()
    assert supervised() == []


async def test_a_task_that_is_stopped_is_not_kept():
    task = SupervisedTask("brief", Flaky())
    task.start()
    await task.stop()
    del task
    gc.collect()
    assert supervised() == []
