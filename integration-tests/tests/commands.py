"""Servers that are started by their own command lines."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

APPS = Path(__file__).parents[1] / "apps"
PATIENCE = 60


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Command:
    """A server, started by a command of this environment, in the folder of its app.

    ``{port}`` in an argument is a free port.
    """

    def __init__(self, folder, command, *, log, ready="/", **environment):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._arguments = [part.format(port=self.port) for part in command.split()]
        self._program = Path(sys.executable).parent / self._arguments.pop(0)
        self._folder = APPS / folder
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._ready = ready

    @property
    def output(self):
        return self._log.read_text()

    def __enter__(self):
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, *self._arguments],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urlopen(self.url + self._ready, timeout=PATIENCE):
                    return self
            except ConnectionError:
                pass
            except OSError as error:
                if not isinstance(getattr(error, "reason", None), ConnectionError):
                    self.kill()
                    raise AssertionError(f"{error!r}: {self.output}") from error
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"it does not answer: {self.output}")

    def stop(self, number=signal.SIGTERM):
        """Stop it as its supervisor would; returns its exit code."""
        self._process.send_signal(number)
        return self._process.wait(PATIENCE)

    def kill(self):
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __exit__(self, *_):
        self.kill()
