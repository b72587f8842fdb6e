"""The private functions and objects of Dash that Flash uses, each with the reason.

Only the seams import from a ``dash._…`` module or read an underscore attribute of a Dash app. All
names exist in Dash 4.4.1 to 4.5.0rc2 unless a comment says otherwise.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import dash

# Dash's checks, so that Flash raises the same errors with the same texts.
from dash import _validate as validate

# Callbacks registered with `dash.callback`, and scripts of `clientside_callback("function…")`,
# until an app takes them over.
from dash._callback import GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP, GLOBAL_INLINE_SCRIPTS

# The context variable that `dash.ctx` reads.
from dash._callback_context import context_value

# The signed identity of a page load; the renderer sends it back with every callback as `endId`.
from dash._callback_signing import END_SCOPE, cache_scope, job_scope, sign, unsign

# The context variable that `dash.get_app()` reads.
from dash._get_app import app_context

# Groupings: the nested lists and dicts in which a callback declares arguments and outputs.
from dash._grouping import flatten_grouping, grouping_len, map_grouping, update_args_group

# The registry of hooks, shared by all apps of the process.
from dash._hooks import HooksManager

# `dash.NoUpdate` is public, but not with the method that recognises every form of a no_update.
from dash._no_update import NoUpdate

# Pages: the registry is public; the matching of a path to a page is not.
from dash._pages import PAGE_REGISTRY
from dash._pages import _import_layouts_from_pages as import_pages
from dash._pages import _parse_query_string as parse_query_string
from dash._pages import _path_to_page as path_to_page

# The dictionary with attribute access that `dash.ctx` is, and third-party code expects.
from dash._utils import (
    AttributeDict,
    clean_property_name,
    get_caller_name,
    inputs_to_dict,
    stringify_id,
)

# Splits the fingerprint off the URL of a component library's file.
from dash.fingerprint import check_fingerprint

if TYPE_CHECKING:
    import logging
    from collections.abc import (
        Callable,
        Collection,
        Container,
        Generator,
        Mapping,
        Sequence,
    )


# Where Dash registers callbacks; see `_insert_with_unique_id`.
from dash import _callback as callback_module

# The ids of the components that make up `dash.page_container`.
from dash.dash import _ID_CONTENT as PAGES_CONTENT
from dash.dash import _ID_DUMMY as PAGES_DUMMY
from dash.dash import _ID_LOCATION as PAGES_LOCATION
from dash.dash import _ID_STORE as PAGES_STORE
from dash.dash import _default_index as DEFAULT_INDEX  # noqa: N812
from dash.dash import (
    _re_index_config_id,
    _re_index_entry_id,
    _re_index_scripts_id,
    _re_renderer_scripts_id,
)

# Names of the two wrapper functions that Dash's `register_callback` puts into `callback_map`.
_WRAPPERS = frozenset({"add_context", "async_add_context"})


def request_adapter() -> Any:
    """Return the class of a request as code of Dash sees it.

    Its module is imported by the first app, and not before.
    """
    return importlib.import_module("dash.backends._quart").QuartRequestAdapter


# Separates the id of a page from an earlier one within a signed identity; ids are hexadecimal.
PREVIOUS = "~"
# Separates the id of a page from the time at which its identity was issued, in hexadecimal.
ISSUED = "-"


def without_issue_time(name: str) -> str:
    """Return what is signed in the identity of a page without the time at which it was issued."""
    page, separator, before = name.partition(PREVIOUS)
    return f"{page.partition(ISSUED)[0]}{separator}{before}"


def registered_hooks(kind: str) -> Sequence[Any]:
    """Return the hooks of ``kind`` in the order in which they run; made new if there are any."""
    hooks = HooksManager.hooks
    # Asked for every callback, and nearly always there are none.
    if hooks._ns.get(kind) or hooks._finals.get(kind):
        return HooksManager.get_hooks(kind)
    return ()


def cancels_jobs(function: Callable[..., Any]) -> bool:
    """Tell whether a callback is the one that Dash makes for ``cancel=`` of background callbacks.

    It knows handles as Dash signs them only.
    """
    # A partial and a callable object have no name.
    name = getattr(function, "__name__", "")
    return name == "cancel_call" and function.__module__ == "dash.dash"


__all__ = [
    "DEFAULT_INDEX",
    "END_SCOPE",
    "GLOBAL_CALLBACK_LIST",
    "GLOBAL_CALLBACK_MAP",
    "GLOBAL_INLINE_SCRIPTS",
    "ISSUED",
    "PAGES_CONTENT",
    "PAGES_DUMMY",
    "PAGES_LOCATION",
    "PAGES_STORE",
    "PAGE_REGISTRY",
    "PREVIOUS",
    "AttributeDict",
    "HooksManager",
    "NoUpdate",
    "Registration",
    "app_context",
    "cache_scope",
    "cancels_jobs",
    "check_index",
    "clean_property_name",
    "context_value",
    "enter_app",
    "flatten_grouping",
    "get_caller_name",
    "grouping_len",
    "import_pages",
    "inputs_to_dict",
    "is_first_request_setup",
    "job_scope",
    "made_app",
    "map_grouping",
    "parse_query_string",
    "path_to_page",
    "read_registration",
    "registered_file",
    "registered_hooks",
    "request_adapter",
    "sign",
    "stringify_id",
    "unsign",
    "update_args_group",
    "validate",
    "without_banner",
    "without_issue_time",
]

# The app that the code of this context has made last; None where code of an app runs.
made_app: ContextVar[Any] = ContextVar("flash_made_app", default=None)


def enter_app(app: object) -> None:
    """Make ``app`` what `dash.get_app` returns in this context, because its code runs here."""
    app_context.set(app)
    if made_app.get() is not None:
        made_app.set(None)


# What the HTML of a page must contain: patterns, each with its name in the error.
_INDEX_CHECKS = (
    _re_index_entry_id,
    _re_index_config_id,
    _re_index_scripts_id,
    _re_renderer_scripts_id,
)


class Registration(NamedTuple):
    """The arguments of `dash.callback`, read from the wrapper that it put into `callback_map`.

    `callback_map` keeps the dependencies, but neither the user's function nor `on_error`. Both are
    only in the closure of the wrapper (`register_callback` in `dash/_callback.py`).
    """

    function: Callable[..., Any]
    on_error: Callable[[Exception], Any] | None
    # The declared grouping; its leaves are `Output` objects.
    output: Any
    multi: bool
    has_output: bool
    background_key: str | None


def read_registration(wrapper: object) -> Registration | None:
    """Return the registration behind an entry of `callback_map`; None if it is not Dash's wrapper.

    It is not if other code has replaced the entry, or if a newer Dash registered a kind of callback
    that Flash does not know, such as a streaming generator in 4.5.
    """
    if not isinstance(wrapper, FunctionType) or wrapper.__code__.co_name not in _WRAPPERS:
        return None
    # Faster than `inspect.getclosurevars`, which also looks up the global names of the wrapper.
    cells = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or (), strict=True))
    try:
        return Registration(
            function=cells["func"].cell_contents,
            on_error=cells["on_error"].cell_contents,
            output=cells["output"].cell_contents,
            multi=cells["multi"].cell_contents,
            has_output=cells["has_output"].cell_contents,
            background_key=cells["background_key"].cell_contents,
        )
    except (KeyError, ValueError):
        # ValueError: a variable of the closure has no value.
        return None


def check_index(index: str) -> None:
    """Raise Dash's error if the HTML of a page lacks an element that the renderer needs."""
    validate.validate_index("index", _INDEX_CHECKS, index)


