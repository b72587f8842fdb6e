"""Text streams: async generators whose pieces of text grow a property of the page that called."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from dash import Patch
from dash.dependencies import Output

from flash import ConfigurationError
from flash.callbacks.functions import is_async_generator, short_name_of
from flash.settings import COUNT, Instance, check, here
from flash_ws.callbacks.event_callbacks import END_TIMEOUT, StreamedProps, line_of
from flash_ws.clients.context import current_client
from flash_ws.errors import TextTooLong

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from flash_ws.clients.client import LinkedClient
    from flash_ws.link.link import Link
    from flash_ws.protocol.frames import ComponentId, Updates

# The most characters of one text, by default.
MAX_CHARS = 100_000

# What is appended to a text whose generator has failed.
ERROR_TEXT = "\n\n⚠ An error has ended this text early."

# Seconds between two messages of one text. What comes meanwhile is sent together.
BATCH_SECONDS = 1 / 30

# The page draws the whole text for each message, so a long text gets fewer of them: for so many
# characters, one second more between two messages.
CHARS_PER_SECOND = 1_000_000

# After so many additions the whole text is sent. A page keeps 100 changes of a component that is
# not in its layout yet, and drops all of them with one more.
WHOLE_TEXT_EVERY = 50

# Characters that wait for a message. Beyond them the generator waits.
MAX_WAITING = 16_384


@dataclass(frozen=True, slots=True)
class TextStream:
    """What a text stream sets, besides what its event callback says."""

    component: ComponentId
    prop: str
    # Set when a call begins.
    running: Updates
    # Set when it ends, for any reason.
    ended: Updates
    error: str
    max_chars: int

    def adapt(self, function: Callable[..., Any]) -> Callable[..., AsyncGenerator[StreamedProps]]:
        """Return the event callback that sends the pieces of ``function``."""

        @wraps(function)
        async def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[StreamedProps]:
            pieces, text = _Pieces(self.max_chars), _Text(current_client.get())
            filling = asyncio.ensure_future(pieces.fill(function(*args, **kwargs)))
            filling.add_done_callback(pieces.wake)
            try:
                # Replaces what an earlier call has written.
                yield StreamedProps([*self.running, *self._update(text.whole())])
                while await pieces.wait(filling):
                    yield StreamedProps(self._update(text.grown_by(pieces.take())))
                    await asyncio.sleep(BATCH_SECONDS + text.length / CHARS_PER_SECOND)
                if self.error and _has_failed(filling):
                    yield StreamedProps(self._update(text.grown_by(self.error)))
                elif not text.is_on_page:
                    yield StreamedProps(self._update(text.whole()))
                filling.result()
            finally:
                filling.cancel()
                await asyncio.wait({filling}, timeout=END_TIMEOUT)

        return stream

    def _update(self, value: str | Patch) -> Updates:
        return [(self.component, {self.prop: value})]


class _Pieces:
    """The pieces that a generator has yielded and that are not sent; about `MAX_WAITING` long.

    The generator runs in a task of its own, all of it, since it may hold what belongs to a task,
    such as a time-out.
    """

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._waiting: list[str] = []
        self._size = 0
        self._total = 0
        # Set when there is a piece, or the generator has ended.
        self._has_come = asyncio.Event()
        self._has_room = asyncio.Event()

    async def fill(self, generator: Any) -> None:
        """Take all pieces of a generator; raises what it raises, and `TextTooLong`."""
        try:
            async for piece in generator:
                if not isinstance(piece, str):
                    raise TypeError(
                        f"a text stream yielded {piece!r:.200}{line_of(generator)}, a "
                        f"{type(piece).__name__}; yield str, such as chunk.text or ''"
                    )
                room = self._max_chars - self._total
                if piece:
                    self._add(piece[:room])
                if len(piece) > room:
                    raise TextTooLong(self._max_chars)
                while self._size >= MAX_WAITING:
                    self._has_room.clear()
                    await self._has_room.wait()
        finally:
            await generator.aclose()

    def _add(self, piece: str) -> None:
        self._waiting.append(piece)
        self._size += len(piece)
        self._total += len(piece)
        self._has_come.set()

    def wake(self, _: object) -> None:
        """Let `wait` look again."""
        self._has_come.set()

    async def wait(self, filling: asyncio.Task[None]) -> bool:
        """Wait for a piece; False if there is none and the generator has ended."""
        while not self._waiting and not filling.done():
            self._has_come.clear()
            await self._has_come.wait()
        return bool(self._waiting)

    def take(self) -> str:
        """Return the pieces as one text."""
        text = "".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._has_room.set()
        return text


class _Text:
    """The text so far, and what of it the page has.

    The page gets additions. It gets the whole text where an addition could build on another text
    than this: after its connection was another one, whose messages may have been lost.
    """

    def __init__(self, client: LinkedClient | None) -> None:
        self._client = client
        self._parts: list[str] = []
        self.length = 0
        # The connection over which the last message went.
        self._link: Link | None = None
        self._additions = 0

    @property
    def is_on_page(self) -> bool:
        """Whether the page is connected as it was when the last message went."""
        return self._client is None or self._client.link is self._link

    def whole(self) -> str:
        """Return the whole text to send."""
        self._link = None if self._client is None else self._client.link
        self._additions = 0
        return "".join(self._parts)

    def grown_by(self, more: str) -> str | Patch:
        """Return what makes the page's text longer by ``more``."""
        self._parts.append(more)
        self.length += len(more)
        self._additions += 1
        if not self.is_on_page or self._additions >= WHOLE_TEXT_EVERY:
            return self.whole()
        addition = Patch()
        addition += more
        return addition


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.cancelled() or task.exception() is not None


