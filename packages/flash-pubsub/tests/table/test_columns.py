"""What a row must be, and its key and JSON."""

import datetime
import enum
import uuid
from decimal import Decimal

import numpy
import orjson
import pytest

from flash import ConfigurationError
from flash_pubsub import InvalidRow
from flash_pubsub.broker.seam import Retention
from flash_pubsub.table.columns import MAX_COLUMNS, RowEncoder, encoder_of, table_settings


class Side(str, enum.Enum):  # noqa: UP042  its str() is another text
    BUY = "buy"


def settings(key="id", columns=("id", "price"), max_rows=100, max_row_bytes=1000):
    return table_settings(key, columns, max_rows=max_rows, max_row_bytes=max_row_bytes)


def encoder(columns=("id", "price"), **options):
    return RowEncoder("orders", settings(columns=columns, **options))


def test_a_row_is_json_in_the_order_of_the_columns():
    key, encoded = encoder().of_mapping({"price": 2.5, "id": "a"})
    assert key == "a"
    assert orjson.loads(encoded) == ["a", 2.5]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("a", "a"),
        (7, "7"),
        (numpy.int64(7), "7"),
        (2**53 - 1, "9007199254740991"),
        (1 - 2**53, "-9007199254740991"),
        ("x" * 400, "x" * 400),
        ("é" * 200, "é" * 200),
        (Side.BUY, "buy"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_key_is_a_text_a_whole_number_or_a_uuid(value, key):
    found, encoded = encoder().of_mapping({"id": value, "price": 1})
    assert found == key
    # A browser makes the same text of what it gets.
    assert str(orjson.loads(encoded)[0]) == key


@pytest.mark.parametrize("value", [None, 1.0, float("nan"), True, b"a", datetime.date(2026, 1, 1)])
def test_other_keys_are_refused_by_their_value_and_type(value):
    with pytest.raises(InvalidRow, match=r"a key is a text, a whole number or a UUID") as refused:
        encoder().of_mapping({"id": value, "price": 1})
    assert repr(value) in str(refused.value)
    assert type(value).__name__ in str(refused.value)
    assert "orders" in str(refused.value)


@pytest.mark.parametrize("value", ["", "x" * 401, "é" * 200 + "x", "\ud800", 2**53, -(2**53)])
def test_keys_without_text_too_long_or_beyond_a_browsers_numbers_are_refused(value):
    with pytest.raises(InvalidRow, match="key"):
        encoder().of_mapping({"id": value, "price": 1})


def test_an_unknown_and_a_missing_column_are_named_with_what_there_is():
    with pytest.raises(InvalidRow, match=r"no column 'prise'; did you mean 'price'\?"):
        encoder().of_mapping({"id": 1, "prise": 2})
    with pytest.raises(InvalidRow, match=r"column 'price' is missing; give None"):
        encoder().of_mapping({"id": 1})
    with pytest.raises(InvalidRow, match="there is no column 'more'"):
        encoder().of_mapping({"id": 1, "price": 2, "more": 3})
    with pytest.raises(InvalidRow, match="it is a int; a row is a dictionary"):
        encoder().of_mapping(3)


def test_values_are_written_by_the_serialiser_of_the_project():
    columns = ["id", "a", "b", "c", "d", "e", "f"]
    row = {
        "id": 1,
        "a": float("nan"),
        "b": float("inf"),
        "c": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "d": Decimal("1.25"),
        "e": numpy.float64(2.5),
        "f": [1, None, {"x": "y"}],
    }
    _, encoded = encoder(columns=columns).of_mapping(row)
    assert orjson.loads(encoded) == [
        *(1, None, None, "2026-01-02T03:04:05", 1.25, 2.5),
        [1, None, {"x": "y"}],
    ]


def test_a_value_without_json_form_is_named_with_its_column():
    with pytest.raises(InvalidRow, match="of the column 'price' has no JSON form"):
        encoder().of_mapping({"id": 1, "price": object()})


def test_a_row_that_is_nested_too_deep_is_refused_although_its_value_is_not():
    deep = 1
    for _ in range(254):
        deep = [deep]
    orjson.dumps(deep)
    with pytest.raises(InvalidRow, match="it has no JSON form"):
        encoder().of_mapping({"id": 1, "price": deep})


def test_a_row_that_is_too_long_is_refused_with_both_sizes():
    with pytest.raises(InvalidRow, match=r"1,006 bytes as JSON, and max_row_bytes is 1,000"):
        encoder().of_mapping({"id": 1, "price": "x" * 1000})


TYPED = {
    "id": int,
    "name": str,
    "price": float,
    "open": bool,
    "day": datetime.date,
    "at": datetime.datetime,
    "any": None,
}
FITTING = {
    "id": 1,
    "name": "a",
    "price": 2,
    "open": True,
    "day": datetime.date(2026, 1, 1),
    "at": datetime.datetime(2026, 1, 1),
    "any": [1],
}


def test_types_of_columns_take_what_fits_and_what_is_missing():
    typed = encoder(columns=TYPED)
    typed.of_mapping(FITTING)
    typed.of_mapping({**FITTING, "price": Decimal(1), "open": numpy.True_, "id": numpy.int32(3)})
    typed.of_mapping({**dict.fromkeys(TYPED), "id": 1, "price": float("nan")})


@pytest.mark.parametrize(
    ("column", "value"),
    [("id", "1"), ("name", 1), ("price", "2"), ("price", True), ("open", 1), ("at", "2026-01-01")],
)
def test_a_value_of_another_type_is_refused_with_column_value_and_type(column, value):
    with pytest.raises(InvalidRow) as refused:
        encoder(columns=TYPED).of_mapping({**FITTING, column: value})
    expected = f"the value {value!r} of the column {column!r} is a {type(value).__name__}"
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("key", "columns", "words"),
    [
        ("no", ["id", "price"], r"key='no' is none of the columns"),
        ("idd", ["id", "price"], r"did you mean 'id'\?"),
        ("id", ["id", "id"], r"^columns=\"\['id', 'id'\]\": has 'id' twice; must be"),
        ("id", [], r"^columns='\[\]': must be a list of 1 to 1000 names"),
        ("id", "id", r"a list of 1 to 1000 names"),
        ("id", ["id", ""], r"'' cannot name a column"),
        ("id", ["id", 3], r"3 cannot name a column"),
        ("id", {"id": complex}, r"must be str, int, float, bool, date, datetime, or None"),
    ],
)
def test_columns_and_key_are_checked_where_they_are_given(key, columns, words):
    with pytest.raises(ConfigurationError, match=words) as wrong:
        settings(key=key, columns=columns)
    assert "test_columns.py" in str(wrong.value)


