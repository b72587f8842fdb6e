"""Event callbacks: async generators that stream property updates to the page that called them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from dash.dependencies import ClientsideFunction, Input, State

from flash import BadRequest, ConfigurationError
from flash.callbacks.context import EventContext
from flash.callbacks.functions import is_async_generator, name_of, same_function, short_name_of
from flash.callbacks.traced import call_in_span
from flash.exits import as_exception, ends_task
from flash.log_limit import limited_logger
from flash.props import Sent
from flash.settings import Choice, Function, check
from flash.tracing import user_of
from flash_ws.clients.context import current_client
from flash_ws.clients.sending import Sending
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import ProtocolError
from flash_ws.protocol.frames import Message, Updates, call_message, props_message

if TYPE_CHECKING:
    from flash import Flash
    from flash_ws.clients.client import LinkedClient
    from flash_ws.clients.hub import Hub
    from flash_ws.protocol.frames import ComponentId

logger = limited_logger(__name__)

Mode = Literal["replace", "parallel"]

# Seconds that a cancelled call has to end. Then the call that replaces it begins all the same.
END_TIMEOUT = 5.0

# Calls of one page that may run at the same time; one more cancels the oldest.
MAX_CALLS = 200


@dataclass(frozen=True, slots=True)
class StreamedProps:
    """Properties that an event callback sets; the page applies them together."""

    updates: Updates


def stream_props(
    component: ComponentId | Updates, props: Mapping[str, Any] | None = None
) -> StreamedProps:
    """Return updates to yield: ``stream_props(id, props)`` or ``stream_props([(id, props)])``."""
    updates: Any = [(component, props)] if props is not None else component
    return StreamedProps(updates)


@dataclass(frozen=True, slots=True)
class EventCallback:
    """One registered event callback."""

    # Identifies it to the page; the same in every worker.
    name: str
    function: Callable[..., AsyncIterator[Any]]
    # Inputs, then States, which is the order in which the page sends their values.
    order: tuple[Input | State, ...]
    # Names of the arguments, or None for positional ones.
    arguments: tuple[str, ...] | None
    # (input, the value with which calls continue, or `_ANY_CHANGE`).
    cancel: tuple[tuple[Input, Any], ...]
    reset: tuple[tuple[ComponentId, Mapping[str, Any]], ...]
    on_error: Callable[[Exception], Any] | None
    mode: Mode

    def bind(self, values: Sequence[Any]) -> AsyncIterator[Any]:
        """Call the function with the values from the page."""
        if self.arguments is None:
            return self.function(*values)
        return self.function(**dict(zip(self.arguments, values, strict=True)))


_ANY_CHANGE = object()


@dataclass(slots=True)
class _Calls:
    """The running calls of one page, by the number that the page chose."""

    running: dict[int, tuple[EventCallback, asyncio.Task[None]]] = field(default_factory=dict)


class EventCallbackRunner:
    """Holds the event callbacks of one app and runs their calls."""

    def __init__(self) -> None:
        self._callbacks: dict[str, EventCallback] = {}
        # Callbacks whose calls are cancelled, by the name of the cancel trigger.
        self._cancels: dict[str, EventCallback] = {}
        self._calls: dict[str, _Calls] = {}
        # Kept until done, since the loop holds only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()
        self._hub: Hub | None = None
        self._app: Flash | None = None

    def start(self, app: Flash, hub: Hub) -> None:
        """Register the handlers of ``call`` and ``stop`` frames with the hub."""
        self._app, self._hub = app, hub
        hub.handlers["call"] = self.call
        hub.handlers["stop"] = self.stop
        hub.calls_of = self.calls_of

    def add(self, callback: EventCallback) -> EventCallback:
        """Register a callback and return it with its final name.

        Functions that one factory makes may have the same dependencies; each is a callback. Raises
        `ConfigurationError` if a function is registered twice with the same dependencies.
        """
        base = callback.name
        for other in self._callbacks.values():
            if other.name.partition("-")[0] == base and same_function(
                other.function, callback.function
            ):
                raise ConfigurationError(
                    f"the event callback {short_name_of(callback.function)!r} is registered twice "
                    "with the same Inputs; remove one"
                )
        callback = replace(callback, name=distinct_name(base, self._callbacks))
        self._callbacks[callback.name] = callback
        if callback.cancel:
            self._cancels[cancel_name(callback.name)] = callback
        return callback

    def remove(self, callback: EventCallback) -> None:
        """Undo `add`, for a callback that no page can call."""
        del self._callbacks[callback.name]
        self._cancels.pop(cancel_name(callback.name), None)

    async def call(self, client: LinkedClient, frame: dict[str, Any]) -> None:
        """Start the call that a page's ``call`` frame requests; raises `ProtocolError`."""
        number, body = frame.get("id"), frame.get("body")
        # `True` is an int for Python, and JSON of a call with it would be invalid.
        if type(number) is not int or not isinstance(body, dict):
            raise ProtocolError(CloseCode.MALFORMED, "'call' needs an integer 'id' and a 'body'")
        request: dict[str, Any] = body
        name = request.get("callback")
        inputs, state = request.get("inputs", []), request.get("state", [])
        changed = request.get("changedPropIds", [])
        lists = (inputs, state, changed)
        if not isinstance(name, str) or not all(isinstance(each, list) for each in lists):
            raise ProtocolError(CloseCode.MALFORMED, "'body' is not a request of an event callback")
        if name in self._cancels:
            ended = self._cancel_calls(client, self._cancels[name], inputs)
            self._spawn(self._report_cancelled(client, number, ended))
            return
        callback = self._callbacks.get(name)
        calls = self._calls.setdefault(client.id, _Calls())
        if callback is None or number in calls.running:
            # The link stays open: the page may have been loaded from an earlier deployment.
            reason = "no such event callback" if callback is None else "the number is in use"
            await self._send(client, call_message(number, "failed", reason=reason))
            return
        # Nothing of the application is awaited here: no other frame of the page waits for it.
        ended: list[asyncio.Task[None]] = []
        if callback.mode == "replace":
            ended += self._end(calls, lambda each: each is callback)
        while len(calls.running) >= MAX_CALLS:
            oldest = next(iter(calls.running))
            ended += self._end_one(calls, oldest)
        try:
            context = EventContext(inputs, state, changed)
        except BadRequest as error:
            raise ProtocolError(CloseCode.MALFORMED, error.reason) from error
        task = self._spawn(self._run_after(ended, client, callback, number, context))
        calls.running[number] = (callback, task)
        task.add_done_callback(lambda _: calls.running.pop(number, None))

    def calls_of(self, client: LinkedClient) -> list[int]:
        """Return the numbers of the calls of a page that run."""
        calls = self._calls.get(client.id)
        return [] if calls is None else list(calls.running)

    @property
    def running(self) -> int:
        """The number of running calls of all pages."""
        return sum(len(calls.running) for calls in self._calls.values())

    async def stop(self, client: LinkedClient, frame: dict[str, Any]) -> None:
        """Cancel the call that a page's ``stop`` frame names; ignores a call that has ended."""
        number = frame.get("id")
        calls = self._calls.get(client.id)
        if calls is not None and type(number) is int:
            self._end_one(calls, number)

    async def forget(self, client: LinkedClient) -> None:
        """Cancel every call of a page that is gone; the hub waits for their end."""
        calls = self._calls.pop(client.id, None)
        if calls is not None:
            client.ending.update(self._end(calls, lambda _: True))

    def _cancel_calls(
        self, client: LinkedClient, callback: EventCallback, inputs: list[Any]
    ) -> list[asyncio.Task[None]]:
        values = _values(inputs)
        expected = [value for _, value in callback.cancel]
        go_on = all(value == wanted for value, wanted in zip(values, expected, strict=False))
        calls = self._calls.get(client.id)
        if calls is None or go_on:
            return []
        return self._end(calls, lambda each: each is callback)

    def _end(
        self, calls: _Calls, which: Callable[[EventCallback], bool]
    ) -> list[asyncio.Task[None]]:
        """Cancel calls and return their tasks, which may run for a while."""
        ended: list[asyncio.Task[None]] = []
        for number, (callback, _) in list(calls.running.items()):
            if which(callback):
                ended += self._end_one(calls, number)
        return ended

    def _end_one(self, calls: _Calls, number: int) -> list[asyncio.Task[None]]:
        found = calls.running.pop(number, None)
        if found is None or found[1].done():
            return []
        found[1].cancel()
        return [found[1]]

    async def _report_cancelled(
        self, client: LinkedClient, number: int, ended: list[asyncio.Task[None]]
    ) -> None:
        if ended:
            await asyncio.wait(ended, timeout=END_TIMEOUT)
        await self._send(client, call_message(number, "done"))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run_after(
        self,
        ended: list[asyncio.Task[None]],
        client: LinkedClient,
        callback: EventCallback,
        number: int,
        context: EventContext,
    ) -> None:
        """Run one call once the calls that it replaces have ended."""
        try:
            await client.wait_until_introduced()
            if ended:
                _, late = await asyncio.wait(ended, timeout=END_TIMEOUT)
                if late:
                    logger.warning(
                        "event callback %r: a cancelled call has not ended within %g s",
                        callback.function.__qualname__,
                        END_TIMEOUT,
                    )
        except asyncio.CancelledError:
            await self._send(client, call_message(number, "cancelled"))
            return
        await self._run(client, callback, number, context)

    async def _run(
        self, client: LinkedClient, callback: EventCallback, number: int, context: EventContext
    ) -> None:
        """Run one call to its end and send the page how it ended."""
        current_client.set(client)
        # For the developer's panel: which updates are of this call.
        mark = number if self._app is not None and self._app.shows_dev_tools else None
        more = {} if mark is None else {"name": short_name_of(callback.function)}
        reset = [list(each) for each in callback.reset]
        await self._send(client, call_message(number, "running", reset=reset, **more))
        end = call_message(number, "done")
        try:
            async with client.handshake.active():
                with context.active():
                    await self._stream_traced(client, callback, context, mark)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and ends_task(error):
                raise
            if isinstance(error, asyncio.CancelledError) and ends_task(error):
                # Not raised again: the canceller waits for this task, and the page is informed.
                await self._finish(client, callback, call_message(number, "cancelled"), mark)
                return
            # Logged, and passed to its on_error. A `CancelledError` is that of another task.
            logger.exception("event callback %r failed", short_name_of(callback.function))
            end = self._failure(number, callback, error)
            await self._apply_error(client, callback, error, mark)
        await self._finish(client, callback, end, mark)

    def _failure(self, number: int, callback: EventCallback, error: BaseException) -> Message:
        more = {"reason": type(error).__name__}
        if self._app is not None and self._app.shows_errors:
            name = short_name_of(callback.function)
            more["error"] = f"event callback {name!r} failed: {type(error).__name__}: {error}"
        return call_message(number, "failed", **more)

    async def _finish(
        self, client: LinkedClient, callback: EventCallback, end: Message, mark: int | None
    ) -> None:
        if callback.reset:
            await self._send(client, props_message(callback.reset, mark))
        await self._send(client, end)

    def _stream_traced(
        self,
        client: LinkedClient,
        callback: EventCallback,
        context: EventContext,
        mark: int | None,
    ) -> Coroutine[Any, Any, None]:
        """Run the generator, in a span if the app is traced."""
        tracing = None if self._app is None else self._app.tracing
        if tracing is None:
            return self._stream(client, callback, context, mark)
        name = short_name_of(callback.function)
        attributes = {
            "flash.callback.id": name,
            "flash.page.path": client.path,
            **user_of(tracing, client.user),
        }
        span = tracing.span(f"event {name}", attributes)
        return call_in_span(span, lambda: self._stream(client, callback, context, mark))

    async def _stream(
        self,
        client: LinkedClient,
        callback: EventCallback,
        context: EventContext,
        mark: int | None,
    ) -> None:
        generator = callback.bind(_values(context.slots))
        context.on_update(self._sender_of_updates(client, context, mark))
        try:
            async for item in generator:
                await self._send_item(client, item, context, mark, generator)
                # Backpressure: a slow page slows its generator, and a page that is away pauses it.
                await client.wait_for_room()
        finally:
            close = getattr(generator, "aclose", None)
            if close is not None:
                await close()
        await self._send_item(client, None, context, mark)

    def _sender_of_updates(
        self, client: LinkedClient, context: EventContext, mark: int | None
    ) -> Callable[[], None]:
        """Return what `flash.set_props` calls, from any thread: it sends the properties soon."""
        loop = asyncio.get_running_loop()
        is_scheduled = False

        def send() -> None:
            nonlocal is_scheduled
            is_scheduled = False
            self._spawn(self._send_item(client, None, context, mark))

        def on_update() -> None:
            nonlocal is_scheduled
            if not is_scheduled:
                is_scheduled = True
                loop.call_soon_threadsafe(send)

        return on_update

    async def _send_item(
        self,
        client: LinkedClient,
        item: Any,
        context: EventContext,
        mark: int | None,
        generator: object = None,
    ) -> None:
        updates: list[Any] = list(context.take_updates())
        if isinstance(item, Sending):
            # The result of `set_props(…, to=…)`, which is sent already.
            await cast("Sending[object]", item)
        else:
            updates.extend(_updates_of(item, generator))
        if updates:
            await self._send(client, props_message(updates, mark))

    async def _apply_error(
        self,
        client: LinkedClient,
        callback: EventCallback,
        error: BaseException,
        mark: int | None,
    ) -> None:
        if callback.on_error is None or self._app is None:
            return
        try:
            outcome = await self._app.pool.call(
                callback.on_error, as_exception(callback.function, error)
            )
        except Exception:
            # An application's handler; the error it handles is logged already.
            logger.exception("on_error of %r failed", short_name_of(callback.function))
            return
        try:
            updates = _updates_of(outcome, None)
        except TypeError:
            # Whatever else a handler returns says nothing.
            return
        if updates:
            await self._send(client, props_message(updates, mark))

    async def _send(self, client: LinkedClient, message: Message) -> None:
        assert self._hub is not None
        if self._hub.clients.get(client.id) is client:
            await self._hub.publish(client.channel, message)
        # Else the page is gone. If it returns it ends its calls itself, and may have begun others.


