"""Amounts as people read them."""

from __future__ import annotations


def compact(number: float) -> str:
    """Three significant digits and a unit: 1234567 is 1.23M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size * 0.9995:
            share = number / size
            return f"{share:.{2 if share < 9.995 else 1 if share < 99.95 else 0}f}{unit}"
    return f"{number:.0f}"


def size(count: float) -> str:
    """Bytes, compact."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def money(cents: float | None) -> str:
    """Dollars, compact."""
    return f"${compact((cents or 0) / 100)}"


def exact_money(cents: int) -> str:
    """Dollars to the cent."""
    return f"${cents / 100:,.2f}"


def change(now: float, before: float | None) -> float | None:
    """The growth from ``before`` to ``now`` as a share, or None without anything before."""
    return now / before - 1 if before else None


def seconds(duration: float) -> str:
    """Milliseconds below one second, seconds from there."""
    return f"{duration * 1000:.0f} ms" if duration < 0.9995 else f"{duration:.1f} s"
