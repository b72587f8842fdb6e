"""What a supervisor decides about its workers: restarts with a backoff, silence (issue 13, G)."""

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import pytest
from changed_constants import environment_with

from flash.serving.watch import HEARTBEAT_INTERVAL, MAX_SILENCE, Heartbeats, Restarts
from flash.testing import AppProcess

SERVERS = ("hypercorn", "uvicorn", "granian")


def test_13_g_the_first_worker_that_ends_is_replaced_at_once_and_others_wait_longer():
    restarts = Restarts()
    delays = [restarts.delay_after(0.1, has_listened=True) for _ in range(9)]
    assert delays == [0, 1, 2, 4, 8, 16, 30, 30, 30]
    # One that has lived for a while ends the row.
    assert restarts.delay_after(Restarts.STEADY_AFTER, has_listened=True) == 0
    assert restarts.delay_after(0.1, has_listened=True) == 1


def test_13_g_a_worker_that_does_not_start_is_never_replaced_at_once():
    restarts = Restarts()
    assert [restarts.delay_after(100, has_listened=False) for _ in range(4)] == [1, 2, 4, 8]


def test_13_g_silence_is_noticed_once_and_only_after_a_first_heartbeat():
    heartbeats = Heartbeats()
    heartbeats.heard(7, 0)
    heartbeats.heard(8, 0)
    now = 0.0
    while now <= MAX_SILENCE:
        assert heartbeats.silent(now) == []
        now += HEARTBEAT_INTERVAL
        heartbeats.heard(8, now)
    assert heartbeats.silent(now) == [7]
    assert heartbeats.silent(now) == []
    heartbeats.forget(8)
    heartbeats.forget(9)


def test_13_g_a_supervisor_that_was_stopped_itself_kills_nobody():
    heartbeats = Heartbeats()
    heartbeats.heard(7, 0)
    assert heartbeats.silent(1) == []
    assert heartbeats.silent(1000) == []
    assert heartbeats.silent(1000 + HEARTBEAT_INTERVAL) == []
    for seconds in range(2, int(MAX_SILENCE) + 4, 2):
        found = heartbeats.silent(1000 + seconds)
    assert found == [7]


APP = """
import os, quart
app = quart.Quart(__name__)

@app.get("/")
async def pid():
    return str(os.getpid())

@app.get("/die")
async def die():
    os._exit(3)
"""


def children(pid):
    """Return the processes below one, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def get(url):
    from urllib.request import urlopen

    with urlopen(url, timeout=5) as response:
        return response.read().decode()


@pytest.fixture
def app(tmp_path):
    path = tmp_path / "watched.py"
    path.write_text(APP)
    return path


@pytest.mark.parametrize("server", SERVERS)
async def test_13_g_a_worker_that_was_stopped_is_killed_and_replaced(app, server, tmp_path):
    def look():
        # Silent for as long as that is noticed; how long it really is, is tested without processes.
        env = environment_with(
            tmp_path,
            flash__serving__watch__HEARTBEAT_INTERVAL=0.5,
            flash__serving__watch__MAX_SILENCE=5.0,
        )
        arguments = ("--workers", "2")
        with AppProcess(app, server=server, env=env, arguments=arguments) as process:
            workers = {int(get(process.url)) for _ in range(40)}
            stopped = workers.pop()
            # The heartbeat of its start has arrived.
            time.sleep(1)
            os.kill(stopped, signal.SIGSTOP)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                if f"worker {stopped} does not run" in process.output:
                    break
                time.sleep(0.2)
            assert f"worker {stopped} does not run" in process.output
            found = set()
            while time.monotonic() < deadline and len(found - {stopped}) < 2:
                try:
                    found.add(int(get(process.url)))
                except OSError:
                    time.sleep(0.2)
            assert len(found - {stopped}) == 2
            assert stopped not in children(process.pid)

    await asyncio.to_thread(look)


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
async def test_13_g_workers_that_die_again_and_again_are_replaced_ever_more_slowly(app, server):
    def look():
        with AppProcess(app, server=server, arguments=("--workers", "2")) as process:
            deadline = time.monotonic() + 60
            told = []
            while time.monotonic() < deadline and len(told) < 4:
                try:
                    get(f"{process.url}/die")
                except OSError:
                    time.sleep(0.05)
                told = re.findall(r"exit code 3; starting another( in [\d.]+ s)?", process.output)
            assert told[:4] == ["", " in 1 s", " in 2 s", " in 4 s"]

    await asyncio.to_thread(look)
