"""What a benchmark found, and the table it is printed in."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Unit = Literal["/s", "s", "bytes", "×"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of one figure over all rounds, and how far the rounds lay apart."""

    median: float
    low: float
    high: float
    unit: Unit

    @classmethod
    def of(cls, values: Iterable[float], unit: Unit) -> Spread:
        """Sum up one value per round; there must be at least one."""
        rounds = sorted(values)
        return cls(statistics.median(rounds), rounds[0], rounds[-1], unit)

    def __str__(self) -> str:
        if self.low == self.high:
            return quantity(self.median, self.unit)
        low, high = (quantity(value, self.unit) for value in (self.low, self.high))
        return f"{quantity(self.median, self.unit)} ({low} – {high})"


@dataclass(frozen=True, slots=True)
class Target:
    """The ratio that was promised: ``at least`` for a gain, ``at most`` for a cost."""

    limit: float
    bound: Literal["at least", "at most"] = "at least"

    def met_by(self, ratio: float) -> bool:
        return ratio >= self.limit if self.bound == "at least" else ratio <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.bound == 'at least' else '≤'} {self.limit:.3g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the same work done by Flash and by a peer in the same run."""

    work: str
    peer: str
    flash_figure: Spread
    peer_figure: Spread
    # Flash against the peer, in the direction the target is stated in. By habit the ratio of the
    # two medians; a gain in time is the peer's seconds over Flash's.
    ratio: float
    # None: reported, but nothing was promised.
    target: Target | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "yes" if self.target.met_by(self.ratio) else "NO"


def compare(
    work: str,
    peer: str,
    flash_figure: Spread,
    peer_figure: Spread,
    *,
    target: Target | None = None,
    notes: tuple[str, ...] = (),
) -> Row:
    """A row whose ratio is Flash's median over the peer's: a gain for rates, a cost otherwise."""
    ratio = flash_figure.median / peer_figure.median if peer_figure.median else math.inf
    return Row(work, peer, flash_figure, peer_figure, ratio, target, notes)


def quantity(value: float, unit: Unit) -> str:
    """Write a figure with its unit, scaled so that three digits say it."""
    if unit == "/s":
        return f"{value:,.0f}/s" if value >= 100 else f"{value:.1f}/s"
    if unit == "×":
        return f"{value:.2f} ×"
    scales = (
        ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
        if unit == "s"
        else ((1e6, "MB"), (1e3, "kB"), (1.0, "B"))
    )
    factor, name = next((scale for scale in scales if value >= scale[0]), scales[-1])
    return f"{value / factor:.3g} {name}"


def render(rows: Sequence[Row]) -> str:
    """The table as text, the ratio first, notes under their row."""
    heading = ("ratio", "target", "met", "work", "Flash", "peer", "peer's figure")
    cells = [
        (
            f"{row.ratio:.2f} ×",
            str(row.target or "–"),
            row.verdict,
            row.work,
            str(row.flash_figure),
            row.peer,
            str(row.peer_figure),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    lines = [_line(heading, widths), "  ".join("─" * width for width in widths)]
    indent = " " * (sum(widths[:3]) + 6)
    for row, line in zip(rows, cells, strict=True):
        lines.append(_line(line, widths))
        lines += [f"{indent}  {note}" for note in row.notes]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    ratio, *rest = cells
    texts = [ratio.rjust(widths[0])]
    texts += [cell.ljust(width) for cell, width in zip(rest, widths[1:], strict=True)]
    return "  ".join(texts).rstrip()
