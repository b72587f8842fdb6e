"""What every live contender sends, how often, and when: stamped, so that its age can be read."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PUSHES_PER_SECOND = float(os.environ.get("PUSHES_PER_SECOND", "10"))
FRAMES_PER_SECOND = 2.0
BURST_PER_SECOND = 1000.0

# What a line of figures on a page is long.
_FIGURES = " ".join(
    f"{name} {price}.25" for name, price in zip("ABCDEFGHIJ", range(90, 190, 10), strict=True)
)


def update() -> str:
    """The new text of the component ``out``; it tells when it was made."""
    return f"@{time.monotonic():.6f} {_FIGURES}"


async def every(seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
    """Do ``work`` at even times for ever; what was missed is made up for."""
    at = time.monotonic()
    while True:
        at += seconds
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        await work()
