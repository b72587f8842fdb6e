"""Tokens: what may travel, and what is refused."""

import base64
import enum
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash import BadRequest
from flash_lazy import ArgumentError, TokenRefused
from flash_lazy.tokens.token import MAX_ARGUMENT_BYTES, LoaderCall, Signer

SIGNER = Signer(b"secret", "/")
CALL = LoaderCall.of("shop.orders", {"customer": 7, "months": [1, 2], "name": "Åse"})

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@given(JSON)
def test_arguments_come_back_as_they_went(value):
    call = LoaderCall.of("loader", {"value": value})
    assert SIGNER.read(SIGNER.sign(call)).values() == {"value": value}


def test_equal_calls_have_equal_tokens_whatever_the_order_of_keys():
    one = LoaderCall.of("loader", {"filters": {"a": 1, "b": 2}})
    other = LoaderCall.of("loader", {"filters": {"b": 2, "a": 1}})
    assert one == other
    assert SIGNER.sign(one) == SIGNER.sign(other)


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [object(), (1, 2), {1, 2}, b"bytes", float("nan"), {1: "a"}, Colour.RED, [{"deep": (1,)}]],
)
def test_an_argument_that_json_does_not_keep_is_named_when_it_is_placed(value):
    with pytest.raises(ArgumentError, match=r"argument rows=.*JSON does not preserve; give an id"):
        LoaderCall.of("shop.orders", {"rows": value})


def test_arguments_of_more_than_4_kib_are_refused_when_they_are_placed():
    LoaderCall.of("loader", {"text": "x" * (MAX_ARGUMENT_BYTES - 20)})
    with pytest.raises(ArgumentError, match=r"take 4,1\d\d bytes of at most 4,096; give an id"):
        LoaderCall.of("loader", {"text": "x" * 4100})


def test_text_that_is_no_text_is_refused_when_it_is_placed():
    with pytest.raises(ArgumentError, match="surrogate"):
        LoaderCall.of("loader", {"text": "\ud800"})


@given(st.integers(0, len(SIGNER.sign(CALL)) - 1), st.sampled_from("AbZ09-_=!é"))
def test_c3_a_token_with_one_character_changed_is_refused(position, character):
    token = SIGNER.sign(CALL)
    changed = token[:position] + character + token[position + 1 :]
    if changed != token:
        with pytest.raises(TokenRefused):
            SIGNER.read(changed)


@pytest.mark.parametrize(
    "token", [None, 7, "", "short", "x" * 43, "é" * 60, "A" * 100_000, ["a"], {"n": 1}, "=" * 80]
)
def test_c3_what_is_no_token_is_refused(token):
    with pytest.raises(TokenRefused):
        SIGNER.read(token)


@pytest.mark.parametrize("payload", [{}, [], ["loader"], ["loader", 7], [1, "{}"], "text", None])
def test_c3_a_payload_of_another_shape_is_refused(payload):
    encoded = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    with pytest.raises(TokenRefused):
        SIGNER.loader("A" * 43 + encoded)


def test_c3_deep_nesting_is_refused():
    encoded = base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("=")
    with pytest.raises(TokenRefused):
        SIGNER.read("A" * 43 + encoded)


@pytest.mark.parametrize(
    "other", [Signer(b"other", "/"), Signer(b"secret", "/sales/")], ids=["secret", "app"]
)
def test_c3_a_token_of_another_app_is_refused(other):
    with pytest.raises(TokenRefused):
        SIGNER.read(other.sign(CALL))


def test_c3_a_token_of_another_visitor_is_refused():
    token = SIGNER.sign(CALL, "session:ada")
    assert SIGNER.read(token, "session:ada") == CALL
    for visitor in ("", "session:bob"):
        with pytest.raises(TokenRefused):
            SIGNER.read(token, visitor)


def test_a_refusal_is_a_bad_request_with_one_line():
    refused = TokenRefused()
    assert isinstance(refused, BadRequest)
    assert refused.status == 400
    assert "\n" not in str(refused)
