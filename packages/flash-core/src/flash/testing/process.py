"""`AppProcess`: an app served in a separate process, for tests of servers and crashes."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flash.serving.listener import Address, reserved
from flash.serving.options import DEFAULT_SERVER
from flash.testing.errors import ServerDied, ServerStuck

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HOST = "127.0.0.1"
_POLL_INTERVAL = 0.05


class AppProcess:
    """Serves an app with ``flash run`` on a free local port; ``with`` starts and stops it.

    ``target`` is ``module:attribute`` or the path of a Python file, followed by ``:attribute`` if
    that is not ``app``; the directory of a file becomes the working directory. ``arguments`` are
    passed to ``flash run``. The server counts as started when a GET of ``ready_path`` gets any
    response. Starting and stopping may take ``timeout`` seconds each. The methods block; async
    tests may use them, too, because the app runs in another process.

    Without ``port`` it uses a free port. On Linux this port stays reserved while the object exists,
    also while the server is stopped.
    """

    def __init__(
        self,
        target: str | Path,
        *,
        server: str = DEFAULT_SERVER,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        arguments: Sequence[str] = (),
        port: int | None = None,
        ready_path: str = "/",
        timeout: float = 60.0,
    ) -> None:
        # The target as given.
        self.target = str(target)
        # The port; it stays the same after a restart.
        self.port = port or self._reserve()
        module, here = _import_target(self.target)
        self._cwd = Path(cwd) if cwd is not None else here
        self._command = [
            *(sys.executable, "-m", "flash.cli", "run", module),
            *("--bind", f"{_HOST}:{self.port}", "--server", server),
            *arguments,
        ]
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._ready_path = ready_path
        self._timeout = timeout
        descriptor, log = tempfile.mkstemp(prefix="flash-", suffix=".log")
        os.close(descriptor)
        self._log = Path(log)
        # The log file exists as long as this object, so the output can be read after the end.
        weakref.finalize(self, self._log.unlink, missing_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.terminate()

    @property
    def url(self) -> str:
        """The URL of the server, without a slash at the end."""
        return f"http://{_HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id; with several workers that of their supervisor."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the server runs, or its supervisor if it has several workers."""
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """The output of the processes so far, including those before a restart."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start the server and return when it responds.

        Raises `ServerDied` if it ends before that, and `ServerStuck` if it takes too long.
        """
        if self._process is not None:
            raise RuntimeError(f"{self.target} is already being served; call restart()")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A separate process group, so that all workers can be killed after the test.
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def restart(self) -> None:
        """Stop the server with SIGTERM if it runs, and start it again on the same port."""
        if self._process is not None:
            self.terminate()
        self.start()

    def terminate(self) -> None:
        """Stop the server with SIGTERM and wait until it has ended.

        Raises `ServerDied` if it had ended before or ends with an error, and `ServerStuck` if it
        does not end in time.
        """
        process = self._running()
        ended_before = process.poll() is not None
        if not ended_before:
            process.send_signal(signal.SIGTERM)
        try:
            exit_code = process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerStuck(self.target, "stop", self._timeout, self.output) from None
        self.kill()
        if ended_before or exit_code != 0:
            raise ServerDied(self.target, exit_code, self.output)

    def kill(self) -> None:
        """Kill the server and its workers with SIGKILL, as in a crash."""
        process = self._running()
        # The group no longer exists if all its processes have ended.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._process = None

    def _reserve(self) -> int:
        held = ExitStack()
        port = held.enter_context(reserved(Address("tcp", _HOST))).port
        if sys.platform == "linux":
            weakref.finalize(self, held.close)
        else:
            # On other systems the server could not bind a reserved port.
            held.close()
        return port

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.target} is not being served; call start()")
        return self._process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerDied(self.target, process.returncode, self.output)
            if self._is_ready(deadline - time.monotonic()):
                return
            time.sleep(_POLL_INTERVAL)
        raise ServerStuck(self.target, "answer", self._timeout, self.output)

    def _is_ready(self, seconds: float) -> bool:
        connection = http.client.HTTPConnection(
            _HOST, self.port, timeout=max(seconds, _POLL_INTERVAL)
        )
        try:
            connection.request("GET", self._ready_path)
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True


def _import_target(target: str) -> tuple[str, Path | None]:
    """Return the name to import, and the working directory if the target is a file."""
    name, colon, attribute = target.rpartition(":")
    file = Path(name if colon and name.endswith(".py") else target)
    if file.suffix != ".py":
        return target, None
    return f"{file.stem}:{attribute if name.endswith('.py') else 'app'}", file.resolve().parent
