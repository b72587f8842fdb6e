"""The exceptions of Flash.

FlashError
├── ConfigurationError (ValueError)   the app is configured wrongly; raised at start-up
├── BadRequest (ValueError)           the request is malformed or does not match the app: 4xx
├── Overloaded                        all threads are busy and the queue is full: 503
│   └── background.TooManyJobs        the queue of background jobs is full
├── CallbackTimeout (TimeoutError)    a callback took longer than its ``timeout=``: 504
├── ExitRaised (RuntimeError)         a function of the app called ``sys.exit()`` or the like
├── static.OversizedFile              a file is too large for the cache in memory
├── serving.StartupFailed             a start-up function of the app raised
└── serving.ServingFailed             no worker process could serve
"""

from __future__ import annotations

# The most characters of a received text that an error quotes.
_MAX_QUOTED = 100


def quoted(text: str) -> str:
    """Return a received text quoted and shortened, for an error of one line."""
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…")


class FlashError(Exception):
    """The base class of all exceptions of Flash.

    ``says_all``: whether the text tells an operator what to do, so that no traceback is logged
    when the exception keeps the app from starting.
    """

    says_all = False


class ConfigurationError(FlashError, ValueError):
    """The app is configured in a way that cannot work; the text names the remedy."""


class BadRequest(FlashError, ValueError):
    """A request is malformed or does not match the app.

    ``status`` is the 4xx code of the response and ``reason`` its one line of text. The text is sent
    to the client, so it must not contain state of the server.
    """

    def __init__(self, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status

    @classmethod
    def too_long(cls, limit: int) -> BadRequest:
        """Return the error (413) for a body of more than ``limit`` bytes."""
        return cls(
            f"the request is longer than the {limit} bytes that this app accepts; it can accept "
            'more with app.server.config["MAX_CONTENT_LENGTH"]',
            status=413,
        )

    def __str__(self) -> str:
        return self.reason


class Overloaded(FlashError):
    """All threads are busy and the maximum number of calls waits.

    ``retry_after`` is in whole seconds; it is the ``Retry-After`` header of the 503 response.
    """

    def __init__(self, max_threads: int, max_waiting: int, *, retry_after: int = 1) -> None:
        super().__init__(max_threads, max_waiting)
        self.max_threads = max_threads
        self.max_waiting = max_waiting
        self.retry_after = retry_after

    def __str__(self) -> str:
        return (
            f"server busy: {self.max_threads} threads are busy and {self.max_waiting} calls wait; "
            "raise Flash(max_threads=…, max_waiting=…) or make slow callbacks async"
        )


class CallbackTimeout(FlashError, TimeoutError):
    """A callback ran longer than its ``timeout=``, which is ``seconds``.

    A plain function cannot be stopped: its thread stays occupied until the function returns.
    """

    def __init__(self, callback_id: str, seconds: float) -> None:
        super().__init__(callback_id, seconds)
        self.callback_id = callback_id
        self.seconds = seconds

    def __str__(self) -> str:
        return f"callback {self.callback_id!r} took longer than its timeout of {self.seconds:g} s"


class ExitRaised(FlashError, RuntimeError):
    """A function of the app raised a `BaseException` that is no `Exception` while the app served.

    Such are `SystemExit`, `KeyboardInterrupt`, those of libraries such as polars, and the
    `CancelledError` of another task that the function awaited.

    It is an error of that call and does not end the server. ``error`` is also the cause.
    """

    def __init__(self, function: str, error: BaseException) -> None:
        super().__init__(function, error)
        self.function = function
        self.error = error

    def __str__(self) -> str:
        return f"{self.function} raised {self.error!r}; the server goes on, only this call failed"
