"""Redis servers for the tests of all packages: one alone, a cluster, and one behind sentinels.

Tests import the classes from here; a conftest that imports the fixtures offers them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress

import pytest
import redis

SECONDS = 30

_given_ports = set()


def free_port():
    """Return a port of 127.0.0.1 that nobody listens to, below those that systems hand out."""
    while True:
        port = 11_000 + secrets.randbelow(21_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given_ports:
                _given_ports.add(port)
                return port


def wait_for(condition, *, seconds=SECONDS):
    """Wait, outside of any loop, until a function returns something true; returns that."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(redis.RedisError):
            if result := condition():
                return result
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# Servers that speak as Redis does, where they are installed.
PROGRAMS = [name for name in ("redis-server", "valkey-server") if shutil.which(name)]


class RedisServer:
    """A redis-server of the test's own on a free port, or another ``program`` that is like it."""

    def __init__(self, directory, *options, name="redis", program="redis-server"):
        self.directory = directory
        self.port = free_port()
        self.options = options
        self.name = name
        self.program = program
        self.password = None
        self.process = None

    def __enter__(self):
        with ExitStack() as started:
            started.callback(self.kill)
            self.start()
            started.pop_all()
        return self

    def __exit__(self, *error):
        self.kill()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        command = [self.program, "--port", self.port, "--bind", "127.0.0.1", "--save", ""]
        # By default Redis may hold back what it writes for two seconds while it syncs: a killed
        # server would lose what it has acknowledged. Without syncs the kernel has it at once.
        command += ["--appendfsync", "no", "--dir", self.directory, *self.options]
        with open(self.directory / f"{self.name}-{self.port}.log", "ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
        with self.client() as client:
            wait_for(lambda: self.process.poll() is not None or client.ping())
        assert self.process.poll() is None, f"{self.name} did not start; see {log.name}"

    def client(self, **options):
        return redis.Redis(port=self.port, password=self.password, **options)

    def flush(self):
        with self.client() as client:
            client.flushall()

    def empty(self):
        """Restart it without what it had."""
        self.kill()
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        self.start()

    def stop(self):
        """End it as an administrator does."""
        self.process.terminate()
        self.process.wait()

    def restart(self):
        self.stop()
        self.start()

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def signal(self, number):
        os.kill(self.process.pid, number)


class RedisCluster:
    """Three nodes with a third of the slots each."""

    def __init__(self, directory):
        self.nodes = []
        for number in range(3):
            own = directory / str(number)
            own.mkdir()
            self.nodes.append(
                RedisServer(
                    own,
                    *("--cluster-enabled", "yes", "--cluster-port", free_port()),
                    *("--cluster-node-timeout", 1000, "--cluster-require-full-coverage", "no"),
                )
            )

    @property
    def url(self):
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    def __enter__(self):
        with ExitStack() as started:
            started.callback(self.__exit__)
            self._start()
            started.pop_all()
        return self

    def _start(self):
        for node in self.nodes:
            node.start()
        bounds = [0, 5461, 10923, 16384]
        for node, first, after in zip(self.nodes, bounds, bounds[1:], strict=False):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
                for other in self.nodes:
                    bus = other.options[other.options.index("--cluster-port") + 1]
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        for node in self.nodes:
            with node.client() as client:
                wait_for(lambda client=client: self._is_complete(client))

    def __exit__(self, *error):
        for node in self.nodes:
            node.kill()

    def _is_complete(self, client):
        info = client.execute_command("CLUSTER", "INFO")
        slots = client.execute_command("CLUSTER", "SLOTS")
        return b"cluster_state:ok" in info and len(slots) == 3

    def flush(self):
        for node in self.nodes:
            node.flush()


class RedisSentinel:
    """A master, a replica and three sentinels that make it master within a second or two."""

    SERVICE = "mymaster"

    def __init__(self, directory):
        self.directory = directory
        # A replica that comes is served at once.
        options = ("--repl-diskless-sync-delay", 0)
        self.servers = [RedisServer(directory, *options, name="server") for _ in range(2)]
        self.sentinels = []

    @property
    def url(self):
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.SERVICE}/0"

    def __enter__(self):
        with ExitStack() as started:
            started.callback(self.__exit__)
            self._start()
            started.pop_all()
        return self

    def _start(self):
        master, replica = self.servers
        master.start()
        replica.options += ("--replicaof", "127.0.0.1", master.port)
        replica.start()
        with replica.client() as client:
            wait_for(lambda: client.info("replication")["master_link_status"] == "up")
        for number in range(3):
            own = self.directory / f"sentinel{number}"
            own.mkdir()
            config = own / "sentinel.conf"
            config.write_text(
                f"sentinel monitor {self.SERVICE} 127.0.0.1 {master.port} 2\n"
                f"sentinel down-after-milliseconds {self.SERVICE} 700\n"
                f"sentinel failover-timeout {self.SERVICE} 3000\n"
            )
            sentinel = RedisServer(own, name="sentinel")
            sentinel.process = self._start_sentinel(sentinel, config)
            self.sentinels.append(sentinel)
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                wait_for(lambda client=client: self._is_complete(client))

    def _start_sentinel(self, sentinel, config):
        command = ["redis-server", str(config), "--sentinel", "--port", str(sentinel.port)]
        with open(sentinel.directory / "log", "ab") as log:
            return subprocess.Popen(
                [*command, "--bind", "127.0.0.1"], cwd=sentinel.directory, stdout=log, stderr=log
            )

    def __exit__(self, *error):
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def _is_complete(self, client):
        state = client.info("sentinel")["master0"]
        return (state["status"], state["slaves"], state["sentinels"]) == ("ok", 1, 3)

    @property
    def master(self):
        """The server that is master now."""
        with self.sentinels[0].client() as client:
            address = client.info("sentinel")["master0"]["address"]
        return next(server for server in self.servers if address == f"127.0.0.1:{server.port}")

    def flush(self):
        self.master.flush()


def _started(server):
    if shutil.which("redis-server") is None:
        pytest.fail("redis-server is not installed: make system brings it")
    with server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    yield from _started(RedisServer(tmp_path_factory.mktemp("redis")))


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory):
    yield from _started(RedisCluster(tmp_path_factory.mktemp("cluster")))


@pytest.fixture(scope="session")
def redis_sentinel(tmp_path_factory):
    yield from _started(RedisSentinel(tmp_path_factory.mktemp("sentinel")))


@pytest.fixture
def own_redis(tmp_path):
    """A server that one test may stop, freeze and start again."""
    yield from _started(RedisServer(tmp_path))