def make_callback(
    function: Callable[..., Any],
    dependencies: Sequence[Input | State] | Mapping[str, Input | State],
    *,
    cancel: Sequence[Input | tuple[Input, Any]],
    reset_props: Sequence[tuple[ComponentId, Mapping[str, Any]]],
    on_error: Callable[[Exception], Any] | None,
    mode: Mode,
) -> EventCallback:
    """Validate the arguments and return an event callback; raises `ConfigurationError`."""
    if not callable(function) or not is_async_generator(function):
        raise ConfigurationError(
            f"the event callback {function!r} must be an async generator: async def with yield"
        )
    check(mode=(mode, Choice(("replace", "parallel"))), on_error=(on_error, Function()))
    listed: list[Any] = list(
        dependencies.values() if isinstance(dependencies, Mapping) else dependencies
    )
    if not any(isinstance(each, Input) for each in listed):
        raise ConfigurationError(f"the event callback {function!r} needs an Input to start it")
    identity = "|".join((name_of(function), *map(repr, listed)))
    # The page sends inputs and state separately, as Dash does.
    order = [each for kind in (Input, State) for each in listed if isinstance(each, kind)]
    names = None
    if isinstance(dependencies, Mapping):
        by_dependency = {id(each): name for name, each in dependencies.items()}
        names = tuple(by_dependency[id(each)] for each in order)
    elif order != listed:
        raise ConfigurationError("name Inputs before States, or pass inputs={name: dependency}")
    return EventCallback(
        name=hashlib.sha256(identity.encode()).hexdigest()[:16],
        function=function,
        order=tuple(order),
        arguments=names,
        cancel=tuple(each if isinstance(each, tuple) else (each, _ANY_CHANGE) for each in cancel),
        reset=tuple(reset_props),
        on_error=on_error,
        mode=mode,
    )


