"""How long and how often to measure, and taking turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Subject = TypeVar("Subject")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time a run may take."""

    # How often each contender has its turn; the table shows the median turn.
    rounds: int
    # The same for turns that cannot be short: a caller waiting for seconds, a server started.
    long_rounds: int
    # The length of a turn.
    seconds: float
    # Load before the first turn, not measured.
    warm_up_seconds: float


FULL = Effort(rounds=5, long_rounds=3, seconds=1.5, warm_up_seconds=0.7)
QUICK = Effort(rounds=3, long_rounds=1, seconds=0.5, warm_up_seconds=0.3)


async def take_turns(
    contenders: Iterable[Subject], rounds: int, turn: Callable[[Subject], Awaitable[Result]]
) -> list[list[Result]]:
    """Give every contender one turn after the other, ``rounds`` times: A B A B …

    What the machine does meanwhile then meets all of them alike. The result has one list of turns
    per contender, in their order.
    """
    everyone = list(contenders)
    results: list[list[Result]] = [[] for _ in everyone]
    for _ in range(rounds):
        for contender, turns in zip(everyone, results, strict=True):
            turns.append(await turn(contender))
    return results
