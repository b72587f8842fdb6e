"""`flash top` beside an app on two workers: by its address, and by the Redis that they share."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from documents import PATIENCE
from redis_servers import RedisServer

from flash.testing import AppProcess
from flash.top.exchange import samples_of, topic_of
from flash.top.redis_workers import RedisWorkers
from flash.top.workers import Unreachable

APP = """
import os
from flash import Flash, Input, Output, html, live
from flash_ws import Live

app = Flash(__name__)
app.layout = html.Div([html.P(id="a"), html.P(id="b")])
Live(app, inspect=lambda request: request.headers.get("Authorization") == "Bearer of news")
"""
TOP = [sys.executable, "-m", "flash.cli", "top", "--once", "--interval", "0.5"]


def top(*arguments, **environment):
    return subprocess.run(
        [*TOP, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={"COLUMNS": "160", "PYTHONIOENCODING": "utf-8", **environment},
    )


def test_each_worker_has_its_row_for_who_may_look(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    with RedisServer(tmp_path) as redis:
        env = {"FLASH_REDIS_URL": redis.url}
        with AppProcess(tmp_path / "app.py", env=env, arguments=["--workers", "2"]) as served:
            refused = top(served.url)
            assert refused.returncode == 2
            assert "Live(app, inspect=…)" in refused.stderr
            # The kernel chooses who answers: now and then one of the two is not met in a round.
            for _ in range(10):
                shown = top(served.url, "--header", "Authorization: Bearer of news")
                assert shown.returncode == 0, shown.stderr
                rows = [line.split() for line in shown.stdout.splitlines()[1:]]
                assert all(row[1] == "yes" for row in rows if row[0].isdigit())
                if rows[-1][:2] == ["all", "2"]:
                    break
            else:
                raise AssertionError(shown.stdout)
            assert rows[-1][2:5] == ["2", "of", "2"]


# -- by Redis

SHARED = """
import os, signal, time
from flash import Flash, Input, Output, html, live, pubsub

app = Flash(__name__, prevent_initial_callbacks=True)
app.layout = html.Div([html.P(id="a"), html.P(id="b")])
pubsub.channel("prices")
live.readiness.add("stock", lambda: "the shelf of Ada is empty" if "EMPTY" in os.environ else None)
"""


@contextmanager
def deployment(redis_url, directory, count=2, **environment):
    """Start ``count`` servers of one app, each behind a port of its own."""
    directory.mkdir(exist_ok=True)
    (directory / "app.py").write_text(SHARED)
    served = [
        AppProcess(directory / "app.py", env={"FLASH_REDIS_URL": redis_url, **environment})
        for _ in range(count)
    ]
    try:
        for each in served:
            each.start()
        yield served
    finally:
        for each in served:
            if each.is_running:
                each.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("top")) as server:
        yield server


@pytest.fixture(scope="module")
def workers(server, tmp_path_factory):
    """Two workers that only a test of this module kills or stops for a moment."""
    with deployment(server.url, tmp_path_factory.mktemp("apps") / "app") as served:
        yield served


def until(seen):
    """Return what ``seen`` returns, as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := seen():
            return found
        time.sleep(0.05)
    raise AssertionError(f"it never came to {seen}")


def processes(watcher):
    """Return the process ids of the workers that a watcher sees, sorted."""
    try:
        return sorted(each.sample.worker[1] for each in watcher.collect())
    except Unreachable:
        return []


def test_every_worker_is_seen_at_once_by_redis(server, workers):
    expected = sorted(each.pid for each in workers)
    with RedisWorkers(server.url) as watcher:
        until(lambda: processes(watcher) == expected)
    shown = top("--redis", server.url)
    assert shown.returncode == 0, shown.stderr
    rows = [line.split() for line in shown.stdout.splitlines()[1:]]
    assert sorted(int(row[0]) for row in rows if row[0].isdigit()) == expected
    assert rows[-1][:5] == ["all", "2", "2", "of", "2"]


@pytest.mark.parametrize("variable", ["FLASH_REDIS_URL", "FLASH_BROKER_URL"])
def test_the_address_of_the_app_is_that_of_the_environment(server, workers, variable):
    shown = top("--redis", **{variable: server.url})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "all 2" in shown.stdout


def test_a_killed_worker_disappears_with_the_next_round(server, tmp_path):
    url = f"{server.url}?prefix=killed"
    with deployment(url, tmp_path / "app") as served, RedisWorkers(url) as watcher:
        killed, left = served
        until(lambda: len(processes(watcher)) == 2)
        killed.kill()
        # As soon as Redis knows that the connection has gone.
        until(lambda: processes(watcher) == [left.pid])


def test_a_worker_that_does_not_answer_is_silent(server, tmp_path):
    url = f"{server.url}?prefix=silent"
    with deployment(url, tmp_path / "app") as served, RedisWorkers(url) as watcher:
        until(lambda: len(processes(watcher)) == 2)
        os.kill(served[0].pid, signal.SIGSTOP)
        try:
            found = {each.sample.worker[1]: each.silent_for for each in watcher.collect()}
            assert found[served[0].pid] > 0
            assert found[served[1].pid] is None
            assert "1 of 2 workers did not answer within 1 s" in watcher.remark
        finally:
            os.kill(served[0].pid, signal.SIGCONT)
        until(lambda: not watcher.remark or not watcher.collect())
        assert all(each.silent_for is None for each in watcher.collect())


