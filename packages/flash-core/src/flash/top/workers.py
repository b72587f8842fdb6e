"""The workers that `flash top` knows, by the last two samples of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from flash.top.sample import Activity, Sample, WorkerId, activity

if TYPE_CHECKING:
    from collections.abc import Iterable

# Seconds after which a worker that was not met again, or has not answered, is left out.
FORGOTTEN_AFTER = 15.0


class Unreachable(Exception):
    """No worker answered; the text says why, and what to do."""


class Workers(Protocol):
    """Where `flash top` learns what the workers do; used in one thread."""

    @property
    def remark(self) -> str:
        """What the table does not show of the last round, in one line; empty if it shows all."""
        ...

    def collect(self) -> list[Activity]:
        """Ask the workers once more; return what each does, in a stable order.

        Raises `Unreachable` if none has answered.
        """
        ...


class KnownWorkers:
    """Keeps the last two samples of each worker."""

    def __init__(self) -> None:
        self._samples: dict[WorkerId, tuple[Sample | None, Sample]] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._samples)

    def add(self, samples: Iterable[Sample]) -> None:
        """Take the newest sample of some workers."""
        for sample in samples:
            _, before = self._samples.get(sample.worker, (None, None))
            self._samples[sample.worker] = (before, sample)

    def forget_before(self, at: float) -> None:
        """Leave out the workers whose newest sample is older, by the clock of whoever asks."""
        for worker, (_, sample) in list(self._samples.items()):
            if sample.at < at:
                del self._samples[worker]

    def activities(self) -> list[Activity]:
        """Return what each worker does, sorted by host and process."""
        return [activity(*self._samples[worker]) for worker in sorted(self._samples)]
