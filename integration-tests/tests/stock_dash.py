"""A Dash app on the server that Dash brings, for tests that compare Flash with it."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flash.serving.listener import Address, reserved

# For a start on a busy machine.
SECONDS = 60


@contextmanager
def stock_dash(folder: Path) -> Iterator[str]:
    """Run ``app`` of ``app.py`` in a folder; gives its address."""
    with reserved(Address("tcp", "127.0.0.1")) as free, (folder / "log").open("wb") as log:
        command = f"from app import app; app.run(port={free.port})"
        process = subprocess.Popen(
            [sys.executable, "-c", command], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + SECONDS
            while not listens(free.port):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "Dash does not listen"
                time.sleep(0.05)
            yield free.url(tls=False, path="")
        finally:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
