"""Server-sent events as text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash import html
from flash_ws.endpoints.sse import DONE, KEEP_ALIVE, ServerSentEvent


def received(stream: bytes) -> list[dict[str, str]]:
    """Parse a stream by the rules that browsers follow (WHATWG HTML, 9.2.6)."""
    events = []
    event = {}
    for line in re.split(r"\r\n|\r|\n", stream.decode()):
        if not line:
            if "data" in event:
                events.append(event)
            event = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in event:
            event["data"] += f"\n{value}"
        elif name:
            event[name] = value
    return events


def test_text_is_sent_as_it_is_and_anything_else_as_json():
    assert ServerSentEvent("Hello").encode() == b"data: Hello\n\n"
    assert ServerSentEvent({"a": [1, None]}).encode() == b'data: {"a":[1,null]}\n\n'
    assert ServerSentEvent(html.B("x")).encode().startswith(b'data: {"props":{"children":"x"}')


def test_every_field_has_its_line():
    event = ServerSentEvent("x", event="tick", id="7", retry=1500)
    assert event.encode() == b"id: 7\nevent: tick\nretry: 1500\ndata: x\n\n"


def test_an_event_stays_itself_and_anything_else_becomes_the_data_of_one():
    event = ServerSentEvent("x", event="tick")
    assert ServerSentEvent.of(event) is event
    assert ServerSentEvent.of("x") == ServerSentEvent("x")


def test_data_of_several_lines_arrives_as_such():
    assert received(ServerSentEvent("a\nb\r\nc\rd\n").encode()) == [{"data": "a\nb\nc\nd\n"}]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_arrives_with_its_line_ends_alone_changed(text):
    (event,) = received(ServerSentEvent(text).encode())
    assert event == {"data": re.sub(r"\r\n|\r", "\n", text)}


@given(st.text(), st.text())
def test_neither_type_nor_id_can_smuggle_in_another_field(name, value):
    try:
        stream = ServerSentEvent("x", event=name, id=value).encode()
    except (ValueError, UnicodeEncodeError):
        return
    (event,) = received(stream)
    assert set(event) == {"data", "event", "id"}


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\n", "a\0b"])
def test_a_type_or_id_with_a_line_end_is_refused(text):
    with pytest.raises(ValueError, match=f"^event={re.escape(repr(text))} contains a line end"):
        ServerSentEvent("x", event=text)
    with pytest.raises(ValueError, match=f"^id={re.escape(repr(text))} contains a line end"):
        ServerSentEvent("x", id=text)


def test_a_negative_retry_is_refused():
    with pytest.raises(ValueError, match=r"^retry=-1 is negative; use milliseconds"):
        ServerSentEvent("x", retry=-1)
    assert b"retry: 0\n" in ServerSentEvent("x", retry=0).encode()


def test_a_keep_alive_is_no_event_for_browsers_nor_for_the_component():
    event = ServerSentEvent("x").encode()
    assert received(KEEP_ALIVE + event + KEEP_ALIVE) == [{"data": "x"}]
    # The component splits at empty lines and takes every part for an event.
    parts = [part for part in re.split(rb"\n\n", KEEP_ALIVE + event + KEEP_ALIVE + event) if part]
    assert all(b"data: x" in part for part in parts)


def test_the_end_is_the_one_that_dash_extensions_looks_for():
    streaming = pytest.importorskip("dash_extensions.streaming")
    assert ServerSentEvent(DONE).encode() == streaming.sse_message().encode()
