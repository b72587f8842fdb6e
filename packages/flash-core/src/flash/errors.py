"""What Flash raises.

FlashError
├── ConfigurationError (ValueError)   the app is put together wrongly; raised at start-up
├── BadRequest (ValueError)           the browser sent what no page of this app sends: 4xx
├── Overloaded                        every thread is busy and the queue is full: 503
│   └── background.TooManyJobs        as many background jobs wait as may
├── CallbackTimeout (TimeoutError)    a callback took longer than its ``timeout=``: 504
├── static.OversizedFile              a file is too large to be kept in memory
├── serving.StartupFailed             the app's own start-up function raised
└── serving.ServingFailed             no worker process could serve
"""

from __future__ import annotations

# How much of what somebody sent is repeated in an answer.
_MAX_QUOTED = 100


def quoted(text: str) -> str:
    """Return what somebody sent as it may stand in an answer of one line."""
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…")


class FlashError(Exception):
    """The base of every error that Flash itself raises."""


class ConfigurationError(FlashError, ValueError):
    """The app is put together in a way that cannot work; the text names the remedy."""


class BadRequest(FlashError, ValueError):
    """A request that no page of this app sends; answered with ``status`` and one line.

    ``status`` is a 4xx code. The text reaches the sender, so it never holds server state.
    """

    def __init__(self, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status

    @classmethod
    def too_long(cls, limit: int) -> BadRequest:
        """Return the refusal (413) of a body of more than ``limit`` bytes."""
        return cls(f"the body has more than the {limit} bytes allowed", status=413)

    def __str__(self) -> str:
        return self.reason


class Overloaded(FlashError):
    """All threads are busy and as many calls as allowed are waiting for one.

    ``retry_after`` is in whole seconds, sent as the ``Retry-After`` header of a 503.
    """

    def __init__(self, max_threads: int, max_waiting: int, *, retry_after: int = 1) -> None:
        super().__init__(max_threads, max_waiting)
        self.max_threads = max_threads
        self.max_waiting = max_waiting
        self.retry_after = retry_after

    def __str__(self) -> str:
        return (
            f"server busy: {self.max_threads} threads at work, {self.max_waiting} calls waiting; "
            "raise Flash(max_threads=…, max_waiting=…) or make slow callbacks async"
        )


class CallbackTimeout(FlashError, TimeoutError):
    """A callback ran longer than the ``timeout=`` it was registered with.

    ``seconds`` is that limit. A plain function cannot be stopped: its thread stays taken until
    the function returns.
    """

    def __init__(self, callback_id: str, seconds: float) -> None:
        super().__init__(callback_id, seconds)
        self.callback_id = callback_id
        self.seconds = seconds

    def __str__(self) -> str:
        return f"callback {self.callback_id!r} took longer than its timeout of {self.seconds:g} s"
