"""One serving process: runs the app and its middleware on an event loop until it is stopped."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from flash.errors import ConfigurationError

from .drain import Drain, ShutdownWatchdog, StartupFailed
from .listener import Address
from .logs import AccessLog, configure_logs
from .proxy import RootPath, TrustedProxy
from .target import ASGIApp, Target, explain
from .watch import Alive, send_heartbeats

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator
    from multiprocessing.connection import Connection
    from types import FrameType, ModuleType

    from .options import ServeOptions

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Characters; pickled in UTF-8 they stay below 4096 bytes, which a pipe writes atomically.
MAX_SHARED_TEXT = 900


@dataclass(frozen=True, slots=True)
class Listening:
    """The report of a worker that accepts connections."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The report of a worker that could not serve: the text to print and the exit code."""

    text: str
    exit_code: int

    def shortened(self) -> Failed:
        """Keep the end of the text, so that several processes can write into one pipe unlocked."""
        return Failed(self.text[-MAX_SHARED_TEXT:], self.exit_code)


Report: TypeAlias = Listening | Failed | Alive

# Called on the server's loop with a thread-safe function that stops the server.
Until: TypeAlias = "Callable[[Callable[[], None]], None]"


def server_module(options: ServeOptions) -> ModuleType:
    """Import the adapter of the server; raises ConfigurationError if it is not installed."""
    if importlib.util.find_spec(options.server) is None:
        raise ConfigurationError(
            f"{options.server} is not installed: pip install flash-core[{options.server}]"
        )
    return importlib.import_module(f"flash.serving._{options.server}")


def wrap(
    app: ASGIApp, options: ServeOptions, *, on_startup: Callable[[str | None], None] | None = None
) -> Drain:
    """Wrap an app in the middleware that every server runs."""
    if options.access_log:
        app = AccessLog(app)
    if options.root_path:
        app = RootPath(app, root_path=options.root_path)
    if options.trusted_proxies:
        app = TrustedProxy(app, trusted=options.trusted_proxies)
    return Drain(app, grace_period=options.grace_period, on_startup=on_startup)


def serve_in_process(
    app: ASGIApp,
    where: socket.socket | Address,
    options: ServeOptions,
    *,
    listening: Callable[[], None],
    until: Until | None = None,
) -> None:
    """Serve in this process, on a new event loop, until a signal stops it.

    ``until`` is called on that loop with a thread-safe function that stops the server. Raises
    StartupFailed if the app's start-up fails.
    """
    watchdog = ShutdownWatchdog(options.grace_period)
    server = server_module(options)
    drain: Drain | None = None

    async def main() -> None:
        nonlocal drain
        loop = asyncio.get_running_loop()

        def stop() -> None:
            watchdog.start()
            loop.call_soon_threadsafe(begin)

        def on_startup(failure: str | None) -> None:
            if isinstance(where, Address) and failure is None:
                probes.append(loop.create_task(_call_when_accepting(where, listening)))

        probes: list[asyncio.Task[None]] = []
        drain = wrap(app, options, on_startup=on_startup)
        begin = drain.begin
        if until is not None:
            until(stop)
        try:
            with _on_signals(stop):
                if isinstance(where, Address):
                    await server.serve(drain, where, options, stop=drain.draining)
                else:
                    await server.serve(
                        drain, where, options, stop=drain.draining, listening=listening
                    )
        finally:
            drain.close()
            for probe in probes:
                probe.cancel()

    try:
        with asyncio.Runner(loop_factory=_loop_factory(options)) as runner:
            runner.run(main())
    except (Exception, SystemExit):
        # Each server raises its own error when the app's start-up fails.
        if drain is not None and drain.startup_failure is not None:
            raise StartupFailed(drain.startup_failure) from None
        raise
    finally:
        watchdog.served()


def run_worker(
    target: Target, sock: socket.socket, options: ServeOptions, parent: Connection
) -> None:
    """The main function of a worker process: serve, and report to the parent process.

    The worker stops when the parent's end of the pipe closes, so it never outlives its parent.
    """
    # Ctrl-C reaches the whole process group; the parent passes the signal on once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch_parent(stop: Callable[[], None]) -> None:
        def wait() -> None:
            try:
                parent.recv()
            except (EOFError, OSError):
                stop()

        threading.Thread(target=wait, name="flash-parent", daemon=True).start()

    def report_to_parent(report: Report) -> None:
        try:
            parent.send(report)
        except OSError:
            # The parent is gone; watch_parent ends this process.
            return

    try:
        app = target.load()
        configure_logs(options)
        send_heartbeats(parent.send)
        serve_in_process(
            app, sock, options, listening=lambda: report_to_parent(Listening()), until=watch_parent
        )
    except Exception as error:  # noqa: BLE001 — process boundary; the parent prints it
        text, code = explain(error)
        report_to_parent(Failed(text, code))
        sys.exit(code)


def load_for_granian(
    target: Target,
    address: Address,
    options: ServeOptions,
    pipe: Connection,
) -> ASGIApp:
    """Load the app in a granian worker, whose event loop exists but does not run yet."""
    for number in STOP_SIGNALS:
        # A forked worker inherits the parent's handlers, which would lose a signal at this point.
        signal.signal(number, signal.SIG_DFL)
    try:
        app = target.load()
        configure_logs(options)
    except Exception as error:  # noqa: BLE001 — process boundary; the parent prints it
        failure = Failed(*explain(error))
        pipe.send(failure.shortened())
        sys.exit(failure.exit_code)
    send_heartbeats(pipe.send)
    granian = server_module(options)
    end = granian.defer_shutdown()
    watchdog = ShutdownWatchdog(options.grace_period)
    tasks: list[asyncio.Task[None]] = []

    async def end_after_websockets() -> None:
        await granian.wait_for_websockets(drain)
        end()

    def on_startup(failure: str | None) -> None:
        if failure is not None:
            pipe.send(Failed(*explain(StartupFailed(failure))).shortened())
            return
        loop = asyncio.get_running_loop()

        def begin() -> None:
            if not drain.draining.is_set():
                tasks.append(loop.create_task(end_after_websockets()))
            drain.begin()

        def stop() -> None:
            watchdog.start()
            loop.call_soon_threadsafe(begin)

        for number in STOP_SIGNALS:
            signal.signal(number, _signal_handler(stop))
        tasks.append(
            loop.create_task(_call_when_accepting(address, lambda: pipe.send(Listening())))
        )

    drain = wrap(app, options, on_startup=on_startup)
    return drain


async def _call_when_accepting(address: Address, then: Callable[[], None]) -> None:
    """Call ``then`` as soon as a connection to the address is accepted."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    while True:
        try:
            if address.kind == "unix":
                _, writer = await asyncio.open_unix_connection(address.host)
            else:
                _, writer = await asyncio.open_connection(local, address.port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        then()
        return


def _loop_factory(options: ServeOptions) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory for uvicorn and granian, whose default it is, if installed."""
    if options.server == "hypercorn" or importlib.util.find_spec("uvloop") is None:
        return None
    return importlib.import_module("uvloop").new_event_loop


@contextmanager
def _on_signals(stop: Callable[[], None]) -> Generator[None]:
    """Call ``stop`` for each stop signal; does nothing outside the main thread.

    The handlers are set on the interpreter and not on the loop, so they run while it is blocked.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _signal_handler(stop))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_handler(stop: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: stop()
