"""The errors of flash-ws.

LiveError (flash.FlashError)
├── NotServing (RuntimeError)      the app is not being served
├── ForkedProcess (RuntimeError)   this process was forked from the server's
├── PayloadTooLarge (ValueError)   a message to pages has more bytes than allowed
├── TooManyUnawaited (RuntimeError) too many messages that nobody awaits wait
├── TextTooLong (ValueError)       a text stream is longer than its ``max_chars``
├── NoCaller (RuntimeError)        `Live.client` outside of a call from a page
├── ConnectionClosed               an endpoint's WebSocket has ended
└── protocol.errors.LinkClosed     a page's link has ended, with ``code``
    └── ProtocolError                  because the page violated the protocol

A refused connection raises `flash.access.refusal.Refused`. Wrong configuration raises
`flash.ConfigurationError`.
"""

from __future__ import annotations

from flash import FlashError


class LiveError(FlashError):
    """The base class of the errors of flash-ws."""


class NotServing(LiveError, RuntimeError):
    """The live link was used while the app is not being served."""

    def __str__(self) -> str:
        return "the live link has not started; it starts when the app is served"


class ForkedProcess(LiveError, RuntimeError):
    """Raised in a process that was forked from the server's, where pages cannot be reached.

    Background callbacks of Dash's `DiskcacheManager` run in such a process.
    """

    def __str__(self) -> str:
        return (
            "this process was forked from the server's and cannot reach its pages; use "
            "PubSub(app, broker='redis://…'), with which it can publish, use flash.AsyncManager, "
            "or return the value (set_progress sends intermediate ones)"
        )


class PayloadTooLarge(LiveError, ValueError):
    """Raised if a message to pages is larger than ``LinkLimits.max_push_bytes``."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"a message of {self.size} bytes is more than the {self.limit} that a page is sent at "
            "once; send less, or set Live(limits=LinkLimits(max_push_bytes=…))"
        )


class TooManyUnawaited(LiveError, RuntimeError):
    """So many calls without ``await``, such as `Live.push`, are not done yet."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{self.limit:,} calls that nobody awaits are not done yet; write await live.push(…), "
            "await pubsub.publish(…)"
        )


class TextTooLong(LiveError, ValueError):
    """The text of a `Live.text_stream` is longer than its ``max_chars``; it is cut there."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"the text is longer than {self.limit:,} characters and was cut; end the generator "
            "before, or raise max_chars= of the text stream"
        )


class NoCaller(LiveError, RuntimeError):
    """``live.client`` was read outside of a call from a page."""

    def __str__(self) -> str:
        return (
            "live.client is only set in a call from a page; pass other recipients, to=live.group(…)"
        )


class ConnectionClosed(LiveError):
    """The WebSocket has ended; ``code`` and ``reason`` are those of its close frame.

    A handler need not catch it: raising it ends the handler like returning.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the WebSocket is closed: {self.reason or 'no reason given'} (code {self.code})"
