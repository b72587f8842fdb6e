"""Responses that are complete before the body of their request: HTTP/1 and HTTP/2."""

import socket
from contextlib import closing

import h2.config
import h2.connection
import h2.events
import pytest

from flash.testing import AppProcess

# More than any buffer between client and server holds.
BODY_BYTES = 8_000_000

FLASH_APP = """
from flash import Flash, Input, Output, html

app = Flash(__name__)
app.layout = html.Div()
app.server.config["MAX_CONTENT_LENGTH"] = 100_000
app.callback(Output("out", "children"), Input("in", "contents"))(lambda contents: "taken")

@app.server.post("/upload")
async def upload():
    return "not read"
"""

# Ends at once, whatever the client sends.
ASGI_APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    status = 200 if scope["path"] == "/" else 413
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
"""


@pytest.fixture
def served(tmp_path):
    running = []

    def serve(source, server):
        (tmp_path / "web.py").write_text(source)
        running.append(AppProcess(tmp_path / "web.py", server=server).__enter__())
        return running[0]

    yield serve
    for each in running:
        each.__exit__(None, None, None)


class Http2Client:
    """One connection of HTTP/2 without TLS."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        # The end of each window goes at once, and not with the next one.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.connection = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding="utf-8")
        )
        self.connection.initiate_connection()
        # By stream: the status, the body, and whether the response has ended.
        self.status, self.body, self.ended, self.reset = {}, {}, set(), {}
        self._flush()

    def _flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def close(self):
        self.socket.close()

    def begin(self, method, path, **headers):
        stream = self.connection.get_next_available_stream_id()
        sent = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")]
        sent += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.connection.send_headers(stream, sent, end_stream=method == "GET")
        self._flush()
        return stream

    def read(self):
        """Take what has come; raises ``ConnectionError`` if the server has gone."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.status[event.stream_id] = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                self.body[event.stream_id] = self.body.get(event.stream_id, b"") + event.data
                self.connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.reset[event.stream_id] = event.error_code
            elif isinstance(event, h2.events.ConnectionTerminated):
                raise ConnectionError(event)
        self._flush()

    def send(self, stream, size):
        """Send a body, at the latest until the server wants no more; returns what was sent."""
        sent = 0
        while sent < size and stream not in self.reset:
            window = self.connection.local_flow_control_window(stream)
            length = min(window, self.connection.max_outbound_frame_size, size - sent)
            if length:
                self.connection.send_data(stream, b" " * length)
                sent += length
                self._flush()
            else:
                self.read()
        if stream not in self.reset:
            self.connection.end_stream(stream)
            self._flush()
        return sent

    def until_ended(self, stream):
        while stream not in self.ended:
            self.read()
        return self.status[stream], self.body.get(stream, b"")


@pytest.mark.parametrize("source", [FLASH_APP, ASGI_APP])
@pytest.mark.parametrize("with_length", [True, False])
def test_11_23_an_early_response_ends_its_own_stream_alone(source, with_length, served):
    process = served(source, "hypercorn")
    with closing(Http2Client(process.port)) as client:
        refuse_uploads(client, with_length)


def refuse_uploads(client, with_length):
    for _ in range(2):
        headers = {"content_type": "application/json"}
        if with_length:
            headers["content_length"] = str(BODY_BYTES)
        upload = client.begin("POST", "/_dash-update-component", **headers)
        client.send(upload, BODY_BYTES)
        assert client.until_ended(upload)[0] == 413
        # NO_ERROR: the response is whole, and the rest of the body is not wanted.
        assert client.reset.get(upload, 0) == 0
        page = client.begin("GET", "/")
        status, body = client.until_ended(page)
        assert status == 200
        assert body


def upload_http1(port, path):
    """Send a long body and only then read; returns what came."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {BODY_BYTES}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(head.encode())
        for _ in range(BODY_BYTES // 100_000):
            client.sendall(b" " * 100_000)
        client.settimeout(10)
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = client.recv(1 << 16)
            if not received:
                break
            answer += received
    return answer


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])
def test_11_23_a_client_gets_an_early_response_though_it_still_sends(server, served):
    process = served(FLASH_APP, server)
    assert upload_http1(process.port, "/_dash-update-component").startswith(b"HTTP/1.1 413")
    # A view of Quart that does not read the body.
    assert upload_http1(process.port, "/upload").startswith(b"HTTP/1.1 ")
