"""`flash top`: what is read of workers, what is computed of it, and what is shown."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from flash import cli
from flash.errors import ConfigurationError
from flash.top.collector import MIN_QUESTIONS, Collector, Source
from flash.top.sample import BadSample, Sample, activity
from flash.top.screen import show, table
from flash.top.workers import FORGOTTEN_AFTER, Unreachable


def answer(worker=7, *, host="a", checks=None, pages=3, cpu=1.0, memory=80_000_000, **metrics):
    """What ``_flash/inspect`` writes."""
    return json.dumps(
        {
            "worker": worker,
            "host": host,
            "checks": checks or {"loop": "ok"},
            "page_count": pages,
            "pages": [],
            "metrics": [
                {"name": name, "labels": {"n": str(place)}, "value": value}
                for name, values in metrics.items()
                for place, value in enumerate(values if isinstance(values, list) else [values])
            ],
            "cpu_seconds": cpu,
            "memory_bytes": memory,
        }
    ).encode()


def sample(at, **said):
    return Sample.parse(answer(**said), at)


def test_metrics_of_one_name_are_added_up():
    read = sample(5.0, checks={"a": "ok", "b": "gone"}, flash_threads_running=[2, 3])
    assert read.worker == ("a", 7)
    assert read.failing == {"b": "gone"}
    assert activity(None, read).running == 5
    assert activity(None, read).callbacks is None


def test_counters_become_rates():
    before = sample(10.0, cpu=1.0, flash_callbacks_total=[10, 5], flash_callback_seconds_total=1.0)
    after = sample(12.0, cpu=2.5, flash_callbacks_total=[20, 15], flash_callback_seconds_total=3.0)
    did = activity(before, after)
    assert (did.callbacks, did.callback_seconds, did.cpu) == (10.0, 0.1, 0.75)
    assert did.messages == 0


def test_a_counter_that_fell_has_no_rate():
    before = sample(10.0, flash_callbacks_total=10)
    after = sample(12.0, flash_callbacks_total=3)
    assert activity(before, after).callbacks is None
    assert activity(after, after).messages is None


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b"null", b'{"worker": {}}', answer().replace(b"3", b'"x"', 1)],
)
def test_an_answer_of_something_else_is_refused(body):
    with pytest.raises(BadSample):
        Sample.parse(body, 0.0)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_each_worker_has_a_row_however_often_it_answers():
    clock, workers = Clock(), iter([1, 2, 1, 1, *[2] * 20])
    collector = Collector(lambda: answer(next(workers)), clock)
    assert [each.sample.worker[1] for each in collector.collect()] == [1, 2]
    clock.now += 2
    # More questions now that there are two.
    assert [each.callbacks for each in collector.collect()] == [None, 0.0]


def test_a_worker_that_is_not_met_again_is_left_out():
    clock, worker = Clock(), [1]
    collector = Collector(lambda: answer(worker[0]), clock)
    collector.collect()
    worker[0] = 2
    clock.now += FORGOTTEN_AFTER
    assert len(collector.collect()) == 2
    clock.now += 1
    assert [each.sample.worker[1] for each in collector.collect()] == [2]


def test_one_answer_among_failures_is_enough():
    left = [MIN_QUESTIONS - 1]

    def ask():
        if left[0]:
            left[0] -= 1
            raise Unreachable("away")
        return answer()

    assert len(Collector(ask).collect()) == 1


def test_no_answer_is_an_error():
    with pytest.raises(Unreachable, match="not that of an app of Flash"):
        Collector(lambda: b"<html>").collect()


def rendered(activities):
    console = Console(file=io.StringIO(), width=160)
    console.print(table(activities))
    return console.file.getvalue()


def test_the_table_shows_each_worker_and_all_of_them():
    broker = {"flash_broker_lag_seconds": 0.25, "flash_live_lag_seconds": 0.002}
    busy = activity(
        sample(0.0, worker=1, flash_callbacks_total=0, flash_callback_seconds_total=0),
        sample(
            1.0,
            worker=1,
            cpu=1.95,
            flash_callbacks_total=1200,
            flash_callback_seconds_total=24,
            flash_live_outbox_bytes=2_500_000,
            **broker,
        ),
    )
    away = activity(None, sample(1.0, worker=2, checks={"broker": "no connection"}, memory=None))
    text = rendered([busy, away])
    first, second, both = [line.split() for line in text.splitlines() if line[:1] in "12a"]
    assert first[:6] == ["1", "yes", "95%", "80", "MB", "3"]
    assert {"1,200", "20", "250"} <= set(first)
    assert second[:4] == ["2", "broker", "–", "–"]
    assert both[:5] == ["all", "2", "1", "of", "2"]


def test_it_goes_on_when_the_app_is_away_for_a_while():
    outcomes = iter(["up", "away", "up", "end"])
    state = {"now": "up"}

    def ask():
        if state["now"] == "away":
            raise Unreachable("nobody there")
        return answer()

    def pause(_):
        state["now"] = next(outcomes)
        if state["now"] == "end":
            raise KeyboardInterrupt

    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with pytest.raises(KeyboardInterrupt):
        show(Collector(ask), "here", 1.0, console=console, pause=pause)
    text = console.file.getvalue()
    assert text.count("nobody there") == 1
    assert text.count("Ctrl-C ends") >= 4


@pytest.fixture
def stranger():
    """A server that is asked, and says no unless it is told a word."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers)
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "/")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            allowed = self.headers.get("X-Word") == "please"
            body = answer() if allowed else b"\x1b[31mnot you"
            self.send_response(200 if allowed else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_who_may_not_look_is_told_how(stranger, capsys):
    url, _ = stranger
    assert cli.main(["top", url, "--once"]) == 2
    said = capsys.readouterr().err
    # Without what colours a terminal.
    assert "403: [31mnot you" in said
    assert "Live(app, inspect=…)" in said


def test_a_header_names_who_asks(stranger, capsys):
    url, asked = stranger
    assert cli.main(["top", url, "--once", "--interval", "0.2", "--header", "X-Word: please"]) == 0
    assert "yes" in capsys.readouterr().out
    assert {each["Accept"] for each in asked} == {"application/json"}


def test_a_redirect_is_not_followed_with_what_names_who_asks(stranger, capsys):
    url, asked = stranger
    assert cli.main(["top", f"{url}/moved", "--once", "--header", "X-Word: please"]) == 2
    assert "answers 302" in capsys.readouterr().err
    assert len(asked) == MIN_QUESTIONS


def test_what_cannot_be_asked_is_refused(capsys):
    assert cli.main(["top", "ftp://example.org"]) == 2
    assert "'ftp://example.org' is no address" in capsys.readouterr().err
    assert cli.main(["top", "--header", "nonsense"]) == 2
    assert "--header 'nonsense' is not of the form" in capsys.readouterr().err
    for interval in ("0", "x", "nan"):
        with pytest.raises(SystemExit):
            cli.main(["top", "--interval", interval])
    with pytest.raises(ConfigurationError):
        Source("127.0.0.1:8050", {})


def test_rich_is_asked_for_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main(["top"]) == 2
    assert 'pip install "flash-core[top]"' in capsys.readouterr().err
