"""`flash top` beside an app on two workers: each has its row, and calls are counted."""

from __future__ import annotations

import subprocess
import sys

from documents import PATIENCE
from redis_servers import RedisServer

from flash.testing import AppProcess

APP = """
import os
from flash import Flash, Input, Output, html, live
from flash_ws import Live

app = Flash(__name__)
app.layout = html.Div([html.P(id="a"), html.P(id="b")])
Live(app, inspect=lambda request: request.headers.get("Authorization") == "Bearer of news")
"""
TOP = [sys.executable, "-m", "flash.cli", "top", "--once", "--interval", "0.5"]


def top(url, *arguments):
    return subprocess.run(
        [*TOP, url, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={"COLUMNS": "160", "PYTHONIOENCODING": "utf-8"},
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
