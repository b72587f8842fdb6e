"""The detector that watches every async test: see conftest.py at the root."""

import asyncio
import time

import pytest
from blockbuster import BlockingError

import flash
from flash.exits import guard_tasks


def as_if_in_flash(source: str):
    """What ``source`` defines as ``run``, compiled as a module of flash-core."""
    names = {"asyncio": asyncio, "time": time}
    exec(compile(source, f"{flash.__path__[0]}/imagined.py", "exec"), names)
    return names["run"]


async def test_a_blocking_call_of_flash_on_the_loop_fails_the_test():
    run = as_if_in_flash("async def run(): time.sleep(0)")
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        await run()


async def test_what_flash_does_in_a_thread_may_block():
    run = as_if_in_flash("async def run(): await asyncio.to_thread(time.sleep, 0)")
    await run()


async def test_the_test_itself_may_block():
    time.sleep(0)  # noqa: ASYNC251  (the point of this test)


async def test_a_task_of_the_test_may_block_on_a_loop_that_an_app_has_used():
    async def block():
        time.sleep(0)  # noqa: ASYNC251  (the point of this test)

    guard_tasks(asyncio.get_running_loop())
    await asyncio.create_task(block())


async def test_a_task_of_flash_may_not():
    run = as_if_in_flash("async def run(): time.sleep(0)")
    guard_tasks(asyncio.get_running_loop())
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        await asyncio.create_task(run())


def test_a_plain_test_is_not_watched():
    as_if_in_flash("def run(): time.sleep(0)")()
