"""Log lines are limited by their causes (issue 13, F)."""

import asyncio
import logging

import pytest

from flash.log_limit import LogLimit, limit_server_logs, limited_logger


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(clock):
    """A logger of its own with a limit of three lines a minute."""
    logger = logging.getLogger("flash.test_log_limit")
    limit = LogLimit(max_lines=3, seconds=60, clock=clock)
    logger.addFilter(limit)
    yield logger
    logger.removeFilter(limit)


def complain(log, *things):
    for thing in things:
        log.warning("a stranger sent %r", thing)


def fail(log, kind):
    try:
        raise kind("no")
    except Exception:
        log.exception("it failed")


def test_13_f_a_cause_writes_its_first_lines_only(log, caplog):
    complain(log, *range(1000))
    assert [each.getMessage() for each in caplog.records] == [
        f"a stranger sent {number}" for number in range(3)
    ]


def test_13_f_the_next_line_says_how_many_were_left_out(log, caplog, clock):
    complain(log, *range(1000))
    clock.now = 61
    complain(log, "more")
    assert caplog.messages[3:] == [
        "a stranger sent 'more' (997 lines like this were left out within 60 s)"
    ]


def test_13_f_other_causes_have_lines_of_their_own(log, caplog):
    complain(log, *range(1000))
    for _ in range(10):
        fail(log, KeyError)
        fail(log, TypeError)
        log.warning("another place")
    # One place of the code logs them, and one raises them, but their classes differ.
    assert len(caplog.records) == 3 + 3 + 3 + 3


def test_13_f_what_is_only_for_debugging_passes(log, caplog):
    log.setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        for number in range(100):
            log.debug("number %d", number)
    assert len(caplog.records) == 100


async def test_13_f_the_number_is_logged_although_no_other_line_follows(caplog):
    logger = logging.getLogger("flash.test_log_limit_reports")
    limit = LogLimit(max_lines=1, seconds=0.05)
    logger.addFilter(limit)
    reported = asyncio.Event()
    report = logging.getLogger("flash.log_limit")
    handler = logging.Handler()
    handler.emit = lambda record: reported.set()
    report.addHandler(handler)
    complain(logger, 1, 2, 3)
    async with asyncio.timeout(10):
        await reported.wait()
    report.removeHandler(handler)
    assert caplog.messages[1].startswith(
        "flash.test_log_limit_reports: 2 lines like this were left out within 0 s"
    )


def test_13_f_the_causes_that_are_kept_are_bounded(log, caplog):
    for number in range(5000):
        fail(log, type(f"Error{number}", (Exception,), {}))
    assert len(caplog.records) == 5000
    assert len(log.filters[-1]._windows) <= 2000


def test_13_f_an_app_of_a_users_name_keeps_its_own_lines(caplog):
    limit_server_logs("shop")
    own = logging.getLogger("shop")
    for number in range(100):
        own.warning("order %d", number)
    assert len(caplog.records) == 100


def test_13_f_a_servers_lines_are_limited(caplog):
    limit_server_logs("shop")
    for _ in range(1000):
        limited_logger("asyncio").error("socket.accept() out of system resource\nsocket: %s", 1)
    assert len(caplog.records) == 30
