"""The rooms of the page "Shared", and what its visitors are called in them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from chat import FIRST, SECOND, TINTS


@dataclass(frozen=True, slots=True)
class Room:
    """A place that pages can be in."""

    name: str
    is_open: bool = True


ROOMS = {
    "lobby": Room("Lobby"),
    "floor": Room("Floor"),
    "desk": Room("Desk"),
    "board": Room("Board", is_open=False),
}
# Visitors of a room that are named; the others are counted.
NAMED = 12


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody, as everybody sees them."""

    name: str
    tint: int

    @property
    def initials(self) -> str:
        """The first letters of the name."""
        return "".join(part[0] for part in self.name.split())


def visitor(page: str) -> Visitor:
    """What a page's visitor is called: the same on every worker, since the id alone decides."""
    chance = random.Random(page)
    return Visitor(f"{chance.choice(FIRST)} {chance.choice(SECOND)}", chance.randrange(TINTS))
