"""Plain functions of a server, each kind of which finds a thread."""

import threading

from flash.http.plain_functions import PlainFunctions
from flash.seams.flask_globals import waiting_threads


async def test_a_function_runs_in_a_thread_with_its_arguments():
    functions = PlainFunctions()

    def function(*args, **options):
        return args, options, threading.current_thread() is threading.main_thread()

    assert await functions.run(function, 1, b=2) == ((1,), {"b": 2}, False)


async def test_a_thread_that_waits_and_what_it_waits_for_come_from_different_pools():
    functions = PlainFunctions()
    token = waiting_threads.set(2)
    try:
        await functions.run(lambda: None)
    finally:
        waiting_threads.reset(token)
    await functions.run(lambda: None)
    # One for each number of threads that wait, made when it is needed and kept.
    assert len(functions._pools) == 3
    assert [pool._threads for pool in functions._pools] == [1, 0, 1]
