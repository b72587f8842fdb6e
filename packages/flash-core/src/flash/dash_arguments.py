"""The arguments of `dash.Dash` and its callbacks: their values, and which the Dash here knows.

`Flash` lists the arguments of the newest Dash that it allows. An older Dash is given only those
that it knows.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dash

from flash.errors import ConfigurationError
from flash.seams.dash_app import StockDash
from flash.seams.shared_storage import shared_storage_interface
from flash.settings import COUNT_OR_NONE, Choice, Number, Rule, UnknownSetting, check, here

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping


class _DashDefault:
    """The default of an argument whose default only Dash knows."""

    def __repr__(self) -> str:
        return "<the default of Dash>"


# The default of ``shared_storage``: Dash reads ``DASH_SHARED_STORAGE`` then, but not with None.
DASH_DEFAULT = _DashDefault()

# What the Dash that is installed knows, with its defaults.
_KNOWN = {
    name: parameter.default
    for name, parameter in inspect.signature(StockDash.__init__).parameters.items()
}

# The first version of Dash with an argument, of the app or of a callback. Those that are missing
# here are in every Dash that Flash allows.
_SINCE = dict.fromkeys(
    (
        *("compress_payload", "compress_threshold", "image", "shared_storage"),
        *("stream_keepalive_interval", "stream_poll_interval"),
    ),
    "4.5",
)


@dataclass(frozen=True, slots=True)
class _SharedStorage:
    """A storage of Dash's interface, a class or a `functools.partial` that makes one, or None."""

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""
        interface = shared_storage_interface()
        if value is None or value is DASH_DEFAULT or isinstance(value, partial):
            return True
        if interface is None:
            return False
        if isinstance(value, type):
            return issubclass(value, interface.storage)
        return isinstance(value, interface.storage)

    def __str__(self) -> str:
        return "a dash.BaseSharedStorage, a class of it, or None"


# What values of Dash's arguments may be; Dash does not check them.
_FLAG = Choice((True, False, None, 1, 0))
_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("add_log_handler", "eager_loading", "include_assets_files", "include_pages_meta"),
            *("serve_locally", "show_undo_redo"),
        ),
        _FLAG,
    ),
    "shared_storage": _SharedStorage(),
    "stream_keepalive_interval": Number(0, optional=True, unit="milliseconds"),
    "websocket_batch_delay": Number(0, optional=True, unit="seconds"),
    "websocket_heartbeat_interval": Number(0, optional=True, unit="milliseconds"),
    "websocket_inactivity_timeout": Number(0, optional=True, unit="milliseconds"),
    "websocket_max_workers": COUNT_OR_NONE,
}


def refuse_later(given: Iterable[str], known: Container[str]) -> None:
    """Raise `UnknownSetting` for an argument that came with a later Dash than the one installed.

    ``known`` has the names that the installed Dash knows.
    """
    for name in given:
        if name in _SINCE and name not in known:
            raise UnknownSetting(
                f"{name}=… needs Dash {_SINCE[name]} or later, and this is Dash "
                f"{dash.__version__}: leave it out, or pip install 'dash>={_SINCE[name]}'{here()}"
            )


def given_for_dash(arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for `dash.Dash`: those that differ from their defaults.

    ``arguments`` has at least the names of ``defaults``. Raises `UnknownSetting` for an argument
    that came with a later Dash than the one installed, and `ConfigurationError` for a value that is
    not allowed or has no effect under Flash.
    """
    given = {
        name: value
        for name, default in defaults.items()
        if (value := arguments[name]) is not default
        and value != default
        and value is not _KNOWN.get(name, default)
    }
    refuse_later(given, _KNOWN)
    check(**{name: (value, _RULES[name]) for name, value in given.items() if name in _RULES})
    if "stream_poll_interval" in given:
        raise ConfigurationError(
            f"stream_poll_interval={given['stream_poll_interval']!r}: has no effect, since a page "
            "of Flash does not poll for what callbacks stream. It keeps one connection open, as "
            f"with every ASGI backend of Dash: leave the argument out{here()}"
        )
    return given
