"""Limited logs: whoever causes log lines can cause only so many of each.

A stranger can repeat what makes the server log a line or a traceback. `limited_logger` writes the
first lines of each cause, and then how many were left out.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import quart

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType, TracebackType

# Lines of one cause that are written in `SECONDS`.
MAX_LINES = 30
SECONDS = 60.0

# Causes that are known at a time.
_MAX_CAUSES = 2_000

# The characters of a message of asyncio's that tell its cause; the rest describes objects.
_ASYNCIO_CAUSE = 40

Cause = tuple[object, ...]


@dataclass(slots=True)
class _Window:
    """The lines of one cause since ``began``."""

    began: float
    written: int = 0
    left_out: int = 0


class LogLimit(logging.Filter):
    """Passes at most ``max_lines`` lines of each cause in ``seconds``.

    The cause of a line is the place in the code that logs it; with an exception, also its class and
    the place that raised it. How many lines were left out is logged after ``seconds``, or with the
    next line of the cause. Lines below the level INFO pass. Thread-safe.

    - ``only_from``: limits only lines that the code of a module's folder logs, such as `quart`.
    """

    def __init__(
        self,
        *,
        max_lines: int = MAX_LINES,
        seconds: float = SECONDS,
        only_from: ModuleType | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._max_lines = max_lines
        self._seconds = seconds
        self._folder = None if only_from is None else str(Path(only_from.__file__ or "").parent)
        self._clock = clock
        self._windows: dict[Cause, _Window] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written; adds to it how many were left out before."""
        if record.levelno < logging.INFO or record.name == __name__:
            return True
        if self._folder is not None and not record.pathname.startswith(self._folder):
            return True
        cause = _cause(record)
        now = self._clock()
        with self._lock:
            window = self._windows.get(cause)
            left_out = 0
            if window is None or now - window.began >= self._seconds:
                left_out = 0 if window is None else window.left_out
                if len(self._windows) >= _MAX_CAUSES:
                    self._windows.clear()
                window = self._windows[cause] = _Window(now)
            if window.written >= self._max_lines:
                window.left_out += 1
                if window.left_out == 1:
                    self._report_later(cause, record)
                return False
            window.written += 1
        if left_out:
            record.msg = f"{record.getMessage()} ({_text(left_out, self._seconds)})"
            record.args = ()
        return True

    def reset(self) -> None:
        """Forget all lines so far."""
        with self._lock:
            self._windows.clear()

    def _report_later(self, cause: Cause, record: logging.LogRecord) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # The next line of the cause reports them.
            return
        loop.call_later(self._seconds, self._report, cause, record.name, record.levelno)

    def _report(self, cause: Cause, name: str, level: int) -> None:
        with self._lock:
            window = self._windows.get(cause)
            if window is None or not window.left_out:
                return
            left_out, window.left_out = window.left_out, 0
        place = f"{cause[1]}:{cause[2]}"
        logging.getLogger(__name__).log(
            level, "%s: %s, of %s", name, _text(left_out, self._seconds), place
        )


def _text(left_out: int, seconds: float) -> str:
    lines = "1 line like this was" if left_out == 1 else f"{left_out} lines like this were"
    return f"{lines} left out within {seconds:.0f} s"


def _cause(record: logging.LogRecord) -> Cause:
    found: list[object] = [record.name, record.pathname, record.lineno]
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, trace = record.exc_info
        found += [kind, *_innermost(trace)]
    if record.name == "asyncio":
        # Its lines come from one place in the code.
        found.append(str(record.msg)[:_ASYNCIO_CAUSE])
    return tuple(found)


def _innermost(trace: TracebackType | None) -> tuple[object, ...]:
    if trace is None:
        return ()
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code, trace.tb_lineno


# The limit of Flash's loggers and of the servers'. Loggers belong to the process, and so does it.
LIMIT = LogLimit()

# The loggers of the servers, and of what they log through asyncio.
_SERVER_LOGGERS = ("hypercorn.error", "uvicorn.error", "_granian", "asyncio")


def limited_logger(name: str) -> logging.Logger:
    """Return the logger ``name``, whose lines are limited by their causes."""
    logger = logging.getLogger(name)
    logger.addFilter(LIMIT)
    return logger


def limit_server_logs(app_logger: str) -> None:
    """Limit the lines of the servers, and those that Quart writes to an app's logger."""
    for name in _SERVER_LOGGERS:
        logging.getLogger(name).addFilter(LIMIT)
    logging.getLogger(app_logger).addFilter(_QUART_LIMIT)


_QUART_LIMIT = LogLimit(only_from=quart)
