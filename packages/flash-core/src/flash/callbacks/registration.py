"""What a callback is told beyond Dash's options, from decorator to entry in `callback_map`."""

from __future__ import annotations

from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any

from flash.callbacks.execution import is_async
from flash.callbacks.plan import CallbackOptions
from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMES = tuple(field.name for field in fields(CallbackOptions))


def take_options(keywords: dict[str, Any]) -> CallbackOptions:
    """Take Flash's own options out of a decorator's keywords; raises `ConfigurationError`."""
    options = CallbackOptions(**{name: keywords.pop(name) for name in _NAMES if name in keywords})
    if keywords.get("background") and (options.supersede or options.coalesce):
        raise ConfigurationError(
            "background=True excludes supersede= and coalesce=: a job has its own cancel=, and "
            "the requests that ask how it goes are alike for every page"
        )
    return options


def note_options(
    callbacks: list[dict[str, Any]], callback_map: dict[str, Any], options: CallbackOptions
) -> None:
    """Put the options into the entry of the callback that was registered last.

    The entry stays on the server: the page is sent ``callbacks``.
    """
    callback_map[callbacks[-1]["output"]]["flash_options"] = options


def checked(
    decorate: Callable[..., Any],
    options: CallbackOptions,
    then: Callable[[], None] | None = None,
) -> Callable[..., Any]:
    """Return the decorator, refusing options that do not fit the function it is put on.

    ``then`` is called once the callback is registered.
    """

    @wraps(decorate)
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if options.run_in == "loop" and is_async(function):
            raise ConfigurationError(
                f"run_in='loop' on {function!r}: an async function always runs on the loop"
            )
        registered = decorate(function)
        if then is not None:
            then()
        return registered

    return register
