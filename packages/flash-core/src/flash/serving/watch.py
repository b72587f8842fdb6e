"""What a supervisor decides about its workers: how long to wait before a restart, who is stuck.

No processes and no clocks in here; callers pass times of a monotonic clock, in seconds.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds between two heartbeats of a worker, and seconds of silence after which it is killed. A
# thread sends them, so a worker whose loop is blocked is not silent. One that was stopped
# (SIGSTOP), or in which C code does not release the GIL, is.
HEARTBEAT_INTERVAL = 2.0
MAX_SILENCE = 20.0


@dataclass(frozen=True, slots=True)
class Alive:
    """The heartbeat of a worker."""

    pid: int


class Restarts:
    """How long a supervisor waits before it starts a worker in the place of one that has ended.

    The first worker is replaced at once. Each further one that ends soon after its start doubles
    the wait.
    """

    FIRST_DELAY = 1.0
    MAX_DELAY = 30.0
    # A worker that has lived for as long did not end because of its start.
    STEADY_AFTER = 60.0

    def __init__(self) -> None:
        # Workers in a row that ended soon.
        self._short_lives = 0

    def delay_after(self, lived: float, *, has_listened: bool) -> float:
        """Return the seconds to wait after the end of a worker that has lived for ``lived``."""
        if has_listened and lived >= self.STEADY_AFTER:
            self._short_lives = 0
        self._short_lives += 1
        doublings = self._short_lives - (2 if has_listened else 1)
        return min(self.MAX_DELAY, self.FIRST_DELAY * 2.0**doublings) if doublings >= 0 else 0.0


class Heartbeats:
    """When each worker was heard last."""

    def __init__(self) -> None:
        self._heard: dict[int, float] = {}
        self._checked_at: float | None = None

    def heard(self, pid: int, now: float) -> None:
        """Note a heartbeat; from the first on, silence of this worker is noticed."""
        self._heard[pid] = now

    def forget(self, pid: int) -> None:
        """Expect nothing more from a worker; idempotent."""
        self._heard.pop(pid, None)

    def silent(self, now: float) -> list[int]:
        """Return and forget the workers that are silent for too long; call it every few seconds.

        If the caller itself was stopped, as by Ctrl-Z, all workers get the whole time again.
        """
        if self._checked_at is not None and now - self._checked_at > MAX_SILENCE / 2:
            self._heard = dict.fromkeys(self._heard, now)
        self._checked_at = now
        silent = [pid for pid, heard in self._heard.items() if now - heard > MAX_SILENCE]
        for pid in silent:
            self.forget(pid)
        return silent


def send_heartbeats(send: Callable[[Alive], object]) -> None:
    """Send heartbeats of this process from a thread, until ``send`` raises `OSError`."""

    def beat() -> None:
        try:
            while True:
                send(Alive(os.getpid()))
                time.sleep(HEARTBEAT_INTERVAL)
        except OSError:
            # The supervisor is gone; something else ends this process.
            return

    threading.Thread(target=beat, name="flash-heartbeat", daemon=True).start()
