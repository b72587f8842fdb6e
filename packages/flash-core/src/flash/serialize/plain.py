"""Which values need nothing done to them before they are written."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Instances of exactly these classes are the same before and after cleaning.
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

# Instances of exactly these are what their members are.
CONTAINERS: frozenset[type] = frozenset({dict, list, tuple})

# Whether all of these classes are plain, asked without a Python loop.
all_plain = cast("Callable[[Iterable[type]], bool]", PLAIN.issuperset)
