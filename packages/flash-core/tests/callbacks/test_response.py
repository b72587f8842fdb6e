"""Responses before they are sent, and how much of a result is too much for the event loop."""

import pytest

from flash import html
from flash.callbacks.context import CallbackResponse
from flash.callbacks.response import EncodedResponse, text_response, to_quart_response
from flash.callbacks.size import is_large


def test_a_response_has_no_headers_but_those_it_needs():
    assert EncodedResponse(200, b"{}").extra_headers == []
    response = text_response(503, "büsy", retry_after=2)
    assert (response.status, response.body) == (503, "büsy".encode())
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.extra_headers == [("retry-after", "2")]


def test_headers_of_a_callback_come_after_those_of_the_runtime():
    additions = CallbackResponse()
    additions.append_header("X-Mine", "1")
    response = EncodedResponse(200, b"{}", additions=additions, coding="gzip", varies=True)
    assert response.extra_headers == [
        ("content-encoding", "gzip"),
        ("vary", "accept-encoding"),
        ("X-Mine", "1"),
    ]


async def test_a_view_of_quart_returns_the_same_response():
    response = to_quart_response(text_response(418, "tea", retry_after=0))
    assert response.status_code == 418
    assert await response.get_data() == b"tea"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["retry-after"] == "0"
    assert to_quart_response(EncodedResponse(200, b"{}")).content_type == "application/json"


@pytest.mark.parametrize(
    "value",
    [
        [1] * 10,
        [[1] * 4, [1] * 4],
        (1,) * 10,
        dict.fromkeys(range(10)),
        {"a": [1] * 4, "b": {"c": 1, "d": (2, 3)}},
        "x" * 10_999,
        ["x" * 4_999] * 2,
        html.Div([html.P("x")] * 4),
        [None, True, 1.5, "", [], {}, ()],
        5,
    ],
)
def test_a_value_of_ten_values_is_not_large_at_a_limit_of_ten(value):
    assert not is_large(value, 10)


@pytest.mark.parametrize(
    "value",
    [
        [1] * 11,
        [[1] * 4, [1] * 5],
        (1,) * 11,
        dict.fromkeys(range(11)),
        {"a": [1] * 4, "b": {"c": 1, "d": (2, 3, 4)}},
        "x" * 11_000,
        ["x" * 5_000] * 2,
        [[["x" * 9_000]]],
        # As long as the limit, and something in it is longer.
        ["x" * 1_000] + [1] * 9,
        [1] * 9 + ["x" * 1_000],
        [[1] * 5, *[1] * 6],
        html.Div([html.P("x")] * 5),
        html.Div([html.Div([html.Div([1] * 4)] * 2)]),
    ],
)
def test_a_value_of_eleven_is(value):
    assert is_large(value, 10)


def test_what_does_not_show_its_size_is_large():
    class Figure:
        def to_plotly_json(self):
            return {}

    class Array:
        def __len__(self):
            return 0

    for value in (Figure(), Array(), b"", [Figure()], {"a": Array()}):
        assert is_large(value, 10)
    assert not is_large(object(), 10)
