"""The base classes and errors of Dash's shared storage; importing this needs Dash 4.5 or later."""

from __future__ import annotations

from typing import Any

import dash

from flash.seams.shared_storage import shared_storage_interface

_interface = shared_storage_interface()
if _interface is None:
    raise ImportError(
        f"FlashSharedStorage needs Dash 4.5 or newer, and this is Dash {dash.__version__}: "
        'pip install "dash>=4.5"'
    )
BaseStorage: Any = _interface.storage
BaseSubscription: Any = _interface.subscription
StorageError = _interface.error
StorageGap = _interface.gap
