"""What Dash's shared storage is made of, for packages that bring another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flash.seams import dash as dash_seam


@dataclass(frozen=True, slots=True)
class SharedStorageInterface:
    """The classes that Dash 4.5 and later has for it."""

    # The base class of storages, and that of what their ``subscribe`` returns.
    storage: Any
    subscription: Any
    # What a storage raises, and what a reader gets that has missed messages.
    error: type[Exception]
    gap: type[Exception]


def shared_storage_interface() -> SharedStorageInterface | None:
    """Return Dash's interface for shared storages; None if this Dash has none."""
    names = dash_seam.shared_storage_names()
    if names is None:
        return None
    return SharedStorageInterface(
        storage=names.BaseSharedStorage,
        subscription=names.Subscription,
        error=names.SharedStorageError,
        gap=names.SharedStorageGap,
    )
