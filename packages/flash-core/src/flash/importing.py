"""Whether a command is importing the app's module, which then must not serve by itself."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from flash.settings import here

if TYPE_CHECKING:
    from collections.abc import Generator

logger = logging.getLogger("flash.serving")

_importing: ContextVar[bool] = ContextVar("flash_importing", default=False)


@contextmanager
def importing_for_a_command() -> Generator[None]:
    """Make calls of ``app.run()`` return at once while a command imports the app's module."""
    token = _importing.set(True)
    try:
        yield
    finally:
        _importing.reset(token)


def ignores_run() -> bool:
    """Tell whether a call that would serve the app must return instead; then it is logged."""
    if not _importing.get():
        return False
    logger.warning(
        "the call of run()%s is ignored, since a command imports this module; write it below "
        'if __name__ == "__main__":',
        here(),
    )
    return True
