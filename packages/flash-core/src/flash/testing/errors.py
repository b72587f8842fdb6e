"""The errors of the test kit.

FlashError
├── CallbackFailed                      the server's response to a callback is an error
├── CallbackNotFound (LookupError)      no callback of the app matches the call
├── PageFailed                          the response is not a page of a Dash app
├── StartupFailed                       the app's ASGI lifespan failed to start or stop
├── IncompleteResponse                  the app returned before its response was complete
├── ServerDied                          the server process ended by itself
├── ServerStuck (TimeoutError)          the server process did not start or stop in time
├── BrowserMissing                      Chromium or chromedriver is not installed
├── WaitTimeout (AssertionError)        the browser did not reach the awaited state in time
└── UnexpectedConsoleErrors (AssertionError)   the browser's console contains errors
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash.errors import FlashError

if TYPE_CHECKING:
    from collections.abc import Sequence

# The number of characters of a server's text that an error shows; the fields hold all of it.
_SHOWN = 4_000


def _excerpt(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}"


class CallbackFailed(FlashError):
    """The server's response to a callback is not a result.

    ``text`` is the complete body. If the callback raised an error in debug mode, it is the error
    page with the traceback.
    """

    def __init__(self, output: str, status: int, text: str) -> None:
        super().__init__(output, status, text)
        self.output = output
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return f"the callback of {self.output!r} failed with {self.status}: {_excerpt(self.text)}"


class CallbackNotFound(FlashError, LookupError):
    """No callback of the app, or more than one, matches the test's request."""

    def __init__(self, wanted: str, reason: str) -> None:
        super().__init__(wanted, reason)
        self.wanted = wanted
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot call {self.wanted}: {self.reason}"


class PageFailed(FlashError):
    """The response to a page's path is not a page of a Dash app.

    ``url`` is the URL of the response, after redirects.
    """

    def __init__(self, url: str, status: int, text: str) -> None:
        super().__init__(url, status, text)
        self.url = url
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return (
            f"the response of {self.url} has status {self.status} and is not a Dash page (an app "
            f"with a prefix needs base_url='http://testserver/prefix/'): {_excerpt(self.text)}"
        )


class StartupFailed(FlashError):
    """The app failed to start or stop; ``reason`` is its message in the ASGI lifespan."""

    def __init__(self, phase: str, reason: str) -> None:
        super().__init__(phase, reason)
        self.phase = phase
        self.reason = reason

    def __str__(self) -> str:
        return f"the app's {self.phase} failed: {self.reason or 'it gave no reason'}"


class IncompleteResponse(FlashError):
    """The app returned before its response to ``url`` was complete."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"the app returned before its response to {self.url} was complete"


class ServerDied(FlashError):
    """The server process ended by itself, or its exit code indicates a crash."""

    def __init__(self, target: str, exit_code: int, output: str) -> None:
        super().__init__(target, exit_code, output)
        self.target = target
        self.exit_code = exit_code
        self.output = output

    def __str__(self) -> str:
        return (
            f"the server of {self.target} ended with exit code {self.exit_code}:\n"
            f"{_excerpt(self.output)}"
        )


class ServerStuck(FlashError, TimeoutError):
    """The server process did not accept requests, or did not stop, within ``seconds``."""

    def __init__(self, target: str, what: str, seconds: float, output: str) -> None:
        super().__init__(target, what, seconds, output)
        self.target = target
        self.what = what
        self.seconds = seconds
        self.output = output

    def __str__(self) -> str:
        return (
            f"the server of {self.target} did not {self.what} within {self.seconds:g} s:\n"
            f"{_excerpt(self.output)}"
        )


class BrowserMissing(FlashError):
    """A program that ``flash_browser`` needs is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(program)
        self.program = program

    def __str__(self) -> str:
        return (
            f"flash_browser needs {self.program} on the PATH; install Chromium and its driver "
            "(Debian: apt install chromium chromium-driver)"
        )


class WaitTimeout(FlashError, AssertionError):
    """The browser did not reach the awaited state in time; ``seen`` describes what it showed."""

    def __init__(self, awaited: str, seconds: float, seen: str) -> None:
        super().__init__(awaited, seconds, seen)
        self.awaited = awaited
        self.seconds = seconds
        self.seen = seen

    def __str__(self) -> str:
        return f"waited {self.seconds:g} s for {self.awaited}; {_excerpt(self.seen)}"


class UnexpectedConsoleErrors(FlashError, AssertionError):
    """The browser's console contains errors that the test did not expect."""

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__(tuple(messages))
        self.messages = tuple(messages)

    def __str__(self) -> str:
        listed = "\n".join(f"  {message}" for message in self.messages)
        return (
            "errors in the browser's console (allow expected ones with "
            f"flash_browser.expect_console_errors(pattern)):\n{_excerpt(listed)}"
        )
