"""Processes that serve one app, each behind a port of its own: workers of several machines."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from flash.testing import AppProcess


@contextmanager
def all_running(*processes):
    """Start processes, all at once; ends them in the end, the last first."""
    with ExitStack() as running, ThreadPoolExecutor(len(processes)) as threads:
        for process in processes:
            running.push(process)
        list(threads.map(AppProcess.start, processes))
        yield list(processes)


def two_workers(target, **env):
    """Serve an app with two workers, which know of each other through what ``env`` names only."""
    return all_running(AppProcess(target, env=env), AppProcess(target, env=env))
