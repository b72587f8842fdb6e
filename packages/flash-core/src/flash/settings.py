"""Checks of settings where they are given: the value, what is allowed, and the place in the app.

A wrong value that nobody checks fails later, elsewhere and in other words. Used by the public
functions and classes of all packages.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Code of these packages is not the place at which an app gives a setting.
PACKAGES = frozenset(
    (
        *("flash", "flash_ws", "flash_pubsub", "flash_lazy"),
        *("dash", "dash_extensions", "dataclasses", "functools"),
    )
)


class UnknownSetting(ConfigurationError, TypeError):
    """A keyword that no setting has; a `TypeError` as for any other function."""


# The rules below are tuples: a tuple is made with the module in a fifth of a dataclass's time.


class Rule(Protocol):
    """What the values of a setting may be."""

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""
        ...

    def __str__(self) -> str:
        """Return the allowed values in words, after "must be"."""
        ...


class Number(NamedTuple):
    """A finite number of at least ``least``, or above it if ``above``."""

    least: float = 0
    above: bool = False
    whole: bool = False
    unit: str = ""
    # Whether None is allowed.
    optional: bool = False
    most: float = math.inf

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""
        if value is None:
            return self.optional
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        if not math.isfinite(value) or value > self.most:
            return False
        return value > self.least if self.above else value >= self.least

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        unit = f" of {self.unit}" if self.unit else ""
        limit = f" above {self.least:g}" if self.above else f", {self.least:g} or more"
        most = f" and up to {self.most:g}" if math.isfinite(self.most) else ""
        return f"{kind}{unit}{limit}{most}{', or None' if self.optional else ''}"


class Choice(NamedTuple):
    """One of some values."""

    values: tuple[object, ...]

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""
        return any(
            value is each or (type(value) is type(each) and value == each) for each in self.values
        )

    def __str__(self) -> str:
        return " or ".join(repr(each) for each in self.values)


class Function(NamedTuple):
    """A function or another callable object, or one of ``others``."""

    others: tuple[object, ...] = (None,)

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""
        return callable(value) or Choice(self.others).allows(value)

    def __str__(self) -> str:
        return " or ".join(["a function", *(repr(each) for each in self.others)])


class Instance(NamedTuple):
    """An object of a class."""

    kind: type
    optional: bool = False

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""
        return isinstance(value, self.kind) or (self.optional and value is None)

    def __str__(self) -> str:
        return f"a {self.kind.__name__}{', or None' if self.optional else ''}"


FLAG = Choice((True, False))
# A number of things of which there must be one, or may be none.
SHARE = Number(above=True, most=1)
COUNT = Number(1, whole=True)
COUNT_OR_NONE = Number(1, whole=True, optional=True)
AMOUNT = Number(0, whole=True)
SECONDS = Number(0, above=True, unit="seconds")
SECONDS_OR_NONE = Number(0, above=True, unit="seconds", optional=True)
DURATION = Number(0, unit="seconds")
DURATION_OR_NONE = Number(0, unit="seconds", optional=True)


def check(**settings: tuple[object, Rule]) -> None:
    """Raise `ConfigurationError` for the first setting whose value its rule does not allow.

    The error names the setting, its value, what is allowed, and the line of the app's code.
    """
    for name, (value, rule) in settings.items():
        if not rule.allows(value):
            hint = ""
            if isinstance(value, str) and isinstance(rule, Choice | Function):
                allowed = rule.values if isinstance(rule, Choice) else rule.others
                hint = nearest(value, [each for each in allowed if isinstance(each, str)])
            raise ConfigurationError(f"{name}={value!r}: must be {rule}{hint}{here()}")


def check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise `UnknownSetting` for a name that is not among ``known``; suggests the nearest."""
    allowed = list(known)
    for name in given:
        if name not in allowed:
            raise UnknownSetting(
                f"{what} has no setting {name!r}"
                f"{nearest(name, allowed) or _listed(allowed)}{here()}"
            )


def check_spelling(given: Mapping[str, object], known: Iterable[str], what: str) -> None:
    """Raise `UnknownSetting` for a name that looks like a misspelt one of ``known``.

    Other names are left to whoever takes them, such as a plugin of Dash.
    """
    allowed = list(known)
    for name in given:
        if name not in allowed and (hint := nearest(name, allowed)):
            raise UnknownSetting(f"{what} has no setting {name!r}{hint}{here()}")


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean …?" for the allowed name that is most like ``name``, or ""."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.7)
    return f"; did you mean {found[0]!r}?" if found else ""


def _listed(allowed: list[str]) -> str:
    return f"; it has {', '.join(sorted(allowed))}"


def here() -> str:
    """Return " (file:line)" of the nearest caller outside of Flash and Dash, or ""."""
    frame = inspect.currentframe()
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in PACKAGES:
            return f" ({shown_path(frame.f_code.co_filename)}:{frame.f_lineno})"
        frame = frame.f_back
    return ""


def shown_path(path: str) -> str:
    """Return a file's path as users know it: relative if it is below the working directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
