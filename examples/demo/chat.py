"""The rules of the chat: who somebody is, and what is kept of what a browser sends.

Nothing a browser says is believed: names are given by the server, a text is checked here and shown
as text, and whoever writes faster than people do is asked to wait.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

MAX_LENGTH = 280
# Messages that whoever comes later still sees.
KEPT = 40

FIRST = ("Amber", "Bright", "Calm", "Coral", "Early", "Golden", "Jade", "Lucid", "Quiet", "Swift")
SECOND = ("Crane", "Falcon", "Finch", "Heron", "Ibis", "Lark", "Osprey", "Robin", "Swan", "Wren")
# How many colours ``assets/layout.css`` has for them.
TINTS = 5


class Refused(ValueError):
    """A message that is not passed on; the text says why, to whoever sent it."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody in the chat, as everybody sees them."""

    # Two may have the same name.
    number: int
    name: str
    tint: int


@dataclass(frozen=True, slots=True)
class Remark:
    """What a guest said, and when, in milliseconds as browsers count them."""

    by: int
    name: str
    tint: int
    text: str
    at: int


class Pace:
    """Lets ``burst`` messages through within ``seconds``, and no more."""

    def __init__(self, *, burst: int = 5, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._times: deque[float] = deque(maxlen=burst)

    def allows(self, now: float) -> bool:
        """Whether a message at this moment is one too many."""
        if len(self._times) == self._times.maxlen and now - self._times[0] < self._seconds:
            return False
        self._times.append(now)
        return True


class Room:
    """What was said lately."""

    def __init__(self) -> None:
        self._said: deque[Remark] = deque(maxlen=KEPT)
        self._numbers = itertools.count(1)

    @property
    def said(self) -> list[dict[str, Any]]:
        """The last remarks, oldest first, ready to be sent."""
        return [asdict(remark) for remark in self._said]

    def welcome(self) -> Guest:
        """Invent a name for somebody who has come."""
        name = f"{random.choice(FIRST)} {random.choice(SECOND)}"
        return Guest(next(self._numbers), name, random.randrange(TINTS))

    def say(self, guest: Guest, text: str) -> dict[str, Any]:
        """Keep what somebody said, and return it ready to be sent."""
        at = round(time.time() * 1000)
        remark = Remark(guest.number, guest.name, guest.tint, text, at)
        self._said.append(remark)
        return asdict(remark)


def read(message: str | bytes) -> str:
    """The text of what a browser sent, on one line; raises `Refused`."""
    try:
        sent = json.loads(message)
    except (ValueError, RecursionError):
        raise Refused("That was no message of this page.") from None
    text = sent.get("text") if isinstance(sent, dict) else None
    if not isinstance(text, str):
        raise Refused("That was no message of this page.")
    # Also rids it of line ends and of characters that nobody sees.
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    if not text:
        raise Refused("There is nothing in that message.")
    if len(text) > MAX_LENGTH:
        raise Refused(f"A message has {MAX_LENGTH} characters at most; this one has {len(text)}.")
    return text
