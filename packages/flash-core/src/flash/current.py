"""The current app: that of the running call, or of the code that is being imported."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from flash.errors import ConfigurationError
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from flash.seams.dash_app import DashApp

# Every app of the process with the name of the module that made it, in the order of making.
_apps: WeakKeyDictionary[DashApp, str] = WeakKeyDictionary()

# Code of these packages stands between an app's code and this module.
_LIBRARIES = frozenset(
    ("flash", "flash_ws", "flash_pubsub", "flash_lazy", "dash", "dash_extensions", "importlib")
)


class NoCurrentApp(ConfigurationError):
    """There is no current app, or it is not known which of several is meant."""


def note_app(app: DashApp) -> None:
    """Make ``app`` the current one for the code that follows; its constructor calls this."""
    caller = next(_user_frames(), None)
    _apps[app] = "" if caller is None else _module_of(caller)
    # Not Dash's own variable, which an app of stock Dash beside this one would inherit.
    dash_seam.made_app.set(ref(app))


def current_app() -> DashApp:
    """Return the app whose callback, handler or set-up is running.

    In a thread that the app itself has started, it is the only app of the process. Raises
    `NoCurrentApp`.
    """
    made = dash_seam.made_app.get()
    app = made() if made is not None else None
    app = app or dash_seam.app_context.get(None)
    if app is not None:
        return app
    serving = [each for each in _apps if getattr(each, "is_serving", False)]
    if len(serving) > 1:
        raise NoCurrentApp(
            f"this thread belongs to none of the {len(serving)} apps of the process: run the "
            "function in the context of one, contextvars.copy_context().run(…), or use the objects "
            "of one app: live = Live(app)"
        )
    known = serving or list(_apps)
    if not known:
        raise NoCurrentApp("there is no app yet: make it first, app = Flash(__name__)")
    return known[-1]


def declaring_app() -> DashApp | None:
    """Return the app to which the calling code adds something; None before the app is made.

    A module that is being imported adds to the app whose module imports it, or is it. A function
    adds to the current app.
    """
    frames = list(_user_frames())
    if not _is_import(frames):
        try:
            return current_app()
        except NoCurrentApp:
            return None
    importing = {_module_of(frame) for frame in frames}
    return next((app for app in reversed(list(_apps)) if _apps[app] in importing), None)


def is_importing() -> bool:
    """Tell whether the calling code is a module that is being imported, and not a function."""
    return _is_import(list(_user_frames()))


def _is_import(frames: Sequence[FrameType]) -> bool:
    return bool(frames) and frames[0].f_code.co_name == "<module>"


def modules_of_apps() -> dict[DashApp, str]:
    """Return every app of the process with the name of the module that made it."""
    return dict(_apps)


def importing_module() -> str:
    """Return the name of the module whose code is running, outside of Flash and Dash."""
    caller = next(_user_frames(), None)
    return "" if caller is None else _module_of(caller)


def _user_frames() -> Iterator[FrameType]:
    """Yield the frames of the app's code, the innermost first."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        if _module_of(frame).partition(".")[0] not in _LIBRARIES:
            yield frame
        frame = frame.f_back


def _module_of(frame: FrameType) -> str:
    name: Any = frame.f_globals.get("__name__", "")
    return str(name)
