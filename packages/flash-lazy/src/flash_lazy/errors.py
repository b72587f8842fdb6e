"""What flash-lazy raises.

flash.FlashError
├── ArgumentError (TypeError)              a panel is placed with arguments that cannot travel
├── flash.BadRequest
│   └── TokenRefused                       a token that this app did not sign: 400
├── flash.CallbackTimeout (TimeoutError)
│   └── LoaderTimeout                      a loader took longer than its ``timeout=``: 504
└── flash.Overloaded
    └── LoadersBusy                        as many loads as allowed are waiting for a turn: 503
"""

from __future__ import annotations

from flash import BadRequest, CallbackTimeout, FlashError, Overloaded


class ArgumentError(FlashError, TypeError):
    """A panel is placed with an argument that JSON does not keep, or with too many of them.

    ``loader`` is the loader's name, ``reason`` the clause with the offending value and the remedy.
    """

    def __init__(self, loader: str, reason: str) -> None:
        super().__init__(loader, reason)
        self.loader = loader
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.loader}: {self.reason}"


class TokenRefused(BadRequest):
    """A token that this app did not sign, or signed for another visitor or another loader."""

    def __init__(self) -> None:
        super().__init__("this panel's token was not signed by this app for you; reload the page")


class LoaderTimeout(CallbackTimeout):
    """A loader ran longer than its ``timeout=``; ``callback_id`` is the loader's name."""

    def __str__(self) -> str:
        return f"loader {self.callback_id!r} took longer than its timeout of {self.seconds:g} s"


class LoadersBusy(Overloaded):
    """``max_threads`` loads run, as many as allowed, and ``max_waiting`` wait for a turn."""

    def __str__(self) -> str:
        return (
            f"server busy: {self.max_threads} loads at work, {self.max_waiting} waiting; "
            "raise max_concurrency= or make the loaders faster"
        )
