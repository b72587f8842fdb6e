"""What a message may cost before its limit is known, on three servers (issue 13, B)."""

import asyncio
import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from raw_sockets import CONTINUED, MIB, Memory, RawSocket, frame, inflating
from test_door import call
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from flash.testing import AppProcess

APP = Path(__file__).parents[1] / "apps" / "door" / "app.py"
SERVERS = ("hypercorn", "uvicorn", "granian")
CONNECTIONS, MESSAGES = 20, 4
MAX_GROWTH = 64 * MIB
WAYS = {
    "link": "/_flash/link",
    "endpoint": "/socket",
    "Dash's WebSocket": "/_dash-ws-callback",
    "another origin": "/_flash/link",
}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=SERVERS)
def served(request):
    with AppProcess(APP, server=request.param, ready_path="/open") as process:
        process.server = request.param
        yield process


def open_socket(served, way):
    origin = "http://evil.test" if way == "another origin" else served.url
    return RawSocket(served, WAYS[way], Cookie="login=yes; user=ada", Origin=origin)


ATTACKS = {
    "four messages that inflate to 15 MiB": lambda: inflating(15 * MIB) * MESSAGES,
    "messages that inflate to the limit of the link": lambda: inflating(64 * 1024 - 2) * 2_000,
    "an unfinished frame": lambda: frame(b" " * (15 * MIB), size=15 * MIB + 1),
    "unfinished parts": lambda: (
        frame(b" " * MIB, final=False) + frame(b" " * MIB, kind=CONTINUED, final=False) * 14
    ),
    "messages that inflate to 1 MiB": lambda: inflating(MIB - 2) * MESSAGES,
    "small unfinished parts": lambda: (
        frame(b"  ", final=False) + frame(b"  ", kind=CONTINUED, final=False) * 50_000
    ),
    "empty parts": lambda: (
        frame(b" ", final=False) + frame(b"", kind=CONTINUED, final=False) * 50_000
    ),
}


# Every way meets the first four attacks; the others are of the parser, which is the same for all.
# All of them take minutes of two cores: the first and the third on the two ways with limits of
# their own run always, the others with `make soak`.
COMBINATIONS = [
    pytest.param(
        way,
        attack,
        marks=() if number in (0, 2) and way in ("link", "Dash's WebSocket") else pytest.mark.soak,
    )
    for number, attack in enumerate(ATTACKS)
    for way in WAYS
    if number < 4 or way == "link"
]


@pytest.mark.parametrize(("way", "attack"), COMBINATIONS)
def test_13_b_a_message_costs_no_memory_before_its_limit_is_known(served, way, attack):
    sent = ATTACKS[attack]()
    sockets = [open_socket(served, way) for _ in range(CONNECTIONS)]
    try:
        if "inflate" in attack and not sockets[0].inflates:
            pytest.skip("this server does not compress")
        if served.server == "granian" and "unfinished" in attack:
            pytest.skip("granian holds up to 16 MiB of a frame, and has no setting for it")
    except pytest.skip.Exception:
        for each in sockets:
            each.close()
        raise
    memory = Memory(served)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda each: each.send(sent), sockets))
        list(pool.map(lambda each: each.read_to_end(seconds=0.5), sockets))
    growth = memory.growth
    for each in sockets:
        each.close()
    print(f"{served.server}, {way}, {attack}: {growth / MIB:.1f} MiB")
    assert growth <= MAX_GROWTH


COOKIE = {"Cookie": "login=yes; user=ada"}


def connected(served, path, **options):
    return connect(
        served.url.replace("http", "ws") + path,
        proxy=None,
        origin=served.url,
        additional_headers=COOKIE,
        max_size=None,
        **options,
    )


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_13_b_messages_within_the_limit_arrive_whole_and_in_order(served, compression):
    chosen = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyzäöü€🙂" * 40
    messages = [
        "".join(chosen.choices(letters, k=chosen.choice([0, 1, 100, 3_000, 15_000])))
        for _ in range(150)
    ]
    async with (
        asyncio.timeout(60),
        connected(served, "/socket", compression=compression) as socket,
    ):

        async def send():
            for number, message in enumerate(messages):
                if number % 3:
                    await socket.send(message)
                else:
                    # In parts.
                    size = max(1, len(message) // 7)
                    parts = [message[at : at + size] for at in range(0, len(message), size)]
                    await socket.send(parts or [""])

        sending = asyncio.ensure_future(send())
        assert [await socket.recv() for _ in messages] == messages
        await sending
        await socket.send(b"\x00\xff" * 30_000)
        assert await socket.recv() == b"\x00\xff" * 30_000


@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_13_b_a_large_call_is_answered_on_dashs_socket(served, compression):
    values = ["x" * (3 << 20), "small", "y" * (2 << 20)]
    async with (
        asyncio.timeout(60),
        connected(served, "/_dash-ws-callback", compression=compression) as socket,
    ):
        for value in values:
            await socket.send(call(value))
        answers = {}
        while len(answers) < len(values):
            received = json.loads(await socket.recv())
            for each in received if isinstance(received, list) else [received]:
                children = each["payload"]["data"]["response"]["out"]["children"]
                answers[len(children)] = children
    assert sorted(answers.values()) == sorted(values)


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize(("way", "code"), [("/_flash/link", 4413), ("/socket", 4413)])
async def test_13_b_a_message_above_the_limit_closes_with_the_code_of_its_way(
    served, way, code, compression
):
    for parts in ("z" * 200_000, ["z" * 10_000] * 20):
        async with asyncio.timeout(60), connected(served, way, compression=compression) as socket:
            with suppress(ConnectionClosed):
                await socket.send(parts)
            await socket.wait_closed()
            assert socket.close_code == code
