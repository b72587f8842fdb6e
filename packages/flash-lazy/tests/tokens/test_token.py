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
    "token",
    [
        *(None, 7, "", "short", "x" * 43, "é" * 60, "A" * 100_000, ["a"], {"n": 1}, "=" * 80),
        *("\ud800" * 60, "\ud800" * 43 + SIGNER.sign(CALL)[43:]),
    ],
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


def test_a_token_names_its_loader_before_it_is_known_to_be_genuine():
    assert Signer(b"other", "/").loader(SIGNER.sign(CALL)) == "shop.orders"


def test_a_visitor_and_a_payload_cannot_be_divided_in_another_way():
    call = LoaderCall("a", "{}")
    payload = SIGNER.sign(call)[43:]
    token = SIGNER.sign(call, "session:1")
    with pytest.raises(TokenRefused):
        SIGNER.read(token, "session:")
    assert SIGNER.sign(call, "x")[43:] == payload
    assert SIGNER.sign(call, "x")[:43] != SIGNER.sign(call, "y")[:43]


def test_the_longest_arguments_make_a_token_that_is_read():
    fits = MAX_ARGUMENT_BYTES - len('{"text":""}')
    for text in ("x" * fits, '"' * (fits // 2), "é" * (fits // 2)):
        call = LoaderCall.of("l" * 200, {"text": text})
        assert SIGNER.read(SIGNER.sign(call)) == call
    with pytest.raises(ArgumentError, match="take 4,097 bytes"):
        LoaderCall.of("l", {"text": "x" * (fits + 1)})


def test_arguments_are_written_in_one_way_only():
    call = LoaderCall.of("loader", {"b": 1, "a": ["Å", None, True]})
    assert call.arguments == '{"a":["Å",null,true],"b":1}'
    assert call.values() == {"a": ["Å", None, True], "b": 1}


def test_the_part_of_an_argument_that_does_not_travel_is_named():
    for value, found in [([1, {"a": (1,)}], "(1,) is a tuple"), ({"a": [1], 2: 3}, "2 is a int")]:
        with pytest.raises(ArgumentError) as refused:
            LoaderCall.of("shop.orders", {"fine": 1, "rows": value})
        assert f"argument rows={found}" in str(refused.value)


def test_a_digest_stands_for_its_parts_in_their_order_under_one_key():
    digest = SIGNER.digest("a", "b")
    assert digest == Signer(b"secret", "/").digest("a", "b")
    assert len(digest) == 24
    others = [SIGNER.digest("b", "a"), SIGNER.digest("a,b"), SIGNER.digest("a", "b", "")]
    others += [Signer(b"secret", "/x").digest("a", "b"), Signer(b"x", "/").digest("a", "b")]
    assert len({digest, *others}) == 6
