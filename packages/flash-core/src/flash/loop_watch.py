"""The loop watch: a thread that names the code of the app that blocks the event loop.

The thread looks at the loop's thread a few times in the allowed time. If the loop is at work then,
the thread asks it for an answer in its next step; if there is none in time, it reports the
innermost function on the stack that is the app's own code. A loop that has nothing to do is asked
nothing and has no timer: to wake it 40 times a second cost as much as 4,000 pushes to pages cost in
a twelfth of a second.
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
    from types import CodeType, FrameType

logger = logging.getLogger(__name__)

# Seconds for which the loop may be blocked before the code that blocks it is reported.
DEFAULT_SECONDS = 0.1

# Places whose reports are counted one by one; further ones are counted together.
MAX_PLACES = 200

# The thread looks this often within the allowed time. So what has blocked the loop for half as long
# again as allowed is always noticed, and what has blocked it for less than allowed never.
_LOOKS = 2

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


class _Question:
    """What the loop answers in its next step."""

    __slots__ = ("asked_at", "is_answered", "is_reported")

    def __init__(self) -> None:
        self.asked_at = time.monotonic()
        self.is_answered = False
        self.is_reported = False

    def answer(self) -> None:
        self.is_answered = True


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
        self._thread_id = 0
        # The function from which the loop's handlers are called. Of a loop written in C it is the
        # one that runs the loop, which is on top of the stack while the loop waits.
        self._caller: CodeType | None = None
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
        loop = asyncio.get_running_loop()
        loop.call_soon(self._note_caller)
        self._thread_id = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch,
            args=(loop, self._stopped),
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

    def _note_caller(self) -> None:
        below = sys._getframe().f_back  # pyright: ignore[reportPrivateUsage]
        self._caller = None if below is None else below.f_code

    def _watch(self, loop: asyncio.AbstractEventLoop, stopped: threading.Event) -> None:
        question: _Question | None = None
        while not stopped.wait(self.seconds / _LOOKS):
            if loop.is_closed():
                return
            # If it does not run, it stands still on purpose, as between two tests.
            question = self._look(loop, question) if loop.is_running() else None

    def _look(
        self, loop: asyncio.AbstractEventLoop, question: _Question | None
    ) -> _Question | None:
        """Look at the loop's thread once; return the question that is open then."""
        if question is not None and question.is_reported and not question.is_answered:
            return question
        # The only way to another thread's stack; documented for uses such as this one. The frame is
        # let go before the thread sleeps, since it keeps what the function's variables hold.
        frame = sys._current_frames().get(  # pyright: ignore[reportPrivateUsage]
            self._thread_id
        )
        if question is None or question.is_answered:
            if frame is None or self._waits(frame):
                return None
            question = _Question()
            try:
                loop.call_soon_threadsafe(question.answer)
            except RuntimeError:
                # It was closed meanwhile.
                return None
        elif (
            frame is not None
            and time.monotonic() - question.asked_at >= self.seconds
            # It went on while the frame was read, which shows something else by now.
            and not question.is_answered
        ):
            question.is_reported = True
            self._report(frame)
        return question

    def _waits(self, frame: FrameType) -> bool:
        """Return whether the loop waits for something to do."""
        return (
            frame.f_code is self._caller
            or _is_loop(frame)
            or frame.f_globals.get("__name__") == "selectors"
        )

    def _report(self, frame: FrameType) -> None:
        if self._waits(frame):
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


_WATCHES: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWatch] = WeakKeyDictionary()
