"""The one way from Python values to JSON: layouts, callback results, pushes.

What comes out parses equal to what Dash writes for the same value, and what Dash refuses is refused
by Dash itself, in its own words. Dash's way has two steps, kept here because a value may come out
differently in each (``numpy.float32(0.1)`` is 0.1 in the first, 0.10000000149011612 in the second):

1. orjson writes the value as it stands;
2. if orjson meets a type that it does not know, everything is *cleaned*, components and arrays and
   timestamps turned into plain values, and orjson writes the result.

Only the cleaning is done differently: a list or dict that holds nothing but plain values is passed
on as it is instead of being copied (``cleaning``), a component's properties are read from its
``__dict__`` instead of by probing every name it might have (``components``), and a figure shares
its lists with the result instead of copying them twice (``figures``). Whatever cannot be read that
way is cleaned by Dash's rules, one value at a time.

Every function here may be called from any thread. The only state is what was learnt about each
class met so far: two entries per class, so their number is bounded by the number of classes. A
class is taken to stay as it was when its first instance was written.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import orjson
from plotly.io.json import config, to_json_plotly

from flash.serialize.cleaning import clean, shape
from flash.serialize.plain import CONTAINERS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dumps", "dumps_for_html"]

_OPTIONS = orjson.OPT_NON_STR_KEYS
_OPTIONS_WITH_NUMPY = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY

# `<`, `>` and `&` end or open something in HTML, U+2028 and U+2029 end a line in older JavaScript.
# In JSON all five occur within strings only, where an escape means the same.
_HTML_ESCAPES = tuple((char, f"\\u{ord(char):04x}") for char in "<>&\u2028\u2029")


def dumps(value: object) -> bytes:
    """Write ``value`` as JSON in UTF-8.

    Raises what Dash raises for the same value, with the same text: ``TypeError`` for anything that
    has no JSON form. A value that another thread changes meanwhile may be written half changed.
    """
    loaded = sys.modules
    if config.default_engine == "json" or "sage.all" in loaded:
        # The app chose plotly's slower engine, or a library that plotly has rules for.
        return _dumps_by_dash(value)
    # Asked for numpy's types, orjson would load numpy: a third of a second, on the event loop.
    options = _OPTIONS_WITH_NUMPY if "numpy" in loaded else _OPTIONS
    try:
        outermost = value if type(value) in CONTAINERS else shape(value)
        try:
            return orjson.dumps(outermost, option=options)
        except TypeError:
            pass
        return orjson.dumps(clean(outermost), option=options)
    except Exception:  # noqa: BLE001 - Dash's own way then succeeds, or says what is wrong
        pass
    return _dumps_by_dash(value)


def dumps_for_html(value: object) -> str:
    """Write ``value`` as JSON that can stand inside a ``<script type="application/json">``.

    No string in it can close the element or open a comment; it parses equal to ``dumps(value)``.
    """
    text = dumps(value).decode()
    for char, escape in _HTML_ESCAPES:
        text = text.replace(char, escape)
    return text


def _dumps_by_dash(value: object) -> bytes:
    return cast("Callable[[object], str]", to_json_plotly)(value).encode()
