"""What a background job is: its work, what it says meanwhile, how it ends. No event loop here."""

from __future__ import annotations

import enum
import hashlib
import traceback
from asyncio import CancelledError
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import orjson

from flash.errors import Overloaded
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from types import TracebackType

    from flash.callbacks.context import CallContext
    from flash.callbacks.execution import WorkerPool
    from flash.callbacks.plan import CallbackPlan

# Frames of these modules are ours, above the user's own in the traceback of a job that failed.
_OUR_MODULES = ("flash.background.", "flash.callbacks.execution")


class State(enum.Enum):
    """How a job goes."""

    # Waiting for its turn, or at work.
    RUNNING = "running"
    # Returned; the result is there.
    DONE = "done"
    # Raised, or was lost; the message says which.
    FAILED = "failed"
    # Somebody ended it: nobody is owed an answer.
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Report:
    """How a job goes, and what it said since it was last asked."""

    state: State
    # What the function returned, where it is DONE.
    result: Any = None
    # Why it FAILED, and the traceback of what it raised (empty where nothing was raised).
    message: str = ""
    trace: str = ""
    # The values last given to `set_progress`, one per progress output; None when there are no new.
    progress: Sequence[Any] | None = None
    # What `set_props` set: properties by component id.
    updates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])

    @classmethod
    def failed(cls, error: BaseException) -> Report:
        """Report that the function raised ``error``."""
        frames = _users_own(error.__traceback__)
        text = "".join(traceback.format_exception(type(error), error, frames))
        return cls(State.FAILED, message=str(error), trace=text)

    @classmethod
    def lost(cls, message: str) -> Report:
        """Report that there is a job no more, though nobody cancelled it."""
        return cls(State.FAILED, message=message)


