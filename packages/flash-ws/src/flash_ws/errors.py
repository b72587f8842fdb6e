"""What flash-ws raises.

LiveError (flash.FlashError)
└── LinkClosed             a connection that has ended; ``code`` says why
    └── ProtocolError          because the page sent what the protocol does not know
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash import FlashError

if TYPE_CHECKING:
    from flash_ws.codes import CloseCode


class LiveError(FlashError):
    """The base of every error of flash-ws."""


class LinkClosed(LiveError):
    """A connection that has ended; ``reason`` is one line."""

    def __init__(self, code: CloseCode, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason or code.meaning

    def __str__(self) -> str:
        return f"{self.reason} (close code {self.code.number})"


class ProtocolError(LinkClosed):
    """The page sent something that no page of this version sends."""