def make_text_stream(
    function: Callable[..., Any],
    output: object,
    *,
    running: Sequence[tuple[Output, Any, Any]],
    error: str,
    max_chars: int,
) -> TextStream:
    """Check what `Live.text_stream` was given; raises `ConfigurationError`."""
    check(error=(error, Instance(str)), max_chars=(max_chars, COUNT))
    if not callable(function) or not is_async_generator(function):
        raise ConfigurationError(
            f"the text stream {function!r} must be an async generator that yields str: async def "
            "with yield"
        )
    component, prop = _target(output, function)
    states = _states(running, function)
    return TextStream(
        component=component,
        prop=prop,
        running=[(each, {name: on}) for each, name, on, _ in states],
        ended=[(each, {name: off}) for each, name, _, off in states],
        error=error,
        max_chars=max_chars,
    )


def _states(
    running: Sequence[tuple[Output, Any, Any]], function: Callable[..., Any]
) -> list[tuple[ComponentId, str, Any, Any]]:
    found: list[tuple[ComponentId, str, Any, Any]] = []
    for each in running:
        given: Any = each
        if not isinstance(given, tuple) or len(given) != 3:  # pyright: ignore[reportUnknownArgumentType]
            raise ConfigurationError(
                f"running={given!r:.200}: must be a list of (Output, value while it runs, value "
                f"afterwards){here()}"
            )
        output, on, off = each
        found.append((*_target(output, function), on, off))
    return found


def _target(output: object, function: Callable[..., Any]) -> tuple[ComponentId, str]:
    """Return the component's id and the property that an Output names."""
    what = f"the text stream {short_name_of(function)!r}"
    if not isinstance(output, Output):
        raise ConfigurationError(f"{what} sets {output!r:.200}: must be an Output{here()}")
    if output.has_wildcard():
        raise ConfigurationError(
            f"{what} sets {output}: must be one component, without ALL or MATCH{here()}"
        )
    # Dash has given an id to a component that stands in the place of one.
    component: Any = output.component_id
    return component, output.component_property
