"""A Chromium of a benchmark's own."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from servers import on_all_cores

from flash.testing.browser import Chromium

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@contextlib.asynccontextmanager
async def chromium_running(*, everywhere: bool = False) -> AsyncGenerator[Chromium]:
    """Start a Chromium with an empty profile, and end it; on the generator's core, or on all."""

    def start(profile: str) -> Chromium:
        with on_all_cores() if everywhere else contextlib.nullcontext():
            return Chromium(Path(profile))

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        chromium = await asyncio.to_thread(start, profile)
        try:
            yield chromium
        finally:
            await asyncio.to_thread(chromium.quit)
