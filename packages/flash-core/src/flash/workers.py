"""What an app knows of the other workers that serve it, and what it cannot do beside them."""

from __future__ import annotations

import logging
import os

from flash.errors import ConfigurationError

logger = logging.getLogger(__name__)

# Environment variables with the number of worker processes. ``flash run`` sets the first, other
# servers read the second.
_COUNT_VARIABLES = ("FLASH_WORKERS", "WEB_CONCURRENCY")

# The environment variable with the key that the workers of one ``flash run`` sign with.
KEY_VARIABLE = "FLASH_WORKERS_KEY"

# What to write so that all workers share something.
REMEDY = 'Flash(__name__, redis="redis://…") or FLASH_REDIS_URL=redis://…'


class NotShared(ConfigurationError):
    """Several workers serve an app with something that belongs to one process."""

    says_all = True


def known_count() -> tuple[int, str]:
    """Return the number of workers, if the environment has it, and the variable; else 1."""
    for variable in _COUNT_VARIABLES:
        count = os.environ.get(variable, "")
        if count.isdigit() and int(count) > 1:
            return int(count), variable
    return 1, ""


def refuse_several(what: str, remedy: str = REMEDY) -> None:
    """Raise `NotShared` if several workers serve with ``what``, which is per process."""
    count, variable = known_count()
    if count > 1:
        raise NotShared(
            f"{count} workers ({variable}) cannot share {what}, which belongs to one process: "
            f"start a Redis and write {remedy}, or serve with one worker"
        )


def workers_key() -> bytes | None:
    """Return the key that ``flash run`` has given to all its workers; None for a single one."""
    key = os.environ.get(KEY_VARIABLE)
    return key.encode() if key else None


class OtherProcessWarning:
    """Warns once if a request shows that another process answered an earlier one of its page."""

    def __init__(self) -> None:
        self._has_warned = False

    def __call__(self, what: str) -> None:
        """Log that ``what`` comes from another process."""
        if self._has_warned:
            return
        self._has_warned = True
        logger.warning(
            "%s comes from another process. If this server was not restarted just now, several "
            "workers or replicas serve the app, and they share nothing: write %s",
            what,
            REMEDY,
        )
