"""nginx servers for the tests of all packages, each in front of one app.

Tests import the class from here; a conftest that imports the fixture offers it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack

import pytest
from redis_servers import free_port

SECONDS = 30

# The directory of Debian's nginx is not in every user's PATH.
PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {http}
}}
"""

SERVER = """
server {{
    listen 127.0.0.1:{port};
    {server}
}}
"""

# As nginx's own documentation writes it for WebSockets.
UPGRADE = """
proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection "upgrade";
"""


class NginxServer:
    """An nginx of the test's own on a free port of 127.0.0.1.

    ``server`` is the inside of its ``server {}``; ``http`` goes before it. Without ``server`` the
    whole is in ``http``, with PORT in place of the port. ``with`` starts and stops it.
    """

    def __init__(self, directory, server="", *, http=""):
        self.directory = directory
        self.port = free_port()
        self._process = None
        self._file = directory / "nginx.conf"
        http = http.replace("PORT", str(self.port))
        if server:
            http += SERVER.format(server=server, port=self.port)
        self._file.write_text(CONFIGURATION.format(directory=directory, http=http))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def errors(self):
        return (self.directory / "error.log").read_text()

    @property
    def accesses(self):
        return (self.directory / "access.log").read_text()

    def __enter__(self):
        with ExitStack() as started:
            started.callback(self.stop)
            self.start()
            started.pop_all()
        return self

    def __exit__(self, *error):
        self.stop()

    def start(self):
        command = [PROGRAM, "-p", self.directory, "-c", self._file, "-e", "error.log"]
        with open(self.directory / "output.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + SECONDS
        while True:
            assert self._process.poll() is None, (self.directory / "output.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.02)

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            # Its workers end with it.
            self._process.terminate()
            self._process.wait(SECONDS)


@pytest.fixture
def nginx(tmp_path):
    """Return a function that starts an `NginxServer` until the test ends."""
    if PROGRAM is None:
        pytest.fail("nginx is not installed: make system brings it")
    with ExitStack() as running:

        def start(server, *, http=""):
            directory = tmp_path / f"nginx-{len(os.listdir(tmp_path))}"
            directory.mkdir()
            return running.enter_context(NginxServer(directory, server, http=http))

        yield start
