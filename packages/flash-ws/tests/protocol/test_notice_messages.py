"""What a notice is on the wire, and what is no notice."""

import json

import pytest

from flash import ConfigurationError
from flash_ws.protocol.notices import KINDS, MAX_CHARS, notice_message


def on_the_wire(text, kind="info", seconds=6.0):
    return json.loads(notice_message(text, kind=kind, seconds=seconds).numbered("all", 1).text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_notice_is_sent_with_its_text_its_kind_and_its_time(kind):
    assert on_the_wire('saved "é"', kind, 2.5) == {
        "c": "all",
        "n": 1,
        "t": "notice",
        "text": 'saved "é"',
        "kind": kind,
        "seconds": 2.5,
    }


def test_a_notice_that_stays_has_no_time():
    assert on_the_wire("offline", seconds=None)["seconds"] is None


def test_a_notice_of_just_the_limit_is_sent():
    assert on_the_wire("x" * MAX_CHARS)["text"] == "x" * MAX_CHARS
    with pytest.raises(ConfigurationError, match=r"^a notice of 1,001 characters, 'xxx"):
        on_the_wire("x" * (MAX_CHARS + 1))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a notice of 0 characters, '': must be a text of 1 to 1,000 characters ("),
        (" \n", "a notice of 2 characters, ' \\n': must be a text"),
        (7, "a notice, 7: must be a text of 1 to 1,000 characters ("),
        (None, "a notice, None: must be a text"),
        ([1] * 100, f"a notice, {str([1] * 100)[:80]}: must be a text"),
    ],
)
def test_what_is_no_text_is_refused_and_named(text, told):
    with pytest.raises(ConfigurationError) as refused:
        on_the_wire(text)
    assert str(refused.value).startswith(told)
    assert "test_notice_messages.py:" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "danger"}, "kind='danger': must be 'info' or 'success'"),
        ({"seconds": 0}, "seconds=0: must be a number of seconds above 0, or None"),
        ({"seconds": "5"}, "seconds='5': must be a number of seconds above 0, or None"),
    ],
)
def test_an_option_that_no_page_knows_is_refused(options, told):
    with pytest.raises(ConfigurationError, match=told):
        on_the_wire("x", **options)