@contextmanager
def without_banner(logger: logging.Logger) -> Generator[None]:
    """Filter Dash's message "Dash is running on" out of ``logger``."""

    def is_other(record: logging.LogRecord) -> bool:
        return not record.msg.startswith("Dash is running on")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


class _StopSwitch:
    """The event that `dash.testing`'s runner sets, on the loop `_loop`, to end a Quart server."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        self._stop()

    def is_set(self) -> bool:
        return self._is_set


def connect_test_runner(backend: Any, stop: Callable[[], None]) -> None:
    """Make `dash.testing`'s ThreadedRunner call ``stop`` to end the server; call it on the loop."""
    backend._ws_shutdown_event = _StopSwitch(stop)


def is_first_request_setup(function: Callable[..., Any]) -> bool:
    """Return whether ``function`` is the set-up that Dash registers to run before requests."""
    # Compared by name, since a subclass such as dash-extensions' may override it.
    return getattr(function, "__name__", None) == dash.Dash._setup_server.__name__


def registered_file(
    registered: Mapping[str, Collection[str]], package: str, fingerprinted: str
) -> tuple[Path, bool] | None:
    """Return the file of a component-suite URL, and whether the URL has a fingerprint.

    ``registered`` is Dash's ``registered_paths``: the paths of each package. None for a path that
    no component library registered. Does not access the disk.
    """
    path, has_fingerprint = _without_fingerprint(fingerprinted)
    # `get`, because `[]` would add a key to the defaultdict.
    if path not in registered.get(package, ()):
        return None
    return _location(package, path), has_fingerprint


