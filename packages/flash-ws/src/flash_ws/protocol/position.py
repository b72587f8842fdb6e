"""A position in a channel: an epoch and a number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """How far a page or a worker has followed a channel.

    ``epoch`` identifies one numbering of the channel. After a restart the numbers begin again at 1
    under a new epoch; numbers of different epochs cannot be compared.
    """

    epoch: str
    number: int


# A position that no channel knows: a page at it has missed something.
NOWHERE = Position("", 0)
