"""What Dash keeps for the whole process is put back after each test; and a real Redis."""

import copy
import importlib.util
import os
import signal
import socket
import subprocess
import time

import dash
import pytest

# Of this package's extras the one that is no part of the workspace's environment.
collect_ignore = (
    [] if importlib.util.find_spec("kaleido") else ["components/test_thumbnail_kaleido.py"]
)


@pytest.fixture(autouse=True)
def dashs_registries():
    kept = {name: copy.copy(value) for name, value in vars(dash.hooks).items() if name != "_ns"}
    kept["_ns"] = {kind: list(hooks) for kind, hooks in dash.hooks._ns.items()}
    yield
    vars(dash.hooks).update(kept)
    dash.page_registry.clear()


class RedisServer:
    """A real Redis on a port of its own, that can be stopped, frozen and started again."""

    def __init__(self, directory):
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            command, cwd=self._directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline, "Redis does not start"
            time.sleep(0.02)

    def freeze(self):
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self):
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path):
    server = RedisServer(tmp_path)
    yield server
    server.stop()