def test_without_a_watcher_nothing_is_sent(server, workers):
    with server.client() as client, RedisWorkers(server.url) as watcher:
        until(lambda: len(processes(watcher)) == 2)

        def calls(command):
            return client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)

        def probes():
            return calls("publish")

        def after(count):
            start = probes()
            until(lambda: probes() >= start + count)

        before = calls("rpush")
        # The workers go on with what they always do.
        after(4)
        assert calls("rpush") == before
        assert client.pubsub_numsub(topic_of("flash")) == [(topic_of("flash"), 2)]
        watcher.collect()
        assert calls("rpush") == before + 2


def test_what_a_watcher_has_not_collected_is_removed(server, workers):
    name = b"a-watcher-that-left"
    key = samples_of("flash", name)
    with server.client() as client:
        assert client.publish(topic_of("flash"), name) == 2
        until(lambda: client.llen(key) == 2)
        assert 0 < client.ttl(key) <= 10
        # No key is made of a name that no watcher has.
        known = set(client.scan_iter("{flash:top}*"))
        for strange in (b"", b"x", b"}:c:prices", b"a" * 65, b"\xff" * 12, b"with a space"):
            client.publish(topic_of("flash"), strange)
        client.publish(topic_of("flash"), b"the-last-of-all")
        until(lambda: client.llen(samples_of("flash", b"the-last-of-all")) == 2)
        assert set(client.scan_iter("{flash:top}*")) == known | {
            samples_of("flash", b"the-last-of-all")
        }


def test_a_sample_has_no_texts_of_the_app_and_is_small(server, tmp_path):
    url = f"{server.url}?prefix=texts"
    with deployment(url, tmp_path / "app", 1, EMPTY="1"), server.client() as client:
        client.publish(topic_of("texts"), b"who-reads-it")
        _, sample = client.blpop(samples_of("texts", b"who-reads-it"), PATIENCE)
    assert len(sample) < 1000
    assert json.loads(sample)["checks"]["stock"] == "failing"
    assert b"Ada" not in sample


def test_a_prefix_has_its_own_workers(server, workers, tmp_path):
    url = f"{server.url}?prefix=another"
    assert top("--redis", url).returncode == 2
    with deployment(url, tmp_path / "app", 1) as served, RedisWorkers(url) as watcher:
        until(lambda: processes(watcher) == [served[0].pid])
    with RedisWorkers(server.url) as watcher:
        assert processes(watcher) == sorted(each.pid for each in workers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--redis", "redis://127.0.0.1:1/0?timeout=0.3"], "did not answer within 0.3 s"),
        (["--redis", "nonsense"], "unknown scheme ''"),
        (["--redis", "memory://"], "inside one process"),
        (["--redis"], "--redis needs an address"),
        (
            ["http://127.0.0.1:8050", "--redis", "redis://x"],
            "'http://127.0.0.1:8050'|has no effect",
        ),
        (["--header", "a: b", "--redis", "redis://x"], "--header has no effect"),
    ],
)
def test_what_names_no_redis_is_refused(arguments, said):
    refused = top(*arguments)
    assert refused.returncode == 2
    assert re.search(said, refused.stderr)
    assert "Traceback" not in refused.stderr


def test_where_no_worker_is_the_remedy_is_named(server):
    refused = top("--redis", f"{server.url}?prefix=nobody")
    assert refused.returncode == 2
    assert "with the prefix 'nobody'" in refused.stderr
    assert "check address, database and prefix=" in refused.stderr


def test_the_redis_user_of_the_security_page_may_watch_and_be_watched(server, tmp_path):
    document = Path(__file__).parents[2] / "docs" / "security.md"
    (line,) = re.findall(r"ACL SETUSER flash (.+)", document.read_text(encoding="utf-8"))
    rules = [">of-the-test" if rule.startswith(">") else rule for rule in line.split()]
    url = f"redis://flash:of-the-test@127.0.0.1:{server.port}/0?prefix=flash:acl"
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "flash", *rules)
        client.execute_command("ACL", "LOG", "RESET")
        try:
            with deployment(url, tmp_path / "app", 1) as served, RedisWorkers(url) as watcher:
                until(lambda: processes(watcher) == [served[0].pid])
            assert [entry["object"] for entry in client.acl_log()] == []
        finally:
            client.acl_deluser("flash")


def test_who_may_not_read_redis_is_told(server):
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "nobody", "on", ">x", "-@all", "+@connection")
        try:
            refused = top("--redis", f"redis://nobody:x@127.0.0.1:{server.port}/0?timeout=2")
        finally:
            client.acl_deluser("nobody")
    assert refused.returncode == 2
    assert "no permission" in refused.stderr.lower() or "NOPERM" in refused.stderr
    assert "x@" not in refused.stderr.replace("***@", "")
