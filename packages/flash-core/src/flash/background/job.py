"""The types of a background job: its specification, updates and reports; free of event loops."""

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
    from flash.tracing import Cause

# Frames of these modules stand above the user's frames in the traceback of a failed job.
_OUR_MODULES = ("flash.background.", "flash.callbacks.execution")


class State(enum.Enum):
    """The state of a job."""

    # Running, or waiting to run.
    RUNNING = "running"
    # The function has returned; the result is available.
    DONE = "done"
    # The function raised an error, or the job was lost; the message says which.
    FAILED = "failed"
    # The job was cancelled; the page expects no result.
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a job, and its updates since the previous poll."""

    state: State
    # What the function returned, if the state is DONE.
    result: Any = None
    # Why the job FAILED, and the traceback of its error (empty if the function raised none).
    message: str = ""
    trace: str = ""
    # The latest values passed to `set_progress`, one per progress output; None if none are new.
    progress: Sequence[Any] | None = None
    # The properties set by `set_props`, by component id.
    updates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])

    @classmethod
    def failed(cls, error: BaseException) -> Report:
        """Return the report of a job whose function raised ``error``."""
        frames = _user_frames(error.__traceback__)
        text = "".join(traceback.format_exception(type(error), error, frames))
        return cls(State.FAILED, message=str(error), trace=text)

    @classmethod
    def lost(cls, message: str) -> Report:
        """Return the report of a job that no longer exists although it was not cancelled."""
        return cls(State.FAILED, message=message)


def _user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Drop the frames between the event loop and the user's function."""
    while trace is not None and trace.tb_next is not None:
        if not trace.tb_frame.f_globals.get("__name__", "").startswith(_OUR_MODULES):
            break
        trace = trace.tb_next
    return trace


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job runs: the callback, its arguments and its context."""

    plan: CallbackPlan
    # The function's arguments, without `set_progress`.
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    # The callback context inside the job; it holds no object of the request.
    context: dict[str, Any]
    # Where the job's span belongs; None if nothing is traced.
    cause: Cause | None = None

    @property
    def arguments(self) -> Any:
        """The arguments as Dash's managers expect them: a list or a dictionary."""
        return self.args or self.kwargs

    @property
    def progress_outputs(self) -> int:
        """The number of outputs of `set_progress`; 0 if the function does not receive it."""
        return len(self._option("progress") or ())

    @property
    def triggered(self) -> Any:
        """What triggered the callback, if that is part of the cache key; else None."""
        if self._option("cache_ignore_triggered", True):
            return None
        return self.context.get("triggered_inputs", [])

    @property
    def ignored_arguments(self) -> Any:
        """The arguments that are not part of the cache key: names or positions."""
        return self._option("cache_args_to_ignore", [])

    def _option(self, name: str, default: Any = None) -> Any:
        return (self.plan.background or {}).get(name, default)

    def fingerprint(self, parts: Sequence[Any]) -> str:
        """Return the cache key: a hash of function, arguments, trigger and ``parts``.

        ``parts`` are the results of the manager's ``cache_by`` functions.
        """
        ignored = self.ignored_arguments
        ignored = ignored if isinstance(ignored, list | tuple) else [ignored]
        if self.args:
            # Each value keeps its position: dropping one must not make two different calls equal.
            kept: Any = [[i, arg] for i, arg in enumerate(self.args) if i not in ignored]
        else:
            kept = {name: arg for name, arg in self.kwargs.items() if name not in ignored}
        # ``background_key`` covers the function's source and the callback's id.
        whole = [self.plan.background_key, kept, self.triggered, [repr(part) for part in parts]]
        options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        return hashlib.sha256(orjson.dumps(whole, default=repr, option=options)).hexdigest()


