"""Every private name of Dash that Flash touches, each with why it is needed and where it exists.

Nothing else in Flash imports from a ``dash._…`` module or reads an underscore attribute of a Dash
app. All names exist in Dash 4.4.0 to 4.5.0rc2 unless a line says otherwise.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

# The store of callbacks made by `dash.callback` before an app has claimed them.
from dash._callback import GLOBAL_CALLBACK_LIST as GLOBAL_CALLBACK_LIST
from dash._callback import GLOBAL_CALLBACK_MAP as GLOBAL_CALLBACK_MAP

# Scripts of `clientside_callback("function…")` not yet claimed: the page's script list depends on it.
from dash._callback import GLOBAL_INLINE_SCRIPTS as GLOBAL_INLINE_SCRIPTS

# The signed identity of a page load, echoed by the renderer with every callback as `endId`.
from dash._callback_signing import END_SCOPE as END_SCOPE
from dash._callback_signing import cache_scope as cache_scope
from dash._callback_signing import job_scope as job_scope
from dash._callback_signing import sign as sign
from dash._callback_signing import unsign as unsign

# What `dash.ctx` reads; one context variable for the whole process.
from dash._callback_context import context_value as context_value

# What `dash.get_app()` reads.
from dash._get_app import app_context as app_context

# Groupings: the shape in which a callback's arguments and outputs were declared.
from dash._grouping import flatten_grouping as flatten_grouping
from dash._grouping import grouping_len as grouping_len
from dash._grouping import map_grouping as map_grouping
from dash._grouping import update_args_group as update_args_group

# The store of hooks, shared by every app of the process.
from dash._hooks import HooksManager as HooksManager

# `dash.NoUpdate` is public, its test for "is this a no_update in any spelling" is a method of it.
from dash._no_update import NoUpdate as NoUpdate

# Pages: the registry is public, the matching of a path to a page is not.
from dash._pages import PAGE_REGISTRY as PAGE_REGISTRY
from dash._pages import _import_layouts_from_pages as import_pages
from dash._pages import _page_meta_tags as page_meta_tags
from dash._pages import _parse_query_string as parse_query_string
from dash._pages import _path_to_page as path_to_page

# The dictionary with attribute access that `dash.ctx` and third-party code expect.
from dash._utils import AttributeDict as AttributeDict
from dash._utils import clean_property_name as clean_property_name
from dash._utils import get_caller_name as get_caller_name
from dash._utils import inputs_to_dict as inputs_to_dict
from dash._utils import stringify_id as stringify_id

# Dash's own checks, so that the error texts stay Dash's.
from dash import _validate as validate

# The renderer's JSON is fingerprinted by these; the component-suite routes parse it.
from dash.fingerprint import check_fingerprint as check_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNSET: Any = object()

# The names that Dash's `register_callback` gives to the two wrappers it puts into `callback_map`.
_WRAPPERS = frozenset({"add_context", "async_add_context"})


@dataclass(frozen=True, slots=True)
class Registration:
    """What `dash.callback` was told, read back from the wrapper it stored.

    `callback_map` keeps the dependencies but neither the user's function nor `on_error`; both live
    only in the wrapper's closure (`register_callback` in `dash/_callback.py`).
    """

    function: Callable[..., Any]
    on_error: Callable[[Exception], Any] | None
    # The grouping of Outputs as declared; its leaves are `Output` objects.
    output: Any
    multi: bool
    has_output: bool
    background_key: str | None


def read_registration(wrapper: object) -> Registration | None:
    """Return what stands behind an entry of `callback_map`, or None where it is not Dash's wrapper.

    None means that somebody replaced the entry, or that a newer Dash registered a kind of callback
    that Flash does not know (a streaming generator in 4.5): such a callback is left to Dash.
    """
    code = getattr(wrapper, "__code__", None)
    if code is None or code.co_name not in _WRAPPERS or not hasattr(wrapper, "__closure__"):
        return None
    closure: Mapping[str, Any] = inspect.getclosurevars(wrapper).nonlocals  # type: ignore[arg-type]
    try:
        return Registration(
            function=closure["func"],
            on_error=closure["on_error"],
            output=closure["output"],
            multi=closure["multi"],
            has_output=closure["has_output"],
            background_key=closure["background_key"],
        )
    except KeyError:
        return None