# A page requests some fifteen files. The bounds protect against clients that invent paths.
@lru_cache(maxsize=1024)
def _without_fingerprint(path: str) -> tuple[str, bool]:
    return check_fingerprint(path)


@lru_cache(maxsize=4096)
def _location(package: str, path: str) -> Path:
    module = sys.modules.get(package) or importlib.import_module(package)
    return Path(module.__path__[0]) / path


def shared_storage_names() -> Any:
    """Return the module of Dash's shared storage; None before Dash 4.5.

    Dash exports everything that an implementation needs, except the base class of subscriptions.
    """
    if not hasattr(dash, "BaseSharedStorage"):
        return None
    return importlib.import_module("dash._shared_storage")


# The ids of the callbacks that exist already, while Dash registers one.
_taken_ids: ContextVar[tuple[Container[str], ...]] = ContextVar("flash_taken_ids", default=())

_create_callback_id = vars(callback_module)["create_callback_id"]
_insert_callback = vars(callback_module)["insert_callback"]

# Dash's packages, as Dash recognises them, and Flash's own.
_LIBRARIES = (str(Path(dash.__file__).parent), f"{Path(__file__).parents[1]}{os.sep}")


def _insert_with_unique_id(callbacks: Any, callback_map: Any, *args: Any, **kwargs: Any) -> Any:
    """Register a callback, with an id of its own where Dash makes one of its Inputs or its line.

    Dash makes the id of a callback without Outputs of its Inputs, and without Inputs of the line
    that calls Dash, which under Flash is a line of Flash. Of callbacks of one id only the last
    would run. An id is the same in every worker, since workers register in the same order.
    """
    # An app takes over those of `dash.callback` when it starts.
    others = GLOBAL_CALLBACK_MAP
    if callback_map is GLOBAL_CALLBACK_MAP:
        try:
            others = dash.get_app().callback_map
        except dash.exceptions.DashException:
            # There is no app yet.
            others = {}
    token = _taken_ids.set((callback_map, others))
    try:
        return _insert_callback(callbacks, callback_map, *args, **kwargs)
    finally:
        _taken_ids.reset(token)


def _unique_callback_id(output: Any, inputs: Any, no_output: bool = False) -> str:
    if no_output and not inputs:
        return _id_of_line()
    name = _create_callback_id(output, inputs, no_output)
    outputs = output if isinstance(output, _LISTS) else (output,)
    if no_output or any(getattr(each, "allow_duplicate", False) for each in outputs):
        number = 1
        while _is_taken(name):
            number += 1
            # The hash of the Inputs is the part of the id that is free.
            name = _create_callback_id(output, [*inputs, f"#{number}"], no_output)
    return name


# A tuple made once: `list | tuple` makes a new object each time.
_LISTS = (list, tuple)


def _is_taken(name: str) -> bool:
    return any(name in taken for taken in _taken_ids.get())


def _id_of_line() -> str:
    """Return the hash of the first line outside of Dash and Flash, and a number if it is taken."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    site = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    number, name = 1, hashlib.sha256(site.encode()).hexdigest()
    while _is_taken(name):
        number += 1
        name = hashlib.sha256(f"{site}-{number}".encode()).hexdigest()
    return name


setattr(callback_module, "create_callback_id", _unique_callback_id)  # noqa: B010
setattr(callback_module, "insert_callback", _insert_with_unique_id)  # noqa: B010