def job_context(ctx: CallContext) -> dict[str, Any]:
    """Return a copy of ``ctx`` that is valid after the request and in another process."""
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
    """Collects a running job's progress and property updates until a poll takes them.

    The job's function writes to it from any thread; one reader at a time takes from it. It keeps
    only the latest progress and the latest value of each property, so its size is bounded by the
    app's components and not by the number of updates. It needs no lock: each step is one atomic
    operation of a built-in type.
    """

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        self._progress: deque[Sequence[Any]] = deque(maxlen=1)
        # By component id and property.
        self._updates: dict[tuple[str, str], Any] = {}
        # Called after every write, in the writer's thread.
        self._changed = changed
        self._closed = False

    def set_progress(self, values: Sequence[Any]) -> None:
        """Replace the progress; raises `CancelledError` if the buffer is closed."""
        self._check()
        self._progress.append(values)
        self._notify()

    def set_props_of(self, component: str, props: Mapping[str, Any]) -> None:
        """Set properties of a component; raises `CancelledError` if the buffer is closed."""
        self._check()
        for name, value in props.items():
            self._updates[component, name] = value
        self._notify()

    def take(self) -> tuple[Sequence[Any] | None, dict[str, dict[str, Any]]]:
        """Return and remove the progress and properties written since the previous call."""
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
        """Return the latest progress that was not taken yet, and keep it."""
        with suppress(IndexError):
            return self._progress[-1]
        return None

    def close(self) -> None:
        """End a function that still runs: its next write raises `CancelledError`."""
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise CancelledError("this background job has ended")

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed()


class PropsSink(dict[str, dict[str, Any]]):
    """The dictionary into which `dash.set_props` writes; it forwards each write to a buffer.

    It stays empty, so `set_props` finds no earlier value to merge with.
    """

    def __init__(self, buffer: UpdateBuffer) -> None:
        super().__init__()
        self._buffer = buffer

    def __setitem__(self, component: str, props: dict[str, Any]) -> None:
        self._buffer.set_props_of(component, props)


class SetProgress:
    """The `set_progress` that a job's function receives.

    It takes one value, or a list with one value per progress output; from any thread. Awaiting its
    return value is optional; in `async def` that lets other tasks run.
    """

    def __init__(self, buffer: UpdateBuffer, outputs: int) -> None:
        self._buffer = buffer
        self._outputs = outputs

    def __call__(self, values: Any) -> Checkpoint:
        """Send ``values`` with the page's next poll; later values replace earlier ones."""
        listed = values if isinstance(values, list | tuple) else [values]
        if len(listed) != self._outputs:
            raise ValueError(
                f"set_progress got {len(listed)} values for {self._outputs} progress outputs"
            )
        self._buffer.set_progress(listed)
        return Checkpoint()


class Checkpoint:
    """An awaitable that lets the event loop run other tasks once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass(frozen=True, slots=True)
class JobHandles:
    """The two strings that identify a job; they are signed before they are sent to the page."""

    # Identifies the result.
    key: str
    # Identifies the job to cancel.
    job: str


class TooManyJobs(Overloaded):
    """The manager refused a job: ``max_jobs`` jobs run and ``max_waiting`` jobs wait."""

    def __init__(self, max_jobs: int, max_waiting: int) -> None:
        super().__init__(max_jobs, max_waiting, retry_after=5)

    def __str__(self) -> str:
        return (
            f"server busy: {self.max_threads} background jobs running and {self.max_waiting} "
            "waiting; raise the manager's max_jobs=… or max_waiting=…"
        )


@runtime_checkable
class JobManager(Protocol):
    """The interface of a manager that runs jobs and keeps their updates and results.

    Flash awaits every method on the app's event loop; a method must not block it. Calls for
    different jobs may overlap; calls for one job do not, except for `cancel`.
    """

    async def start(self, spec: JobSpec, pool: WorkerPool) -> JobHandles:
        """Start a job, or find its cached result; raises `Overloaded` if the limits are reached.

        Blocking code, such as the functions of ``cache_by``, runs in threads of ``pool``.
        """
        ...

    async def poll(self, handles: JobHandles) -> Report:
        """Report the state of a job. Progress, properties and the result are reported once.

        An unknown job raises no error; its report says that the job was lost.
        """
        ...

    async def cancel(self, job: str) -> None:
        """Cancel a job; does nothing if the job has ended or is unknown."""
        ...

    async def close(self) -> None:
        """Cancel the jobs of this process and wait for their end; idempotent.

        A later `start` may use the manager again.
        """
        ...
