"""Serving an app with hypercorn, uvicorn or granian, with the same behaviour on all three.

In come an app, or the name of one, and `ServeOptions`; `serve` returns when serving has ended.
Called by `Flash.run` and by the command ``flash run``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import secrets
import sys
import threading
from functools import partial

from flash.errors import ConfigurationError, FlashError
from flash.workers import KEY_VARIABLE

from . import reload
from .listener import Address, bound, reserved
from .logs import configure_logs, requested_level
from .options import DEFAULT_SERVER
from .options import ServeOptions as ServeOptions
from .options import options_from_run as options_from_run
from .supervisor import Supervisor
from .target import ASGIApp, Target, check_application, import_from_here
from .worker import (
    Failed,
    Listening,
    Until,
    load_for_granian,
    serve_in_process,
    server_module,
)

__all__ = ["ServeOptions", "ServingFailed", "options_from_run", "serve"]


# The environment variable that tells each worker process how many workers there are.
WORKERS_VARIABLE = "FLASH_WORKERS"


class ServingFailed(FlashError):
    """No worker process could serve; ``text`` is the first one's error message, ready to print."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text, exit_code)
        self.text = text
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.text


def serve(
    target: str | ASGIApp,
    options: ServeOptions | None = None,
    *,
    until: Until | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; blocks.

    ``target`` is an ASGI application, or its name: ``module:attribute`` or ``module:factory()``.
    Several workers need a name.

    On the signal the server stops accepting connections. Running requests have
    ``options.grace_period`` seconds to finish, then they are cancelled, and the call returns.

    With ``options.reload`` this process only watches the code and does not return. A child process
    runs the same command line, calls this function again and serves.

    If this process serves an application object, ``until`` is called on the server's loop with a
    thread-safe function that stops the server.

    Raises ConfigurationError for a target, address or option that cannot be served, StartupFailed
    if the app's start-up fails, and ServingFailed if every worker process failed.
    """
    options = options or ServeOptions()
    options = dataclasses.replace(options, log_level=requested_level(options))
    server_module(options)
    address = Address.parse(options.bind)
    found: Target | ASGIApp
    if isinstance(target, str):
        found = dataclasses.replace(Target.parse(target), install=options.install)
        import_from_here()
    else:
        found = check_application(target, type(target).__name__)
        if options.workers > 1:
            raise ConfigurationError(
                "each of several workers imports the app, so give its name: "
                f"flash run module:app --workers {options.workers}"
            )
    if options.reload:
        if not reload.in_child():
            configure_logs(options)
            sys.exit(reload.watch(options.reload_paths))
        reload.report_modules()
        options = reload.child_options(options)

    os.environ[WORKERS_VARIABLE] = str(options.workers)
    # Of this run: all its workers inherit it, also those that replace others.
    os.environ.pop(KEY_VARIABLE, None)
    if options.workers > 1:
        os.environ[KEY_VARIABLE] = secrets.token_hex(32)
    if not isinstance(found, Target):
        _serve_object(found, address, options, until)
    elif options.workers == 1 and options.server != "granian":
        _serve_object(found.load(), address, options, until)
    elif threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            "worker processes can be started from the main thread only; call serve() there"
        )
    elif options.server == "granian":
        _serve_by_granian(found, address, options)
    else:
        _serve_by_workers(found, address, options)


def _serve_object(
    app: ASGIApp, address: Address, options: ServeOptions, until: Until | None
) -> None:
    configure_logs(options)
    if options.server == "granian":
        with reserved(address) as free:
            serve_in_process(
                app, free, options, listening=partial(_announce, free, options), until=until
            )
        return
    with bound(address) as (sock, real):
        serve_in_process(
            app, sock, options, listening=partial(_announce, real, options), until=until
        )


def _serve_by_workers(target: Target, address: Address, options: ServeOptions) -> None:
    configure_logs(options)
    with bound(address) as (sock, real):
        supervisor = Supervisor(target, sock, options, listening=partial(_announce, real, options))
        _raise(supervisor.run())


def _serve_by_granian(target: Target, address: Address, options: ServeOptions) -> None:
    configure_logs(options)
    listening = 0
    failure: Failed | None = None
    with reserved(address) as free:

        def report(message: Listening | Failed) -> bool:
            nonlocal listening, failure
            if isinstance(message, Listening):
                listening += 1
                if listening == options.workers:
                    _announce(free, options)
            elif listening == 0:
                failure = message
            return failure is None

        try:
            server_module(options).serve_workers(
                partial(load_for_granian, target, free, options), free, options, report=report
            )
        except SystemExit as stopped:
            # Granian exits this way when its workers died; a report of ours gives the reason.
            failure = failure or Failed("flash: the workers died\n", int(stopped.code or 1))
    _raise(failure)


def _raise(failure: Failed | None) -> None:
    if failure is not None:
        raise ServingFailed(failure.text, failure.exit_code)


def _announce(address: Address, options: ServeOptions) -> None:
    url = address.url(tls=options.certfile is not None, path=options.shown_path)
    count = "1 worker" if options.workers == 1 else f"{options.workers} workers"
    print(f"Flash is running on {url} ({options.server}, {count}): {_why(options)}", flush=True)


def _why(options: ServeOptions) -> str:
    """Return why this server serves, what makes it fast, and which limit it lacks."""
    if options.server != DEFAULT_SERVER:
        chosen = f"chosen by server={options.server!r}"
        # What an operator must know, since granian has no setting for it.
        limit = "; granian holds up to 16 MiB of each unfinished WebSocket frame in memory"
        return chosen + limit if options.server == "granian" else chosen
    found = [name for name in ("httptools", "uvloop") if importlib.util.find_spec(name)]
    return f"the default, with {' and '.join(found)}" if found else "the default, in pure Python"
