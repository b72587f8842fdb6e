"""What a refusal says, and how a program and a browser get to know it."""

import asyncio

import pytest

from flash import FlashError
from flash.access import admission
from flash.access.admission import expect_http, refuse, truncate_reason
from flash.access.message_limit import MAX_REFUSED_BYTES, with_message_limit
from flash.access.refusal import Refused


def test_a_refusal_carries_its_status_its_reason_and_its_headers():
    refused = Refused(429, "slow down", (b"retry-after", b"5"))
    assert (refused.status, refused.reason) == (429, "slow down")
    assert refused.headers == ((b"retry-after", b"5"),)
    assert str(refused) == "slow down (HTTP status 429)"
    assert isinstance(refused, FlashError)
    assert refused.args == (429, "slow down")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *[(400, 4400), (401, 4401), (403, 4403), (499, 4499), (429, 4529)],
        *[(503, 1013), (500, 1011), (502, 1011), (302, 1011), (399, 1011)],
    ],
)
def test_a_browser_is_told_the_status_by_a_close_code(status, code):
    assert Refused(status, "no").close_code == code


def test_a_close_code_of_its_own_goes_before_that_of_the_status():
    assert Refused(403, "no", close_code=4999).close_code == 4999


def test_a_reason_is_cut_to_what_a_close_frame_holds_and_never_within_a_character():
    assert truncate_reason("x" * 123) == "x" * 123
    assert truncate_reason("x" * 124) == "x" * 123
    assert truncate_reason("x" * 122 + "é") == "x" * 122
    assert truncate_reason("") == ""


class Browser:
    """The other end of a connection that is refused."""

    def __init__(self, *events, **scope):
        self.scope = {"type": "websocket", "headers": [], "extensions": {}, **scope}
        self._events = list(events)
        self.got = []

    async def receive(self):
        if not self._events:
            await asyncio.Event().wait()
        return self._events.pop(0)

    async def send(self, event):
        self.got.append(event)

    @property
    def unread(self):
        return len(self._events)


LEFT = {"type": "websocket.disconnect", "code": 1005}
SAID = {"type": "websocket.receive", "text": "x"}
ORIGIN = [(b"origin", b"http://app.test")]


async def test_a_request_is_answered_with_the_status_and_one_line():
    program = Browser(type="http")
    await refuse(program.scope, program.receive, program.send, Refused(403, "né", (b"x-why", b"y")))
    start, body = program.got
    assert start["type"] == "http.response.start"
    assert start["status"] == 403
    assert dict(start["headers"]) == {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"4",
        b"cache-control": b"no-store",
        b"x-why": b"y",
    }
    assert body == {"type": "http.response.body", "body": "né\n".encode(), "more_body": False}


async def test_a_request_of_a_page_is_answered_like_any_other():
    page = Browser(type="http", headers=ORIGIN)
    await refuse(page.scope, page.receive, page.send, Refused(401, "no"))
    assert [event["type"] for event in page.got] == ["http.response.start", "http.response.body"]


async def test_a_program_gets_the_status_of_a_refused_handshake_where_the_server_can_send_it():
    program = Browser(extensions={"websocket.http.response": {}}, headers=[(b"host", b"app.test")])
    await refuse(program.scope, program.receive, program.send, Refused(403, "no"))
    start, body = program.got
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    assert (body["type"], body["body"]) == ("websocket.http.response.body", b"no\n")


@pytest.mark.parametrize("extensions", [None, {}, {"tls": {}}])
async def test_elsewhere_a_refused_handshake_is_closed_before_it_is_accepted(extensions):
    program = Browser(extensions=extensions)
    await refuse(program.scope, program.receive, program.send, Refused(403, "x" * 200))
    assert program.got == [{"type": "websocket.close", "code": 4403, "reason": "x" * 123}]


async def test_a_server_that_names_no_extensions_has_none():
    program = Browser()
    del program.scope["extensions"]
    await refuse(program.scope, program.receive, program.send, Refused(403, "no"))
    assert program.got == [{"type": "websocket.close", "code": 4403, "reason": "no"}]


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [({"subprotocols": ["b", "a"]}, "b"), ({"subprotocols": []}, None), ({}, None)],
)
async def test_a_pages_websocket_is_accepted_to_be_closed_with_the_reason(offered, chosen):
    page = Browser(
        SAID, SAID, LEFT, headers=ORIGIN, extensions={"websocket.http.response": {}}, **offered
    )
    await refuse(page.scope, page.receive, page.send, Refused(401, "x" * 200))
    assert page.got == [
        with_message_limit(
            {"type": "websocket.accept", "subprotocol": chosen}, MAX_REFUSED_BYTES, 4401
        ),
        {"type": "websocket.close", "code": 4401, "reason": "x" * 123},
    ]
    # Read to its end, so that the close frame is not lost with the connection.
    assert page.unread == 0


async def test_a_page_that_does_not_answer_its_close_frame_is_waited_for_only_so_long(monkeypatch):
    monkeypatch.setattr(admission, "CLOSE_TIMEOUT", 0.01)
    page = Browser(SAID, headers=ORIGIN)
    async with asyncio.timeout(5):
        await refuse(page.scope, page.receive, page.send, Refused(401, "no"))
    assert page.unread == 0


@pytest.mark.parametrize("works", [0, 1])
async def test_a_page_that_is_gone_already_is_no_error(works):
    page = Browser(headers=ORIGIN)

    async def send(event):
        page.got.append(event)
        if len(page.got) > works:
            raise OSError("gone")

    await refuse(page.scope, page.receive, send, Refused(401, "no"))
    assert len(page.got) == works + 1


def test_the_limit_of_messages_is_told_with_the_event_that_accepts_a_socket():
    accept = {"type": "websocket.accept", "subprotocol": "a"}
    assert with_message_limit(accept, None, 1009) == accept
    assert with_message_limit(accept, 0, 1009) == {
        **accept,
        "flash.max_message_bytes": 0,
        "flash.too_large_code": 1009,
    }


async def test_a_path_that_speaks_http_takes_its_methods_alone():
    page = Browser({"type": "websocket.connect"})
    with pytest.raises(Refused) as refused:
        await expect_http(page.scope, page.receive, "GET")
    assert (refused.value.status, refused.value.reason) == (400, "this path speaks HTTP")
    # Granian's worker ends if a socket is refused before this event is taken.
    assert page.unread == 0
    scope = {"type": "http", "method": "POST"}
    await expect_http(scope, page.receive, "POST")
    with pytest.raises(Refused) as refused:
        await expect_http(scope, page.receive, "GET", "HEAD")
    assert (refused.value.status, refused.value.reason) == (405, "this path takes only GET")
    assert refused.value.headers == ((b"allow", b"GET, HEAD"),)
