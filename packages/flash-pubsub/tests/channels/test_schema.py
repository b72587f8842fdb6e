"""What a channel's messages must be: models, dataclasses, typed dictionaries, and what is none."""

import dataclasses
import datetime
import sys
import typing

import pydantic
import pytest
import typing_extensions

from flash import ConfigurationError
from flash_pubsub.channels.schema import Schema
from flash_pubsub.errors import InvalidMessage


class Price(pydantic.BaseModel):
    t: int
    p: float = 1.0


@dataclasses.dataclass
class Order:
    number: int
    price: Price = dataclasses.field(default_factory=lambda: Price(t=0))


class Note(typing_extensions.TypedDict, total=False):
    text: str


class PlainNote(typing.TypedDict):
    text: str


@dataclasses.dataclass
class Letter:
    note: PlainNote


@pytest.mark.parametrize(
    ("kind", "given", "sent"),
    [
        (Price, {"t": "1"}, {"t": 1, "p": 1.0}),
        (Price, Price(t=1, p=2), {"t": 1, "p": 2.0}),
        (Order, {"number": 7}, {"number": 7, "price": {"t": 0, "p": 1.0}}),
        (Order, Order(7, Price(t=1)), {"number": 7, "price": {"t": 1, "p": 1.0}}),
        (Note, {}, {}),
        (Note, {"text": "hi"}, {"text": "hi"}),
        (list[Price], [{"t": 1}], [{"t": 1, "p": 1.0}]),
        (datetime.date, "2026-01-02", "2026-01-02"),
        (datetime.date, datetime.date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_what_fits_is_sent_with_its_defaults(kind, given, sent):
    assert Schema(kind).validate("channel", given) == sent


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        (Price, {"t": "soon"}, "'channel' takes Price: t: .*integer"),
        (Order, {"number": 1, "price": {"t": None}}, "takes Order: price.t: "),
        (Note, {"text": 5}, "takes Note: text: "),
        (Note, [], "takes Note: the message: "),
        (int | None, "x", r"takes int \| None: "),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(kind, given, reason):
    with pytest.raises(InvalidMessage, match=reason):
        Schema(kind).validate("channel", given)


@pytest.mark.parametrize("kind", [PlainNote, Letter])
def test_the_typed_dictionary_of_an_older_python_is_refused_with_the_remedy(kind):
    message = {"text": "hi"} if kind is PlainNote else {"note": {"text": "hi"}}
    if sys.version_info >= (3, 12):
        assert Schema(kind).validate("channel", message) == message
    else:
        with pytest.raises(
            ConfigurationError,
            match=f"schema={kind.__name__}: .*with pydantic: from typing_extensions import",
        ):
            Schema(kind)


@pytest.mark.parametrize("kind", [3, "Price", object()])
def test_what_is_no_schema_is_refused_when_it_is_given(kind):
    with pytest.raises(ConfigurationError, match="a pydantic model, a dataclass or a TypedDict"):
        Schema(kind)


def test_without_pydantic_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(
        ConfigurationError,
        match=r'^schema=Price needs pydantic: pip install "flash-pubsub\[schema\]"',
    ):
        Schema(Price)


def test_the_reason_that_pydantic_gives_is_handed_on_in_one_line():
    with pytest.raises(ConfigurationError, match=r"schema=3: .*\(.*schema for 3.*\)$"):
        Schema(3)
