"""Flash's own callback options: taken from the decorator, stored in `callback_map`."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import dash

from flash.callbacks.functions import as_function, is_async, name_of
from flash.callbacks.plan import CallbackOptions
from flash.dash_arguments import refuse_later
from flash.errors import ConfigurationError
from flash.settings import AMOUNT, FLAG, check, check_spelling

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMES = tuple(field.name for field in fields(CallbackOptions))
# One object for the many callbacks that give no options.
_DEFAULTS = CallbackOptions()
# The keywords of Dash's decorator, named in its signature or read from ``**kwargs``.
_KNOWN = frozenset(inspect.signature(dash.callback).parameters) | {
    "_allow_dynamic_callbacks",
    "inputs",
    "output",
    "prevent_initial_call",
    "state",
}
# What values of Dash's options may be; Dash sends them to the page, which does not check them.
_RULES = {"compress_payload": FLAG, "compress_threshold": AMOUNT}


def take_options(keywords: dict[str, Any]) -> CallbackOptions:
    """Remove Flash's own options from ``keywords`` and return them; raises `ConfigurationError`."""
    if not keywords:
        return _DEFAULTS
    given = {name: keywords.pop(name) for name in _NAMES if name in keywords}
    options = CallbackOptions(**given) if given else _DEFAULTS
    if not keywords.keys() <= _KNOWN:
        refuse_later(keywords, _KNOWN)
        check_spelling(keywords, (*_NAMES, *_KNOWN), "a callback")
    check(**{name: (keywords[name], rule) for name, rule in _RULES.items() if name in keywords})
    if keywords.get("background") and (options.supersede or options.coalesce):
        raise ConfigurationError(
            "background=True excludes supersede= and coalesce=: use cancel= to cancel a job; the "
            "requests that poll a job are equal for all pages and cannot be shared"
        )
    return options


def store_options(
    callbacks: list[dict[str, Any]], callback_map: dict[str, Any], options: CallbackOptions
) -> Callable[[], None]:
    """Store ``options`` in the `callback_map` entry of the callback that was registered last.

    ``callback_map`` stays on the server; only ``callbacks`` is sent to the page, which reads there
    whether it may repeat a request. Returns a function that removes the callback from both: Dash
    registers it before it has the function.
    """
    spec = callbacks[-1]
    callback_id: str = spec["output"]
    entry = callback_map[callback_id]
    entry["flash_options"] = options
    if options.repeat is not None:
        spec["flash_repeat"] = options.repeat

    def remove() -> None:
        callbacks[:] = [each for each in callbacks if each is not spec]
        if callback_map.get(callback_id) is entry:
            del callback_map[callback_id]

    return remove


def checked_decorator(
    decorate: Callable[..., Any],
    options: CallbackOptions,
    remove: Callable[[], None],
    on_registered: Callable[[], None] | None = None,
    *,
    reads_source: bool = False,
) -> Callable[..., Any]:
    """Return ``decorate`` with a check that it gets a function, which ``options`` fit.

    ``remove`` is called if the function is refused, and ``on_registered`` after it has been
    registered. ``reads_source``: Dash reads
    the function's source, which partials and callable instances do not have. The decorator raises
    `ConfigurationError`.
    """

    # Without `functools.wraps`, which takes time in apps with thousands of callbacks.
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            remove()
            raise ConfigurationError(
                f"the callback {function!r} is no function; give one, or a partial, a method or a "
                "callable object"
            )
        if options.run_in == "loop" and is_async(function):
            remove()
            raise ConfigurationError(
                f"run_in='loop' on {name_of(function)}: an async function always runs on the loop"
            )
        given = as_function(function) if reads_source else function
        try:
            registered = decorate(given)
        except Exception:
            remove()
            raise
        if on_registered is not None:
            on_registered()
        return function if registered is given else registered

    return register
