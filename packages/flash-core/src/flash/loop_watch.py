"""The loop watch: a thread that names the code of the app that blocks the event loop.

The loop sets a time stamp many times a second. If the stamp is too old, a thread reads the stack of
the loop's thread and reports the innermost function that is the app's own code.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from flash.settings import PACKAGES, shown_path

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger(__name__)

# Seconds for which the loop may be blocked before the code that blocks it is reported.
DEFAULT_SECONDS = 0.1

# Places whose reports are counted one by one; further ones are counted together.
MAX_PLACES = 200

# The stamp is set this often within the allowed time. The thread looks as often.
_STAMPS = 4

# Parts of the paths of installed packages.
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

# Functions of asyncio below which no handler runs.
_LOOP_FUNCTIONS = frozenset(("_run", "_run_once", "run_forever", "run_until_complete", "run"))


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the app's code."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"


class LoopWatch:
    """Reports what blocks one event loop for ``seconds`` or longer.

    `start` and `stop` are called on the loop. A report is logged once for each place, and counted
    each time. Code of Python, of installed packages and of Flash is never named: if no function of
    the app is on the stack, the time is counted without a place.
    """

    def __init__(self, seconds: float = DEFAULT_SECONDS) -> None:
        self.seconds = seconds
        # How often each place has blocked the loop; at most `MAX_PLACES`, the first ones.
        self.counts: OrderedDict[Place, int] = OrderedDict()
        # How often code without a place of its own has.
        self.unnamed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._stamp = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        # The apps that have started it and not stopped it.
        self._users = 0

    @property
    def total(self) -> int:
        """How often the loop has been blocked."""
        return sum(self.counts.values()) + self.unnamed

    def start(self) -> None:
        """Watch the running loop until `stop` has been called as often as `start`."""
        self._users += 1
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._stopped = threading.Event()
        self._set_stamp()
        self._thread = threading.Thread(
            target=self._watch,
            args=(self._loop, self._stopped),
            name="flash-loop-watch",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread if nobody else has started it. It is not waited for: it may be asleep."""
        self._users -= 1
        if self._users > 0:
            return
        self._users = 0
        self._stopped.set()
        self._thread = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_stamp(self) -> None:
        assert self._loop is not None
        self._stamp = time.monotonic()
        self._timer = self._loop.call_later(self.seconds / _STAMPS, self._set_stamp)

    def _watch(self, loop: asyncio.AbstractEventLoop, stopped: threading.Event) -> None:
        late = reported = 0.0
        while not stopped.wait(self.seconds / _STAMPS):
            stamp = self._stamp
            if loop.is_closed():
                return
            if stamp == reported or time.monotonic() - stamp < self.seconds:
                continue
            if not loop.is_running():
                # It stands still on purpose, as between two tests.
                continue
            if stamp != late:
                # Look again: on a busy machine the loop's thread may have had to wait for a core.
                late = stamp
                continue
            # The only way to another thread's stack; documented for uses such as this one.
            frame = sys._current_frames().get(  # pyright: ignore[reportPrivateUsage]
                self._thread_id
            )
            if frame is None or stamp != self._stamp:
                # It went on while the frame was read, so the frame shows something else.
                continue
            reported = stamp
            self._report(frame)

    def _report(self, frame: FrameType) -> None:
        if _waits(frame):
            # The loop is idle, and the operating system has not let it run.
            return
        place = place_of(frame)
        if place is None:
            self.unnamed += 1
            return
        known = self.counts.get(place)
        if known is None and len(self.counts) >= MAX_PLACES:
            self.unnamed += 1
            return
        self.counts[place] = (known or 0) + 1
        if known is not None:
            return
        logger.warning(
            "%s blocks the event loop: no other visitor is served for more than %g s. Await what "
            "it waits for, or make it a plain function, which runs in a thread",
            place,
            self.seconds,
        )


def place_of(frame: FrameType | None) -> Place | None:
    """Return the innermost line of the app's own code on a stack; None if there is none."""
    while frame is not None and not _is_loop(frame):
        if _is_own_code(frame):
            code = frame.f_code
            return Place(code.co_qualname, shown_path(code.co_filename), frame.f_lineno)
        frame = frame.f_back
    return None


def _is_own_code(frame: FrameType) -> bool:
    """Return whether a frame belongs to the app, not to Python or to an installed package."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    file = frame.f_code.co_filename
    return (
        package not in PACKAGES
        and package not in sys.stdlib_module_names
        # Imports, and code that has no file.
        and not file.startswith("<")
        and not any(folder in file for folder in _INSTALLED)
    )


def _is_loop(frame: FrameType) -> bool:
    """Return whether a frame is the event loop's own; what is below it started the server."""
    module = str(frame.f_globals.get("__name__", ""))
    return module.startswith("asyncio.") and frame.f_code.co_name in _LOOP_FUNCTIONS


def watch(loop: asyncio.AbstractEventLoop, seconds: float) -> LoopWatch:
    """Return the watch of a loop, made and started if there is none; called on the loop.

    Several apps on one loop share one watch. The shortest time that one of them has given counts.
    """
    found = _WATCHES.get(loop)
    if found is None:
        found = _WATCHES[loop] = LoopWatch(seconds)
    found.seconds = min(found.seconds, seconds)
    found.start()
    return found


def _waits(frame: FrameType) -> bool:
    """Return whether the loop waits for something to do."""
    return _is_loop(frame) or frame.f_globals.get("__name__") == "selectors"


_WATCHES: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWatch] = WeakKeyDictionary()