def _users_own(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames between the event loop and the user's function."""
    while trace is not None and trace.tb_next is not None:
        if not trace.tb_frame.f_globals.get("__name__", "").startswith(_OUR_MODULES):
            break
        trace = trace.tb_next
    return trace


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job is to do."""

    plan: CallbackPlan
    # The function's arguments, without `set_progress`.
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    # What `dash.ctx` shows inside the job; holds nothing that belongs to the request.
    context: dict[str, Any]

    @property
    def arguments(self) -> Any:
        """The arguments in the form that Dash's managers take: a list or a dictionary."""
        return self.args or self.kwargs

    @property
    def progress_outputs(self) -> int:
        """How many outputs `set_progress` sets; 0 where the function is not given it."""
        return len(self._option("progress") or ())

    @property
    def triggered(self) -> Any:
        """What triggered the callback, where that matters to the cache; else None."""
        if self._option("cache_ignore_triggered", True):
            return None
        return self.context.get("triggered_inputs", [])

    @property
    def ignored_arguments(self) -> Any:
        """Which arguments do not matter to the cache: names, or positions."""
        return self._option("cache_args_to_ignore", [])

    def _option(self, name: str, default: Any = None) -> Any:
        return (self.plan.background or {}).get(name, default)

    def fingerprint(self, parts: Sequence[Any]) -> str:
        """Return what equal work has in common: function, arguments, trigger and ``parts``.

        ``parts`` is what the manager's ``cache_by`` functions gave.
        """
        ignored = self.ignored_arguments
        ignored = ignored if isinstance(ignored, list | tuple) else [ignored]
        if self.args:
            # The place goes with the value: ignoring one must not make two others alike.
            kept: Any = [[i, arg] for i, arg in enumerate(self.args) if i not in ignored]
        else:
            kept = {name: arg for name, arg in self.kwargs.items() if name not in ignored}
        # The key holds the function's source and the callback's id.
        whole = [self.plan.background_key, kept, self.triggered, [repr(part) for part in parts]]
        options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        return hashlib.sha256(orjson.dumps(whole, default=repr, option=options)).hexdigest()


def job_context(ctx: CallContext) -> dict[str, Any]:
    """Return a copy of ``ctx`` that outlives the request and may go to another process."""
    ctx.compute_all()
    context = dash_seam.AttributeDict(ctx)
    context["ignore_register_page"] = True
    context.pop("background_callback_manager", None)
    context.pop("dash_response", None)
    args = context.get("args")
    if args is not None and not isinstance(args, dict):
        context["args"] = dict(args)
    return context


class UpdateBuffer:
    """What a job says while it runs, until somebody takes it.

    Written by the job's function, in whatever thread it runs; taken by any one reader. Holds the
    latest progress and the latest value of each property, so its size is bounded by what the app
    has, not by how often the job speaks. Every step is one atomic operation of a built-in type.
    """

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        self._progress: deque[Sequence[Any]] = deque(maxlen=1)
        # By component id and property.
        self._updates: dict[tuple[str, str], Any] = {}
        # Called after every entry, in the writer's thread.
        self._changed = changed
        self._closed = False

    def set_progress(self, values: Sequence[Any]) -> None:
        """Replace the progress; raises `CancelledError` once the buffer is closed."""
        self._check()
        self._progress.append(values)
        self._tell()

    def set_props_of(self, component: str, props: Mapping[str, Any]) -> None:
        """Set properties of a component; raises `CancelledError` once the buffer is closed."""
        self._check()
        for name, value in props.items():
            self._updates[component, name] = value
        self._tell()

    def take(self) -> tuple[Sequence[Any] | None, dict[str, dict[str, Any]]]:
        """Return progress and properties noted since the last time."""
        progress = None
        with suppress(IndexError):
            progress = self._progress.pop()
        taken: list[tuple[tuple[str, str], Any]] = []
        with suppress(KeyError):
            while True:
                taken.append(self._updates.popitem())
        updates: dict[str, dict[str, Any]] = {}
        for (component, name), value in reversed(taken):
            updates.setdefault(component, {})[name] = value
        return progress, updates

    def peek(self) -> Sequence[Any] | None:
        """Return the latest progress that nobody has taken."""
        with suppress(IndexError):
            return self._progress[-1]
        return None

    def close(self) -> None:
        """Let a function that still runs know, when it next speaks, that nobody listens."""
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise CancelledError("this background job has ended")

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()


class PropsSink(dict[str, dict[str, Any]]):
    """Stands where `dash.set_props` puts what it sets, and passes it on.

    It stays empty, so that `set_props` finds nothing to merge and gives each change as it is.
    """

    def __init__(self, buffer: UpdateBuffer) -> None:
        super().__init__()
        self._buffer = buffer

    def __setitem__(self, component: str, props: dict[str, Any]) -> None:
        self._buffer.set_props_of(component, props)


class SetProgress:
    """The `set_progress` that a job's function is given.

    Takes a value, or a list of one per progress output; from any thread. Awaiting what it returns
    is not needed; in `async def` it lets other tasks run.
    """

    def __init__(self, buffer: UpdateBuffer, outputs: int) -> None:
        self._buffer = buffer
        self._outputs = outputs

    def __call__(self, values: Any) -> Checkpoint:
        """Show ``values`` at the page's next poll; the latest before it wins."""
        listed = values if isinstance(values, list | tuple) else [values]
        if len(listed) != self._outputs:
            raise ValueError(
                f"set_progress got {len(listed)} values for {self._outputs} progress outputs"
            )
        self._buffer.set_progress(listed)
        return Checkpoint()


class Checkpoint:
    """Awaited, it lets the event loop run other tasks once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass(frozen=True, slots=True)
class JobHandles:
    """The two strings by which a job is asked for; signed before they reach the page."""

    # Where its result is.
    key: str
    # What to cancel.
    job: str


class TooManyJobs(Overloaded):
    """As many background jobs as allowed are running, and as many as allowed are waiting."""

    def __init__(self, max_jobs: int, max_waiting: int) -> None:
        super().__init__(max_jobs, max_waiting, retry_after=5)

    def __str__(self) -> str:
        return (
            f"server busy: {self.max_threads} background jobs at work and {self.max_waiting} "
            "waiting; raise the manager's max_jobs=… or max_waiting=…"
        )


@runtime_checkable
class JobManager(Protocol):
    """Who runs jobs and keeps what they have to say, as the exchange with the page sees it.

    Every method is awaited on the app's event loop and never blocks it. Two pages may call at
    once; for one job, calls come one after the other, except for `cancel`.
    """

    async def start(self, spec: JobSpec, pool: WorkerPool) -> JobHandles:
        """Begin ``spec``, or find its cached result; raises `Overloaded` when there is no room.

        ``pool`` is for whatever of it may block, such as the functions of ``cache_by``.
        """
        ...

    async def poll(self, handles: JobHandles) -> Report:
        """Tell how a job goes. What was told is told once: progress, properties, the result.

        Never raises for a job that is not known: its report says that it is lost.
        """
        ...

    async def cancel(self, job: str) -> None:
        """End a job; nothing happens where it has ended or is not known."""
        ...

    async def close(self) -> None:
        """Cancel what runs here and wait for its end; idempotent. A later `start` begins anew."""
        ...
