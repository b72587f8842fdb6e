"""`ServeOptions`: the settings of ``flash run`` and of ``Flash.run``."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from flash.errors import ConfigurationError

from .listener import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

ServerName: TypeAlias = Literal["hypercorn", "uvicorn", "granian"]
LogLevel: TypeAlias = Literal["critical", "error", "warning", "info", "debug"]

DEFAULT_SERVER: ServerName = "uvicorn"
SERVERS: tuple[str, ...] = get_args(ServerName)
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How an app is served; the defaults are for production."""

    # Where to listen: host:port, unix:/path or fd://number (an inherited socket).
    bind: str = "127.0.0.1:8050"
    # The number of worker processes; each has its own copy of the app.
    workers: int = 1
    # The HTTP server: uvicorn, which needs the least time for a request, or hypercorn, which speaks
    # HTTP/2, or granian, which has to be installed.
    server: ServerName = DEFAULT_SERVER
    # Restart when code changes; for development, with one worker.
    reload: bool = False
    # Further files and directories; a change in them restarts, too.
    reload_paths: tuple[str, ...] = ()
    # The level of Flash's and the server's logs; None means FLASH_LOG_LEVEL, else "info".
    log_level: LogLevel | None = None
    # Whether to log one line per request to the logger "flash.access".
    access_log: bool = False
    # Seconds in which running requests may finish after the stop signal.
    grace_period: float = 10.0
    # PEM files of the TLS certificate (chain) and key; both or neither.
    certfile: str | None = None
    keyfile: str | None = None
    # The path under which a proxy serves the app, such as /sales; ASGI's root_path.
    root_path: str = ""
    # Addresses or networks of proxies whose X-Forwarded-For and -Proto are used; "*" means all.
    trusted_proxies: tuple[str, ...] = ()
    # The path in the printed address; it changes nothing else.
    shown_path: str = "/"
    # Whether each process calls `flash.install` before it imports the app.
    install: bool = False

    def __post_init__(self) -> None:
        Address.parse(self.bind)
        if self.server not in SERVERS:
            raise ConfigurationError(f"unknown server {self.server!r}: choose {_or(SERVERS)}")
        if self.log_level is not None and self.log_level not in LOG_LEVELS:
            raise ConfigurationError(
                f"unknown log level {self.log_level!r}: choose {_or(LOG_LEVELS)}"
            )
        if self.workers < 1:
            raise ConfigurationError(f"workers={self.workers}: give 1 or more")
        if self.grace_period < 0:
            raise ConfigurationError(f"grace_period={self.grace_period}: give 0 or more seconds")
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigurationError(
                f"TLS needs both certfile and keyfile: certfile={self.certfile!r}, "
                f"keyfile={self.keyfile!r}"
            )
        for path in (self.certfile, self.keyfile):
            if path is not None and not os.path.isfile(path):
                raise ConfigurationError(f"no such file: {path!r}")
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise ConfigurationError(
                f"root_path={self.root_path!r}: it must begin with a slash and end without one"
            )
        if self.reload and self.workers > 1:
            raise ConfigurationError(
                "reload works with one worker only: drop workers= (--workers) or reload (--reload)"
            )


# Settings of Flask's development server that have no effect here, with their accepted values. Flash
# is always concurrent and shows Dash's error page.
_WITHOUT_EFFECT: dict[str, tuple[object, ...]] = {
    "threaded": (True, None),
    "processes": (1, None),
    "use_debugger": (True, False, None),
    "use_evalex": (True, False, None),
    "reloader_type": ("auto", None),
}

_REMEDIES = {
    "threaded": "requests are served concurrently; Flash(max_threads=1) runs plain callbacks one "
    "at a time",
    "processes": "for several processes use: flash run module:app --workers N",
    "reloader_type": "watchfiles is used if it is installed, else polling",
}

_OWN = frozenset(field.name for field in dataclasses.fields(ServeOptions)) - {"bind", "install"}


def options_from_run(host: str, port: int, debug: bool, **flask_run_options: Any) -> ServeOptions:
    """Convert the arguments of ``app.run`` to ServeOptions.

    It accepts the fields of ServeOptions, and of Flask's arguments ``use_reloader``,
    ``extra_files`` and ``ssl_context=(certificate, key)``. Raises ConfigurationError, with the
    remedy, for arguments without an equivalent. ``debug`` turns on reload and the access log
    unless they are set.
    """
    given = dict(flask_run_options)
    settings: dict[str, Any] = {"reload": debug, "access_log": debug}
    if (use_reloader := given.pop("use_reloader", None)) is not None:
        settings["reload"] = bool(use_reloader)
    extra_files = _paths(given.pop("extra_files", None)) + _paths(given.pop("reload_paths", None))
    if (pair := given.pop("ssl_context", None)) is not None:
        settings["certfile"], settings["keyfile"] = _certificate(pair)
    for name, value in given.items():
        if name in _OWN:
            settings[name] = tuple(cast("Iterable[str]", value)) if _is_list(value) else value
        elif name not in _WITHOUT_EFFECT:
            raise ConfigurationError(
                f"app.run() has no argument {name}=; it takes Dash's arguments and "
                f"{', '.join(sorted(_OWN | {'extra_files', 'ssl_context', 'use_reloader'}))}"
            )
        elif value not in _WITHOUT_EFFECT[name]:
            remedy = _REMEDIES.get(name, "leave it out")
            raise ConfigurationError(f"app.run({name}={value!r}) is not possible: {remedy}")
    shown = f"[{host}]" if ":" in host else host
    return ServeOptions(bind=f"{shown}:{port}", reload_paths=extra_files, **settings)


def _certificate(value: object) -> tuple[str, str]:
    if isinstance(value, tuple | list):
        pair = cast("tuple[object, ...] | list[object]", value)
        if len(pair) == 2:
            first, second = pair
            if isinstance(first, str | os.PathLike) and isinstance(second, str | os.PathLike):
                return str(cast("object", first)), str(cast("object", second))
    raise ConfigurationError(
        f"ssl_context={value!r} is not possible: pass two PEM files, ssl_context=(cert, key)"
    )


def _paths(value: Iterable[str | os.PathLike[str]] | str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(os.fspath(path) for path in value)


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset)


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
