"""Notices: short texts that pages show for a while, on top of what they show."""

from __future__ import annotations

from typing import Any, Literal

from flash.errors import ConfigurationError
from flash.serialize import dumps
from flash.settings import SECONDS_OR_NONE, Choice, check, here
from flash_ws.protocol.frames import Message

Kind = Literal["info", "success", "warning", "error"]
KINDS: tuple[Kind, ...] = ("info", "success", "warning", "error")

# Characters of one notice. A longer text belongs into the layout.
MAX_CHARS = 1_000


def notice_message(text: str, *, kind: Kind, seconds: float | None) -> Message:
    """Return a message that shows a notice; raises `ConfigurationError` for a wrong argument."""
    given: Any = text
    if not isinstance(given, str) or not given.strip() or len(given) > MAX_CHARS:
        size = f" of {len(given):,} characters" if isinstance(given, str) else ""
        raise ConfigurationError(
            f"a notice{size}, {given!r:.80}: must be a text of 1 to {MAX_CHARS:,} characters"
            f"{here()}"
        )
    check(kind=(kind, Choice(KINDS)), seconds=(seconds, SECONDS_OR_NONE))
    notice = {"text": text, "kind": kind, "seconds": seconds}
    return Message(f'"t":"notice",{dumps(notice).decode()[1:-1]}')
