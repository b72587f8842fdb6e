"""The application to serve: an ASGI application, or a ``module:attribute`` text naming one."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from flash.errors import ConfigurationError, FlashError
from flash.importing import importing_for_a_command

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# The exit codes of a process that could not serve: for wrong usage, and for a failing app.
USAGE_EXIT = 2
FAILURE_EXIT = 1

_TARGET = re.compile(
    # A module is named as its file is, and may have a hyphen or begin with a digit.
    r"(?P<module>\w[\w-]*(\.\w[\w-]*)*)"
    r"(:(?P<attribute>[^\W\d]\w*(\.[^\W\d]\w*)*)(?P<call>\(\))?)?"
)


@dataclass(frozen=True, slots=True)
class Target:
    """The location of an application: ``module:attribute``, ``module:a.b`` or ``module:make()``."""

    # The module to import, dotted.
    module: str
    # The attribute inside it, dotted.
    attribute: str
    # Whether the attribute is a function without arguments that returns the application.
    factory: bool
    # Whether `dash.Dash` is Flash when the module is imported, see `flash.install`.
    install: bool = False

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}" + ("()" if self.factory else "")

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``module``, ``module:attribute`` or ``module:factory()``.

        The default attribute is ``app``. Raises ConfigurationError for any other text.
        """
        match = _TARGET.fullmatch(text)
        if match is None or text.endswith(".py"):
            raise ConfigurationError(
                f"cannot serve {text!r}: give a module and an attribute of it, "
                "such as app:app, pkg.web:app.server or app:create_app()"
            )
        return cls(match["module"], match["attribute"] or "app", match["call"] is not None)

    def load(self) -> ASGIApp:
        """Import the module and return the application.

        Raises ConfigurationError if there is no such module, attribute or application. Errors that
        the module raises during its import are not changed.
        """
        return check_application(self.find(), str(self))

    def find(self) -> object:
        """Import the module and return what the target names, of whatever kind; see `load`."""
        with importing_for_a_command():
            return self._find()

    def _find(self) -> object:
        if self.install:
            # By name, since this room is below the app's.
            importlib.import_module("flash").install()
        found: Any = self._import()
        path = self.module
        for name in self.attribute.split("."):
            try:
                found = getattr(found, name)
            except AttributeError:
                raise ConfigurationError(
                    f"cannot serve {str(self)!r}: {path} has no attribute {name!r}"
                ) from None
            path += f".{name}"
        if self.factory:
            if not callable(found):
                raise ConfigurationError(
                    f"cannot serve {str(self)!r}: {path} cannot be called; drop the ()"
                )
            found = found()
        return found

    def _import(self) -> object:
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name is None or _user_frames(error) is not None:
                raise
            raise ConfigurationError(
                f"cannot serve {str(self)!r}: no module named {error.name!r} here or on sys.path"
            ) from None


def check_application(found: object, name: str) -> ASGIApp:
    """Return ``found`` if it is an ASGI application; else raise ConfigurationError."""
    if not callable(found):
        reason = f"a {type(found).__name__} is not an ASGI application"
    elif _accepts(found, 3):
        inner = getattr(found, "server", None)
        if not callable(inner) or _accepts(inner, 3) or not _accepts(inner, 2):
            return cast("ASGIApp", found)
        reason = "it runs on a WSGI server; import its class from flash (from flash import Flash)"
    elif _accepts(found, 2):
        reason = "it is a WSGI application; Flash serves ASGI applications"
    elif _accepts(found, 0):
        reason = f"it is a function without arguments; if it makes the application, write {name}()"
    else:
        reason = "it does not take (scope, receive, send), so it is not an ASGI application"
    raise ConfigurationError(f"cannot serve {name!r}: {reason}")


def import_from_here() -> None:
    """Make modules of the working directory importable, as ``python -m`` does."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def explain(error: BaseException) -> tuple[str, int]:
    """Return the text to print for an error that prevented serving, and the exit code.

    An error of Flash becomes one line. An error in user code becomes its traceback, without the
    frames of the importing code.
    """
    if isinstance(error, ConfigurationError):
        return f"flash: {error}\n", USAGE_EXIT
    if isinstance(error, FlashError):
        return f"flash: {error}\n", FAILURE_EXIT
    frames = _user_frames(error)
    if frames is None and not isinstance(error, SyntaxError):
        frames = error.__traceback__
    lines = traceback.format_exception(type(error), error, frames)
    return "".join(lines), FAILURE_EXIT


def _user_frames(error: BaseException) -> Any:
    """The traceback from the imported module on; None if no frame of it is in the traceback."""
    frame = error.__traceback__
    while frame is not None:
        filename = frame.tb_frame.f_code.co_filename
        if not filename.startswith(_IMPORTERS):
            return frame
        frame = frame.tb_next
    return None


# The paths of the frames between the command line and the imported module.
_FLASH = os.path.dirname(os.path.dirname(__file__)) + os.sep
_IMPORTERS = (_FLASH, importlib.__file__, "<frozen importlib")


def _accepts(function: Callable[..., object], count: int) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
