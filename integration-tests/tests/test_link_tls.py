"""Stopping a server with TLS while an event stream of the link is open."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from redis_servers import free_port

APP = """
from flash import Flash, html
from flash_ws import Live

app = Flash(__name__)
live = Live(app)
app.layout = html.P("over TLS")
"""

SECONDS = 30
STREAM = "/_flash/link/events"
HELLO = json.dumps([{"t": "hello", "v": 1, "page": None, "at": {}, "path": "/"}]).encode()


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", cert),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return cert, key


class Client:
    """A client that never closes its side of the connection, as a browser that is busy."""

    def __init__(self, port, protocol):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        self._socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        self._http2 = None
        self.received = b""
        if protocol == "h2":
            self._http2 = H2Connection(H2Configuration(client_side=True))
            self._http2.initiate_connection()
            head = {
                ":method": "POST",
                ":path": STREAM,
                ":scheme": "https",
                ":authority": "localhost",
                "content-type": "application/json",
                "content-length": str(len(HELLO)),
            }
            self._http2.send_headers(1, list(head.items()))
            self._http2.send_data(1, HELLO, end_stream=True)
            self._socket.sendall(self._http2.data_to_send())
        else:
            head = (
                f"POST {STREAM} HTTP/1.1\r\nHost: localhost\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(HELLO)}\r\n\r\n"
            )
            self._socket.sendall(head.encode() + HELLO)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        try:
            while data := self._socket.recv(65536):
                self.received += data
                if self._http2 is not None:
                    self._http2.receive_data(data)
                    self._socket.sendall(self._http2.data_to_send())
        except OSError:
            pass
        finally:
            self._socket.close()


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_12_10_hypercorn_with_tls_stops_though_a_client_keeps_its_stream_open(
    tmp_path, certificate, protocol
):
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    cert, key = certificate
    command = [sys.executable, "-m", "flash.cli", "run", "app:app", "--server", "hypercorn"]
    command += ["--bind", f"127.0.0.1:{port}", "--certfile", str(cert), "--keyfile", str(key)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)

    def accepts():
        assert process.poll() is None, (tmp_path / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(accepts)
        client = Client(port, protocol)
        until(lambda: b"welcome" in client.received)
        process.terminate()
        # Without end, hypercorn's own patience takes longer than this.
        assert process.wait(8) == 0
        assert b"4531" in client.received
        assert "Traceback" not in (tmp_path / "log").read_text()
        client.reader.join(SECONDS)
    finally:
        process.kill()
        process.wait()
