"""What flash-ws raises.

LiveError (flash.FlashError)
├── NotServing (RuntimeError)      the app is not being served, or not yet
├── NoCaller (RuntimeError)        `Live.client` where no page is calling
├── ConnectionClosed               an endpoint's WebSocket that has ended
└── protocol.errors.LinkClosed     a page's link that has ended; ``code`` says why
    └── ProtocolError                  because the page sent what the protocol does not know

A connection that is not opened raises `flash.access.refusal.Refused`. A wrong set-up raises
`flash.ConfigurationError`, as everywhere in Flash.
"""

from __future__ import annotations

from flash import FlashError


class LiveError(FlashError):
    """The base of every error of flash-ws."""


class NotServing(LiveError, RuntimeError):
    """The live link is needed where the app is not being served."""

    def __str__(self) -> str:
        return "the live link has not started: it does when the app is served"


class NoCaller(LiveError, RuntimeError):
    """``live.client`` was read where no page is calling."""

    def __str__(self) -> str:
        return "live.client: no page is calling; name whom to reach with to=live.group(…)"


class ConnectionClosed(LiveError):
    """The WebSocket has ended; ``code`` and ``reason`` are those of its close frame.

    A handler need not catch it: ending with it is as good as returning.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the WebSocket is closed: {self.reason or 'no reason given'} (code {self.code})"
