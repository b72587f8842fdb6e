"""A position in a channel: an epoch and a number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody has followed a channel.

    ``epoch`` names one life of the channel's numbering: after a restart numbers begin anew, and a
    position of an earlier epoch means nothing.
    """

    epoch: str
    number: int