@pytest.mark.parametrize("option", ["max_rows", "max_row_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, None])
def test_bounds_are_checked_where_they_are_given(option, value):
    with pytest.raises(ConfigurationError, match=option):
        settings(**{option: value})


def test_a_row_must_fit_into_one_publication():
    with pytest.raises(ConfigurationError, match=r"max_row_bytes=600000: must be .* up to 524288"):
        settings(max_row_bytes=600_000)


def test_a_row_of_just_the_bound_is_taken():
    # The JSON of ["1", "…"] without the text has six bytes beside it.
    assert len(encoder().of_mapping({"id": 1, "price": "x" * 994})[1]) == 1000


def test_a_refusal_has_the_table_and_the_row_that_was_given():
    with pytest.raises(InvalidRow) as refused:
        encoder(columns=TYPED).of_mapping({**FITTING, "day": "soon"})
    assert "orders" in str(refused.value)
    assert "[1, 'a', 2, True, 'soon'" in str(refused.value)
    with pytest.raises(InvalidRow) as refused:
        encoder().key_of(2**53)
    assert f"the key {2**53} is beyond {2**53 - 1}" in str(refused.value)
    with pytest.raises(InvalidRow, match="there is no column 'x'; the table has id, price"):
        encoder().check_names(["id", "price", "x"])


@pytest.mark.parametrize("name", ["None", "NaN", "NaT", "NA"])
@pytest.mark.parametrize("column", [name for name in TYPED if name != "id"])
def test_a_missing_value_fits_every_type(column, name):
    missing = {"None": None, "NaN": float("nan")}.get(name, name)
    if missing == name:
        missing = getattr(pytest.importorskip("pandas"), name)
    _, encoded = encoder(columns=TYPED).of_mapping({**FITTING, column: missing})
    assert orjson.loads(encoded)[list(TYPED).index(column)] is None


def test_a_table_may_have_one_to_a_thousand_columns():
    assert settings(columns=["id"]).columns == ("id",)
    names = [f"c{number}" for number in range(MAX_COLUMNS)]
    assert settings(key="c0", columns=names).columns == tuple(names)
    with pytest.raises(ConfigurationError, match="1 to 1000 names"):
        settings(key="c0", columns=[*names, "more"])


@pytest.mark.parametrize(("most", "kept"), [(1, 2), (9, 10), (10, 11), (1000, 1100)])
def test_a_broker_keeps_a_tenth_more_rows_than_a_table_has(most, kept):
    table = settings(max_rows=most, max_row_bytes=100)
    assert table.most_rows == kept
    assert table.retention == Retention(
        max_messages=5000,
        max_bytes=8 << 20,
        max_values=kept,
        max_snapshot_bytes=kept * (100 + 400 + 64),
        keeps_places=True,
    )


def test_settings_have_columns_and_types_in_order_and_know_the_key():
    typed = settings(key="price", columns=TYPED)
    assert (typed.columns, typed.key_index) == (tuple(TYPED), 2)
    assert typed.kinds == ("int", "str", "float", "bool", "date", "datetime", "")
    assert settings().kinds == ("", "")
    assert encoder_of("orders", typed) is encoder_of("orders", settings("price", TYPED))
