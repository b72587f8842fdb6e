"""`Finding`: one thing to change in an app."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing to change: where it is, what is wrong with it, and what to write instead."""

    # The path relative to the working directory.
    file: str
    # Counted from 1.
    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}\n    {self.remedy}"
