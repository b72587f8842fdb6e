"""The rest of a body is read before the response ends: what is read, and for how long."""

import asyncio

import pytest

from flash.http import early_response
from flash.http.early_response import SHORT_BODY, EarlyResponse, has_long_body


@pytest.mark.parametrize(
    ("method", "version", "headers", "expected"),
    [
        ("POST", "1.1", {b"content-length": b"%d" % SHORT_BODY}, False),
        ("POST", "1.1", {b"content-length": b"%d" % (SHORT_BODY + 1)}, True),
        ("GET", "1.1", {b"content-length": b"%d" % (SHORT_BODY + 1)}, True),
        # Twenty digits are read of a number of any length.
        ("POST", "1.1", {b"content-length": b"1" + b"0" * 5000}, True),
        ("POST", "1.1", {b"content-length": b"0" * 20 + b"9"}, False),
        ("POST", "1.1", {b"content-length": b"-1"}, True),
        ("POST", "1.1", {b"content-length": b"99999999", b"expect": b"100-continue"}, False),
        ("POST", "1.1", {}, False),
        ("GET", "1.1", {b"transfer-encoding": b"chunked"}, True),
        # A stream of HTTP/2 has a body without saying so.
        *[(method, "2", {}, True) for method in ("POST", "PUT", "PATCH", "DELETE")],
        *[("GET", "2", {}, False), ("HEAD", "3", {}, False), ("POST", "3", {}, True)],
        ("POST", "2", {b"content-length": b"1"}, False),
        ("POST", None, {}, False),
    ],
)
def test_a_body_is_long_if_its_client_may_still_send_it(method, version, headers, expected):
    scope = {"method": method} if version is None else {"method": method, "http_version": version}
    assert has_long_body(scope, headers) is expected


class Client:
    """Sends what it is told to, then waits; notes what it gets, and what it had sent by then."""

    def __init__(self, *events):
        self._events = list(events)
        self.got = []

    async def receive(self):
        if not self._events:
            await asyncio.Event().wait()
        return self._events.pop(0)

    async def send(self, message):
        self.got.append((message["type"], len(self._events)))


PART = {"type": "http.request", "body": b"x", "more_body": True}
END = {"type": "http.request", "body": b"x"}
LEFT = {"type": "http.disconnect"}
# What a keep-alive connection would send next: it is not read.
NEXT = {"type": "http.request", "body": b"next"}


def start(*headers):
    return {"type": "http.response.start", "status": 413, "headers": headers}


def body(data=b"", **more):
    return {"type": "http.response.body", "body": data, **more}


async def answered(client, *messages, read=0):
    """Send a response after so many messages have been received; return what was unread then."""
    early = EarlyResponse(client.receive, client.send)
    async with asyncio.timeout(5):
        for _ in range(read):
            await early.receive()
        for message in messages:
            await early.send(message)
    return [unread for _, unread in client.got]


@pytest.mark.parametrize("last", [END, LEFT], ids=["the end", "a disconnect"])
async def test_the_last_part_of_a_response_waits_for_the_end_of_the_body(last):
    client = Client(PART, PART, last, NEXT)
    assert await answered(client, start(), body(more_body=True), body()) == [4, 4, 1]
    assert [kind for kind, _ in client.got] == ["http.response.start"] + ["http.response.body"] * 2


@pytest.mark.parametrize("last", [END, LEFT], ids=["the end", "a disconnect"])
async def test_a_body_that_the_application_has_read_is_not_waited_for(last):
    assert await answered(Client(PART, last, NEXT), start(), body(), read=2) == [1, 1]
    assert await answered(Client(PART, last, NEXT), start(), body(), read=1) == [2, 1]


async def test_a_response_of_a_known_length_ends_with_its_last_byte():
    headers = [(b"X-Other", b"1"), (b"Content-Length", b"4")]
    parts = [body(b"ab", more_body=True), body(b"cd", more_body=True)]
    assert await answered(Client(PART, END, NEXT), start(*headers), *parts) == [3, 3, 1]
    # One that says too much ends with its last part.
    headers = [(b"content-length", b"9")]
    assert await answered(Client(END, NEXT), start(*headers), body(b"ab")) == [2, 1]
    headers = [(b"content-length", b"none")]
    assert await answered(Client(END, NEXT), start(*headers), body(b"ab")) == [2, 1]


async def test_other_messages_and_those_that_leave_out_what_they_may_are_passed_on():
    messages = [
        {"type": "http.response.start", "status": 200},
        {"type": "http.response.trailers"},
        {"type": "http.response.body"},
    ]
    assert await answered(Client(END, NEXT), *messages) == [2, 2, 1]


@pytest.mark.parametrize("bound", ["LINGER_SECONDS", "PAUSE_SECONDS"])
async def test_a_client_that_stops_sending_is_waited_for_only_so_long(monkeypatch, bound):
    monkeypatch.setattr(early_response, bound, 0.01)
    client = Client(PART)
    assert await answered(client, start(), body()) == [1, 0]


async def test_the_application_may_wait_for_the_body_at_the_same_time():
    client = Client(PART, END, NEXT)
    early = EarlyResponse(client.receive, client.send)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(early.receive())
        tasks.create_task(early.send(start()))
        tasks.create_task(early.send(body()))
    assert reading.result() == PART
    assert client.got[-1] == ("http.response.body", 1)
