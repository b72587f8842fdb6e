"""A Chromium of a benchmark's own."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flash.testing.browser import Chromium

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@contextlib.asynccontextmanager
async def chromium_running() -> AsyncGenerator[Chromium]:
    """Start a Chromium with an empty profile, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        chromium = await asyncio.to_thread(Chromium, Path(profile))
        try:
            yield chromium
        finally:
            await asyncio.to_thread(chromium.quit)
