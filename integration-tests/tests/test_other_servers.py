"""Servers by which apps on Dash are served, started as for Dash."""

import json
import re
import signal
import socket

import pytest
from commands import Command
from documents import fetch

# Called by WSGI.
WSGI = {
    "gunicorn": "gunicorn {target} --bind 127.0.0.1:{{port}}",
    "gunicorn-threads": "gunicorn {target} --bind 127.0.0.1:{{port}} --workers 2 --threads 4",
    "gunicorn-preload": "gunicorn {target} --bind 127.0.0.1:{{port}} --workers 2 --preload",
    "waitress": "waitress-serve --listen=127.0.0.1:{{port}} {target}",
}

# Called by ASGI; each has its own way to tell.
ASGI = {
    "flash": "flash run {target} --bind 127.0.0.1:{{port}}",
    "flash-uvicorn": "flash run {target} --bind 127.0.0.1:{{port}} --server uvicorn",
    "flash-granian": "flash run {target} --bind 127.0.0.1:{{port}} --server granian",
    "gunicorn-uvicorn": "gunicorn -k uvicorn.workers.UvicornWorker {target} "
    "--bind 127.0.0.1:{{port}}",
    "gunicorn-uvicorn-worker": "gunicorn -k uvicorn_worker.UvicornWorker {target} "
    "--bind 127.0.0.1:{{port}}",
    "uvicorn": "uvicorn {target} --port {{port}}",
    "hypercorn": "hypercorn {target} --bind 127.0.0.1:{{port}}",
    "granian": "granian --interface asgi {target} --port {{port}}",
    "daphne": "daphne {target} --port {{port}}",
}

# What is served: the app, its server, and the Flask app that it was given as its server. Every
# server serves the last, which is the least like an ASGI app; one of each kind serves all three.
OBJECTS = {
    "flask": ("moved:server", {"FLASK": "1"}),
    "app": ("moved:app", {}),
    "server": ("moved:server", {}),
}
ALL_OBJECTS = {"gunicorn", "uvicorn", "gunicorn-uvicorn", "hypercorn"}


def pairs(servers):
    return [
        (name, each) for name in servers for each in (OBJECTS if name in ALL_OBJECTS else ["flask"])
    ]


@pytest.fixture
def start(tmp_path):
    """Return a `Command` that serves ``apps/hosted/moved.py``."""

    def started(command, target, **environment):
        return Command("hosted", command.format(target=target), log=tmp_path / "log", **environment)

    return started


def callback_body(value):
    return {
        "output": "greeting.children",
        "outputs": {"id": "greeting", "property": "children"},
        "inputs": [{"id": "name", "property": "value", "value": value}],
        "changedPropIds": ["name.value"],
        "parsedChangedPropsIds": ["name.value"],
        "state": [],
    }


def check(server):
    """A page, its layout, a callback and a route are served."""
    status, page = fetch(f"{server.url}/")
    assert status == 200
    assert "_dash-config" in page
    assert fetch(f"{server.url}/_dash-layout")[0] == 200
    status, answer = fetch(
        f"{server.url}/_dash-update-component", method="POST", json_body=callback_body("Ben")
    )
    assert status == 200, answer
    assert json.loads(answer)["response"]["greeting"]["children"] == "Hello Ben"
    status, told = fetch(f"{server.url}/told?a=1&b=2", method="POST", json_body={"c": 3})
    assert (status, json.loads(told)) == (
        200,
        {
            "path": "/told",
            "arguments": {"a": "1", "b": "2"},
            "body": '{"c": 3}',
            "address": "127.0.0.1",
        },
    )
    assert fetch(f"{server.url}/lines") == (200, "0\n1\n2\n")
    assert fetch(f"{server.url}/_flash/ready")[0] == 200
    return page


@pytest.mark.parametrize(("name", "served"), pairs(WSGI))
def test_by_wsgi_it_is_served_without_the_link_and_says_so_once(start, name, served):
    target, environment = OBJECTS[served]
    with start(WSGI[name], target, **environment) as server:
        for _ in range(3):
            page = check(server)
        assert "flash_link" not in page
        # A page that an earlier deployment served ends with this answer.
        assert fetch(f"{server.url}/_flash/link/events")[0] == 404
        # Waitress has no handler for the other signal.
        server.stop(signal.SIGINT if name == "waitress" else signal.SIGTERM)
        said = re.findall(r"served by WSGI.*flash run moved:app.*UvicornWorker", server.output)
        workers = 2 if "--workers" in WSGI[name] else 1
        assert 1 <= len(said) <= workers
        assert server.output.count("ended") == len(said)
        assert "Traceback" not in server.output


@pytest.mark.parametrize(("name", "served"), pairs(ASGI))
def test_by_asgi_it_is_served_with_the_link(start, name, served):
    target, environment = OBJECTS[served]
    with start(ASGI[name], target, **environment) as server:
        page = check(server)
        assert "flash_link" in page
        assert opened(server.port)
        server.stop()
        assert "served by WSGI" not in server.output
        assert server.output.count("ended") == 1
        assert "Traceback" not in server.output


def opened(port):
    """Whether a WebSocket to the link is accepted."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"GET /_flash/link HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Origin: http://127.0.0.1:%d\r\n\r\n" % (port, port)
        )
        return connection.recv(4096).startswith(b"HTTP/1.1 101")
