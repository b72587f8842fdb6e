"""The classes whose instances orjson can write without cleaning."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Cleaning does not change an instance of exactly one of these classes.
PLAIN: frozenset[type] = frozenset(
    {
        bool,
        datetime.date,
        datetime.datetime,
        datetime.time,
        float,
        int,
        str,
        type(None),
        uuid.UUID,
    }
)

# An instance of exactly one of these classes is plain if all its members are.
CONTAINERS: frozenset[type] = frozenset({dict, list, tuple})

# Returns whether all of these classes are plain; runs in C.
all_plain = cast("Callable[[Iterable[type]], bool]", PLAIN.issuperset)