def distinct_name(name: str, taken: Container[str]) -> str:
    """Return ``name``, or with a number if it is taken: "name-2", "name-3" and so on.

    The order of registration decides, which is the same in every worker of a deployment.
    """
    number = 1
    found = name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def cancel_name(name: str) -> str:
    """Return the name that the page calls to cancel the calls of the callback ``name``."""
    return f"{name}-cancel"


def register_on_page(app: Any, callback: EventCallback) -> None:
    """Register clientside callbacks that start the callback and its cancel triggers."""
    _register_on_page(app, callback.name, callback.order)
    if callback.cancel:
        _register_on_page(app, cancel_name(callback.name), [each for each, _ in callback.cancel])


def _register_on_page(app: Any, name: str, dependencies: Sequence[Input | State]) -> None:
    first, *others = dependencies
    app.clientside_callback(
        ClientsideFunction("flash_ws", name),
        NamedInput(first, name),
        *others,
        prevent_initial_call=True,
    )


class NamedInput(Input):
    """The first Input of a callback without outputs; its name makes the callback's key unique.

    Dash and its renderer identify such a callback only by the names of its Inputs.
    """

    def __init__(self, dependency: Any, callback: str) -> None:
        super().__init__(
            dependency.component_id,
            dependency.component_property,
            allow_optional=dependency.allow_optional,
        )
        self._callback = callback

    def __str__(self) -> str:
        return f"{super().__str__()}@{self._callback}"


