"""The interface of Dash's shared storage, for packages that implement one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flash.seams import dash as dash_seam


@dataclass(frozen=True, slots=True)
class SharedStorageInterface:
    """The classes of Dash's shared storage, in Dash 4.5 and later."""

    # The base class of storages, and the base class of the result of ``subscribe``.
    storage: Any
    subscription: Any
    # The error that a storage raises, and the item for a reader that missed messages.
    error: type[Exception]
    gap: type[Exception]


def shared_storage_interface() -> SharedStorageInterface | None:
    """Return Dash's interface for shared storages; None before Dash 4.5."""
    names = dash_seam.shared_storage_names()
    if names is None:
        return None
    return SharedStorageInterface(
        storage=names.BaseSharedStorage,
        subscription=names.Subscription,
        error=names.SharedStorageError,
        gap=names.SharedStorageGap,
    )
