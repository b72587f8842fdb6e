"""Reload: restarting the script when its code changes.

The process that the user started only watches files. It runs its own command line again in a child
process, which serves. When code changes, it stops the child and starts another one. If a child
fails, the watcher waits for the next change.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flash.errors import ConfigurationError

from .drain import CANCEL_DELAY, SHUTDOWN_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType

    from .options import ServeOptions

logger = logging.getLogger("flash.serving.reload")

# The environment variable of the child: the watcher's process id, a colon, and the path of the file
# to which the child writes the names of the source files that it has imported.
CHILD_VARIABLE = "FLASH_RELOAD_CHILD"

# Seconds in which a child's requests may finish before the next child starts.
CHILD_GRACE = 1.0

# Seconds between two scans of the files if watchfiles is not installed; a burst of changes is over
# when two scans give the same result.
POLL_INTERVAL = 0.5

# The number of files that are polled; files found after these are ignored.
MAX_POLLED_FILES = 10_000

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


def in_child() -> bool:
    """Whether this process is a child of a watcher and has to serve."""
    return CHILD_VARIABLE in os.environ


@dataclass(frozen=True, slots=True)
class WatchedFiles:
    """The watched files: Python files below ``code``, ``modules``, and all of ``extra``."""

    code: tuple[Path, ...]
    extra: tuple[Path, ...]
    # Source files that the app has imported, wherever they are.
    modules: frozenset[Path] = frozenset()

    def matches(self, path: Path) -> bool:
        """Whether a change of this file restarts the app."""
        if path in self.modules or path in self.extra:
            return True
        if any(path.is_relative_to(root) and _visible(path, root) for root in self.extra):
            return True
        return path.suffix == ".py" and any(
            path.is_relative_to(root) and _visible(path, root) for root in self.code
        )

    def files(self) -> Iterator[Path]:
        """Yield every existing file that is watched; skips hidden, installed and cached files."""
        yield from self.modules
        for root in (*self.extra, *self.code):
            if root.is_file():
                yield root
            for folder, folders, names in os.walk(root):
                folders[:] = [name for name in folders if _is_own(Path(folder, name))]
                for path in (Path(folder, name) for name in names):
                    if self.matches(path):
                        yield path

    def directories(self) -> frozenset[Path]:
        """The directories that contain all watched files; none of them is inside another."""
        places = {path if path.is_dir() else path.parent for path in (*self.extra, *self.modules)}
        places = {place for place in (*places, *self.code) if place.is_dir()}
        return frozenset(p for p in places if not any(q in places for q in p.parents))


def watch(paths: Iterable[str], *, pause: Callable[[float], None] = time.sleep) -> int:
    """Run this process's command line in a child process and restart it when code changes.

    Returns this process's exit code when a signal stops it, or when the child ends by itself
    without an error. Raises ConfigurationError if there is no command line to repeat.
    """
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules:
        raise ConfigurationError(
            "reload restarts a script, and this is an interactive session: pass use_reloader=False"
        )
    extra = tuple(Path(path).resolve() for path in paths)
    for path in extra:
        if not path.exists():
            raise ConfigurationError(f"cannot watch {str(path)!r}: no such file or directory")
    with tempfile.TemporaryDirectory(prefix="flash-") as directory:
        return _Watcher(_project_directory(), extra, Path(directory, "modules"), pause).run()


def report_modules() -> None:
    """Report the imported source files to the watcher, repeatedly, in a thread; for the child.

    Also ends this process when the watcher has ended.
    """
    # Read from the environment: the watcher may have been killed before this point.
    watcher, _, path = os.environ[CHILD_VARIABLE].partition(":")
    report = Path(path)

    def report_repeatedly() -> None:
        reported: set[str] = set()
        while True:
            if os.name == "posix" and os.getppid() != int(watcher):
                os.kill(os.getpid(), signal.SIGTERM)
                return
            imported = _imported()
            if imported != reported:
                reported = imported
                fresh = report.with_suffix(".new")
                try:
                    fresh.write_text("\n".join(sorted(imported)), encoding="utf-8")
                    fresh.replace(report)
                except OSError:
                    # The watcher has ended and removed its directory.
                    return
            time.sleep(POLL_INTERVAL)

    threading.Thread(target=report_repeatedly, name="flash-modules", daemon=True).start()


def child_options(options: ServeOptions) -> ServeOptions:
    """The options of a child, whose grace period is short so that the next one starts soon."""
    return dataclasses.replace(options, grace_period=min(options.grace_period, CHILD_GRACE))


class _Watcher:
    """The watching process: runs one child at a time, restarted once per burst of changes."""

    def __init__(
        self, project: Path, extra: tuple[Path, ...], report: Path, pause: Callable[[float], None]
    ) -> None:
        self._project_directory = project
        self._extra = extra
        self._report = report
        self._pause = pause
        # Set by a stop signal. Not an Event: the handler may run while a lock is being acquired.
        self._stopped = False

    def is_set(self) -> bool:
        """Whether to stop; watchfiles calls it under this name."""
        return self._stopped

    def run(self) -> int:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stopped = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        child: subprocess.Popen[bytes] | None = None
        changes = self._notified() if find_spec("watchfiles") is not None else self._polled()
        try:
            child = self._start()
            reported = False
            for changed in changes:
                if changed:
                    shown = ", ".join(sorted(_short(path) for path in changed)[:3])
                    logger.info("restarting: %s changed", shown)
                    _end(child)
                    child, reported = self._start(), False
                elif child.poll() == 0:
                    return 0
                elif child.poll() is not None and not reported:
                    reported = True
                    logger.error(
                        "the app ended with exit code %s; waiting for a change", child.poll()
                    )
            return 0
        finally:
            if child is not None:
                _end(child)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, CHILD_VARIABLE: f"{os.getpid()}:{self._report}"}
        return subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=environment)

    def _watched(self) -> WatchedFiles:
        try:
            lines = self._report.read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = sorted(_imported())
        modules = frozenset(Path(line) for line in lines)
        return WatchedFiles((self._project_directory,), self._extra, modules)

    def _polled(self) -> Iterator[frozenset[Path]]:
        """Yield the changed files, maybe none, every POLL_INTERVAL seconds until stopped."""
        seen = snapshot(self._watched().files())
        while not self._stopped:
            self._pause(POLL_INTERVAL)
            watched = self._watched()
            latest = snapshot(watched.files())
            changed = differences(seen, latest, watched.modules)
            while changed and not self._stopped:
                self._pause(POLL_INTERVAL)
                settled, latest = latest, snapshot(watched.files())
                if settled == latest:
                    break
                changed |= differences(settled, latest, watched.modules)
            seen = latest
            yield changed

    def _notified(self) -> Iterator[frozenset[Path]]:
        """Yield the same by watchfiles, which is notified by the operating system."""
        import watchfiles

        while not self._stopped:
            watched = self._watched()
            for batch in watchfiles.watch(
                *watched.directories(),
                watch_filter=lambda _change, path, watched=watched: watched.matches(Path(path)),
                debounce=int(POLL_INTERVAL * 1000),
                step=100,
                rust_timeout=int(POLL_INTERVAL * 1000),
                yield_on_timeout=True,
                stop_event=self,
                raise_interrupt=False,
            ):
                yield frozenset(Path(path) for _, path in batch)
                if self._watched().directories() != watched.directories():
                    break


def snapshot(files: Iterable[Path]) -> dict[Path, int]:
    """Return when each file was last written, in nanoseconds, for at most MAX_POLLED_FILES."""
    times: dict[Path, int] = {}
    for path in files:
        if len(times) >= MAX_POLLED_FILES:
            break
        try:
            times[path] = path.stat().st_mtime_ns
        except OSError:
            continue
    return times


def differences(
    before: Mapping[Path, int], after: Mapping[Path, int], modules: frozenset[Path]
) -> frozenset[Path]:
    """Return the files written, added or removed between two snapshots.

    A file that is new only because the app has imported it does not count.
    """
    return frozenset(
        path
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path) and (path in before or path not in modules)
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(CHILD_GRACE + CANCEL_DELAY + SHUTDOWN_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _project_directory() -> Path:
    """The directory of the script; the working directory if a command was started."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    if main is not None and Path(main).suffix == ".py" and _is_source(main):
        return Path(main).resolve().parent
    return Path.cwd()


def _imported() -> set[str]:
    """The source files of imported modules, without installed packages."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return {os.path.realpath(file) for file in files if isinstance(file, str) and _is_source(file)}


_INSTALLED = tuple(
    os.path.realpath(place) + os.sep
    for name, place in sysconfig.get_paths().items()
    if name in {"stdlib", "platstdlib", "purelib", "platlib"}
)


def _is_source(file: str) -> bool:
    real = os.path.realpath(file)
    return not real.startswith(_INSTALLED) and os.path.isfile(real)


def _visible(path: Path, root: Path) -> bool:
    inside = path.relative_to(root).parts
    return not any(part.startswith(".") or part in _SKIPPED for part in inside)


def _is_own(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _SKIPPED
    return not hidden and not (folder / "pyvenv.cfg").exists()


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
