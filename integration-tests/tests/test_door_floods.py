"""What one visitor can take from the others, on three servers (issue 13, F)."""

import asyncio
import json
import resource
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
from changed_constants import environment_with
from raw_sockets import processes

from flash.testing import AppProcess

APPS = Path(__file__).parents[1] / "apps" / "door"
SERVERS = ("hypercorn", "uvicorn", "granian")
PATIENCE = 60
# Seconds for the head of a request, instead of fifteen.
HEAD_TIMEOUT = 4.0

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=SERVERS)
def served(request, tmp_path_factory):
    env = environment_with(
        tmp_path_factory.mktemp("constants"), flash__serving__timeouts__HEAD_TIMEOUT=HEAD_TIMEOUT
    )
    options = {"server": request.param, "env": env, "ready_path": "/_flash/health"}
    with AppProcess(APPS / "slow.py", **options) as process:
        process.server = request.param
        yield process


async def exchange(served, head, body=b"", *, address="127.0.0.1"):
    """Send a request from an address of this machine; return status and body."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", served.port, local_addr=(address, 0)
    )
    lines = [head, "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/json")
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
    finally:
        writer.close()
    status, _, text = answer.partition(b"\r\n\r\n")
    return int(status.split()[1]), text


def call(value):
    return json.dumps(
        {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "in", "property": "value", "value": value}],
            "changedPropIds": ["in.value"],
        }
    ).encode()


async def test_13_f_the_calls_of_one_client_leave_room_for_others(served):
    post = "POST /_dash-update-component HTTP/1.1"
    flood = [
        asyncio.ensure_future(exchange(served, post, call(number), address="127.0.0.2"))
        for number in range(110)
    ]
    async with asyncio.timeout(PATIENCE):
        # The share of the waiting places, too, is taken by now.
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
    assert done.pop().result()[0] == 503
    status, text = await exchange(served, post, call("quick"), address="127.0.0.3")
    assert status == 200
    assert b"quick" in text
    # Layouts have threads of their own, also for the client itself.
    for address in ("127.0.0.2", "127.0.0.3"):
        assert (await exchange(served, "GET /_dash-layout HTTP/1.1", address=address))[0] == 200
    # Others are served, so the worker is ready.
    assert (await exchange(served, "GET /_flash/ready HTTP/1.1"))[0] == 200
    await exchange(served, "GET /go HTTP/1.1")
    statuses = [status for status, _ in await asyncio.gather(*flood)]
    assert set(statuses) == {200, 503}
    # The share is four fifths: 32 of 40 places, and 3 of 4 threads, since one is left to others.
    assert statuses.count(200) == 35


def connections(served, sent, count=1):
    opened = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE)
        connection.sendall(sent)
        opened.append(connection)
    return opened


def test_13_f_connections_that_send_no_whole_request_end(served):
    half = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
    whole = b"GET /_flash/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    opened = {
        "silent": connections(served, b"")[0],
        "half a head": connections(served, half)[0],
        "half a second head": connections(served, whole + half)[0],
    }
    if served.server == "granian":
        # It waits for the first byte, which tells HTTP/1 from HTTP/2, without a limit.
        opened.pop("silent").close()
    for what, connection in opened.items():
        connection.settimeout(PATIENCE)
        try:
            while connection.recv(1 << 16):
                pass
        except TimeoutError:
            pytest.fail(f"{what}: the connection stays open")
        except OSError:
            pass
        connection.close()


def test_13_f_a_server_without_descriptors_writes_a_bounded_log(served):
    for pid in processes(served.pid):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (128, 4096))
    before = len(served.output)
    opened = []
    try:
        with suppress(OSError):
            opened = connections(served, b"", 400)
        time.sleep(5)
    finally:
        for each in opened:
            each.close()
        for pid in processes(served.pid):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (4096, 4096))
    assert len(served.output) - before < 200_000

    async def answers():
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(OSError, IndexError):
                    status, _ = await exchange(served, "GET /_flash/health HTTP/1.1")
                    return status

    assert asyncio.run(answers()) == 200
