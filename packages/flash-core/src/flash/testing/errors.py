"""What the test kit raises.

FlashError
├── CallbackFailed                      the server answered a callback with an error
├── CallbackNotFound (LookupError)      no callback of the app fits the call
├── PageFailed                          the answer to a page's path is not a page of a Dash app
├── StartupFailed                       the app's ASGI lifespan did not start or stop
├── IncompleteResponse                            the app returned without finishing its answer
├── ServerDied                          a served app's process ended on its own
├── ServerStuck (TimeoutError)          a served app's process did not come up, or did not stop
├── BrowserMissing                      no Chromium or no chromedriver on this machine
├── WaitTimeout (AssertionError)        the browser did not show in time what was waited for
└── UnexpectedConsoleErrors (AssertionError)   the browser's console holds errors at a test's end
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash.errors import FlashError

if TYPE_CHECKING:
    from collections.abc import Sequence

# How much of a server's text an error shows; the fields hold all of it.
_SHOWN = 4_000


def _excerpt(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}"


class CallbackFailed(FlashError):
    """The server answered a callback with something other than a result.

    ``text`` is the whole body of that answer; for a raising callback in debug mode it is the
    error page with the traceback.
    """

    def __init__(self, output: str, status: int, text: str) -> None:
        super().__init__(output, status, text)
        self.output = output
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return f"the callback of {self.output!r} answered {self.status}: {_excerpt(self.text)}"


class CallbackNotFound(FlashError, LookupError):
    """No callback of the app, or more than one, fits what the test asked for."""

    def __init__(self, wanted: str, reason: str) -> None:
        super().__init__(wanted, reason)
        self.wanted = wanted
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot call {self.wanted}: {self.reason}"


class PageFailed(FlashError):
    """The answer to a page's path is not a page of a Dash app.

    ``url`` is where the request ended, after redirects.
    """

    def __init__(self, url: str, status: int, text: str) -> None:
        super().__init__(url, status, text)
        self.url = url
        self.status = status
        self.text = text

    def __str__(self) -> str:
        return (
            f"{self.url} answered {self.status} without a Dash page in it (an app below a prefix "
            f"needs base_url='http://testserver/prefix/'): {_excerpt(self.text)}"
        )


class StartupFailed(FlashError):
    """The app refused to start or to stop; ``reason`` is what it said over ASGI's lifespan."""

    def __init__(self, phase: str, reason: str) -> None:
        super().__init__(phase, reason)
        self.phase = phase
        self.reason = reason

    def __str__(self) -> str:
        return f"the app's {self.phase} failed: {self.reason or 'it gave no reason'}"


class IncompleteResponse(FlashError):
    """The app returned before its answer to ``url`` was complete."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url

    def __str__(self) -> str:
        return f"the app returned without finishing its answer to {self.url}"


class ServerDied(FlashError):
    """A served app's process ended on its own, or with an exit code that speaks of a crash."""

    def __init__(self, target: str, exit_code: int, output: str) -> None:
        super().__init__(target, exit_code, output)
        self.target = target
        self.exit_code = exit_code
        self.output = output

    def __str__(self) -> str:
        return f"the server of {self.target} ended with {self.exit_code}:\n{_excerpt(self.output)}"


class ServerStuck(FlashError, TimeoutError):
    """A served app's process did not answer, or did not stop, within ``seconds``."""

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
    """A program that ``flash_browser`` needs is not on this machine."""

    def __init__(self, program: str) -> None:
        super().__init__(program)
        self.program = program

    def __str__(self) -> str:
        return (
            f"flash_browser needs {self.program} on the PATH; install Chromium and its driver "
            "(Debian: apt install chromium chromium-driver)"
        )


class WaitTimeout(FlashError, AssertionError):
    """The browser did not show in time what the test waited for; ``seen`` is what it did show."""

    def __init__(self, awaited: str, seconds: float, seen: str) -> None:
        super().__init__(awaited, seconds, seen)
        self.awaited = awaited
        self.seconds = seconds
        self.seen = seen

    def __str__(self) -> str:
        return f"waited {self.seconds:g} s for {self.awaited}; {_excerpt(self.seen)}"


class UnexpectedConsoleErrors(FlashError, AssertionError):
    """The browser's console holds errors that the test did not announce."""

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__(tuple(messages))
        self.messages = tuple(messages)

    def __str__(self) -> str:
        listed = "\n".join(f"  {message}" for message in self.messages)
        return (
            "errors in the browser's console (announce wanted ones with "
            f"flash_browser.expect_console_errors(pattern)):\n{_excerpt(listed)}"
        )
