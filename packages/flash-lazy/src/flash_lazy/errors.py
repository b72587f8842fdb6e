"""The errors of flash-lazy.

flash.FlashError
├── ArgumentError (TypeError)              a panel's arguments cannot be put into its token
├── flash.BadRequest
│   └── TokenRefused                       this app did not sign the token: 400
├── flash.CallbackTimeout (TimeoutError)
│   └── LoaderTimeout                      a loader ran longer than its ``timeout=``: 504
└── flash.Overloaded
    └── LoadersBusy                        too many loads are waiting: 503
"""

from __future__ import annotations

from flash import BadRequest, CallbackTimeout, FlashError, Overloaded


class ArgumentError(FlashError, TypeError):
    """A panel has an argument that JSON does not preserve, or its arguments are too large.

    ``loader`` is the loader's name; ``reason`` gives the offending value and the remedy.
    """

    def __init__(self, loader: str, reason: str) -> None:
        super().__init__(loader, reason)
        self.loader = loader
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.loader}: {self.reason}"


class TokenRefused(BadRequest):
    """The token was not signed by this app, or was signed for another visitor or loader."""

    def __init__(self) -> None:
        super().__init__(
            "this panel's token was not signed by this app for this visitor; reload the page"
        )


class LoaderTimeout(CallbackTimeout):
    """A loader ran longer than its ``timeout=``; ``callback_id`` is the loader's name."""

    def __str__(self) -> str:
        return f"loader {self.callback_id!r} took longer than its timeout of {self.seconds:g} s"


class LoadersBusy(Overloaded):
    """A load was refused because ``max_threads`` loads run and ``max_waiting`` wait."""

    def __str__(self) -> str:
        return (
            f"server busy: {self.max_threads} loads running, {self.max_waiting} waiting; "
            "raise max_concurrency= or make the loaders faster"
        )
