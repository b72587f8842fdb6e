"""Serialises Python values to JSON: layouts, callback results, pushes.

The output parses equal to what Dash writes for the same value. A value that Dash refuses is refused
by Dash itself, with Dash's error. Dash has two steps, which are kept here because a value may be
written differently in each (``numpy.float32(0.1)`` is 0.1 in the first, 0.10000000149011612 in the
second):

1. orjson writes the value unchanged;
2. if orjson meets a type that it does not know, the whole value is *cleaned*: components, arrays
   and timestamps are replaced by plain values. Then orjson writes the result.

Only the cleaning differs from Dash's. A list or dict that holds plain values only is used as it is
and not copied (``cleaning``). The properties of a component are read from its ``__dict__``; Dash
probes every name that a property may have (``components``). A figure shares its lists with the
result; Dash copies them twice (``figures``). Everything else is cleaned by Dash's rules.

Every function may be called from any thread. The only state is two entries for each class met so
far, so it is bounded by the number of classes. A class must not change after its first instance has
been written.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, cast

import orjson

from flash.serialize.cleaning import clean, plotly_form
from flash.serialize.plain import CONTAINERS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dumps", "dumps_for_html", "load_dash_serializer"]

_OPTIONS = orjson.OPT_NON_STR_KEYS
_OPTIONS_WITH_NUMPY = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY

# `<`, `>` and `&` have a meaning in HTML; U+2028 and U+2029 end a line in older JavaScript. In JSON
# all five are in strings only, where an escape is equal to the character.
_HTML_ESCAPES = tuple((char, f"\\u{ord(char):04x}") for char in "<>&\u2028\u2029")


# The settings of plotly's serialisers; None until the module that has them is imported.
_plotly_config: Any = None


def _find_plotly_config() -> Any:
    # An app can only choose the engine if it has imported this module.
    global _plotly_config
    _plotly_config = getattr(sys.modules.get("plotly.io.json"), "config", None)
    return _plotly_config


def dumps(value: object) -> bytes:
    """Return ``value`` as JSON in UTF-8.

    Raises Dash's error for the same value: ``TypeError`` for a value that has no JSON form. If
    another thread changes the value meanwhile, the output may mix old and new parts.
    """
    loaded = sys.modules
    config = _plotly_config or _find_plotly_config()
    if (config is not None and config.default_engine == "json") or "sage.all" in loaded:
        # The app chose plotly's slower engine, or uses a library that only plotly supports.
        return _dumps_by_dash(value)
    # With the option for numpy, orjson imports numpy: 0.3 s on the event loop.
    options = _OPTIONS_WITH_NUMPY if "numpy" in loaded else _OPTIONS
    try:
        outer = value if type(value) in CONTAINERS else plotly_form(value)
        try:
            return orjson.dumps(outer, option=options)
        except TypeError:
            pass
        return orjson.dumps(clean(outer), option=options)
    except Exception:  # noqa: BLE001 - Dash's own serialiser then succeeds or raises the right error
        pass
    return _dumps_by_dash(value)


def dumps_for_html(value: object) -> str:
    """Return ``value`` as JSON that is safe inside ``<script type="application/json">``.

    No string in it can close the element or open a comment. It parses equal to ``dumps(value)``.
    """
    text = dumps(value).decode()
    for char, escape in _HTML_ESCAPES:
        text = text.replace(char, escape)
    return text


def load_dash_serializer() -> None:
    """Import the serialiser for the values that Dash must write; reads the disk.

    Called in a thread after start-up, because `dumps` runs on the event loop. Not imported with
    this module, because it imports a large part of plotly.
    """
    importlib.import_module("plotly.io.json")


def _dumps_by_dash(value: object) -> bytes:
    from plotly.io.json import to_json_plotly

    return cast("Callable[[object], str]", to_json_plotly)(value).encode()