def _updates_of(item: Any, generator: object) -> Updates:
    """Return what an event callback has yielded as updates; raises ``TypeError`` with the line."""
    match item:
        case None | Sent():
            return ()
        case StreamedProps(updates):
            return updates
        case (str() | Mapping() as component, Mapping() as props) if isinstance(item, tuple):
            return [(component, props)]  # pyright: ignore[reportUnknownVariableType]
        case Mapping() if item and all(map(_is_property, item)):
            return [_update_of(name, value) for name, value in item.items()]
        case _:
            raise TypeError(
                f"an event callback yielded {item!r:.200}{line_of(generator)}; yield "
                '{"id.property": value}, or "id", {"property": value}, or set_props(…)'
            )


def _is_property(name: object) -> bool:
    return isinstance(name, str) and all(name.rpartition(".")[::2])


def _update_of(name: str, value: Any) -> tuple[ComponentId, Mapping[str, Any]]:
    component, _, prop = name.rpartition(".")
    return (json.loads(component) if component.startswith("{") else component), {prop: value}


def line_of(generator: object) -> str:
    """Return where an async generator stands: " (file:line)"."""
    frame = getattr(generator, "ag_frame", None)
    return "" if frame is None else f" ({frame.f_code.co_filename}:{frame.f_lineno})"


def _values(slots: Sequence[Any]) -> list[Any]:
    """Return the values of the dependencies; those of a wildcard are a list."""
    return [
        [each.get("value") for each in slot] if isinstance(slot, list) else slot.get("value")
        for slot in slots
        if isinstance(slot, list | dict)
    ]
