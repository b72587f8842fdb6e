"""Errors that end a link; each carries a close code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash_ws.errors import LiveError

if TYPE_CHECKING:
    from flash_ws.protocol.codes import CloseCode


class LinkClosed(LiveError):
    """The link is closed with ``code``; ``reason`` is one line."""

    def __init__(self, code: CloseCode, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason or code.meaning

    def __str__(self) -> str:
        return f"{self.reason} (close code {self.code.number})"


class ProtocolError(LinkClosed):
    """The page sent a message that violates the protocol or its limits."""
