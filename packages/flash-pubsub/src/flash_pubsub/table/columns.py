"""What a table's rows must be, and their JSON form; uses no event loop."""

from __future__ import annotations

import datetime
import numbers
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from flash import ConfigurationError
from flash.errors import quoted
from flash.serialize import dumps
from flash.settings import COUNT, Number, check, here, nearest
from flash_pubsub.broker.seam import Retention
from flash_pubsub.errors import InvalidRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Columns of a table and bytes of a key, at most.
MAX_COLUMNS = 1000
MAX_KEY_BYTES = 400

# Whole numbers up to this one are the same in a browser.
_MAX_WHOLE = 2**53 - 1

# A row must fit into one publication, for which brokers take 1 MiB by default.
_ROW_BYTES = Number(1, whole=True, most=512 << 10)

# Bytes that a broker stores with a row beside its key and its JSON.
_ROW_EXTRA_BYTES = 64

# Publications of a table that a broker keeps for workers that were away, and their bytes.
_MAX_MESSAGES = 5000
_MAX_BYTES = 8 << 20


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Integral)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Real | Decimal)


def _is_flag(value: object) -> bool:
    # numpy's own class is not imported for this.
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def _is_date(value: object) -> bool:
    return isinstance(value, datetime.date) or type(value).__name__ == "datetime64"


# The types that a column may have, by their names, with what their values are. A value that is
# missing (None, NaN, NaT) is allowed in each.
_KINDS: Mapping[str, Callable[[object], bool]] = {
    "str": _is_text,
    "int": _is_whole,
    "float": _is_number,
    "bool": _is_flag,
    "date": _is_date,
    "datetime": _is_date,
}
_KIND_OF: Mapping[object, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    datetime.date: "date",
    datetime.datetime: "datetime",
}


def _is_missing(value: object) -> bool:
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return True
    return isinstance(value, float) and value != value


@dataclass(frozen=True, slots=True)
class TableSettings:
    """The columns and the bounds of a table."""

    # The column whose value names a row.
    key: str
    columns: tuple[str, ...]
    # By column, in the same order: the name of its type, or "" for values of any type.
    kinds: tuple[str, ...]
    # With more than this a tenth of the rows is dropped, those that were inserted first.
    max_rows: int
    # Bytes of one row as JSON.
    max_row_bytes: int

    @property
    def key_index(self) -> int:
        """The place of the key among the columns."""
        return self.columns.index(self.key)

    @property
    def most_rows(self) -> int:
        """The rows at which the broker and every copy drop rows by themselves.

        Workers remove rows beyond ``max_rows`` before. That is cheaper for the broker, and happens
        a moment after the write.
        """
        return self.max_rows + max(1, self.max_rows // 10)

    @property
    def retention(self) -> Retention:
        """How much a broker keeps of the table."""
        return _retention(self.most_rows, self.max_row_bytes)


@lru_cache
def _retention(max_rows: int, max_row_bytes: int) -> Retention:
    return Retention(
        max_messages=_MAX_MESSAGES,
        max_bytes=_MAX_BYTES,
        max_values=max_rows,
        # The bound is the number of rows; this one is never reached before it.
        max_snapshot_bytes=max_rows * (max_row_bytes + MAX_KEY_BYTES + _ROW_EXTRA_BYTES),
        keeps_places=True,
    )


def table_settings(
    key: str,
    columns: Sequence[str] | Mapping[str, type | None],
    *,
    max_rows: int,
    max_row_bytes: int,
) -> TableSettings:
    """Check what an app gives for a table; raises `ConfigurationError`."""
    check(max_rows=(max_rows, COUNT), max_row_bytes=(max_row_bytes, _ROW_BYTES))
    kinds: list[str] = []
    types: Mapping[str, type | None] = columns if isinstance(columns, Mapping) else {}
    names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"columns={columns!r}: {name!r} cannot name a column; a name is a text of at least "
                f"one character{here()}"
            )
        kind = types.get(name)
        if kind is not None and kind not in _KIND_OF:
            raise ConfigurationError(
                f"columns: {name!r} has the type {kind!r}; it must be str, int, float, bool, date, "
                f"datetime, or None for any value{here()}"
            )
        kinds.append("" if kind is None else _KIND_OF[kind])
    twice = [name for name in names if names.count(name) > 1] if len(names) <= MAX_COLUMNS else []
    if isinstance(columns, str) or twice or not 1 <= len(names) <= MAX_COLUMNS:
        what = f" has {twice[0]!r} twice;" if twice else ""
        raise ConfigurationError(
            f"columns={quoted(str(columns))}:{what} must be a list of 1 to {MAX_COLUMNS} names, "
            f"each once, or a dictionary of their types{here()}"
        )
    if key not in names:
        raise ConfigurationError(
            f"key={key!r} is none of the columns{nearest(key, names)}; name the column whose value "
            f"is different in each row{here()}"
        )
    return TableSettings(key, tuple(names), tuple(kinds), max_rows, max_row_bytes)


@lru_cache(256)
def encoder_of(table: str, settings: TableSettings) -> RowEncoder:
    """Return the encoder of a table; it has no state."""
    return RowEncoder(table, settings)


class RowEncoder:
    """Checks rows of one table and makes their keys and their JSON; raises `InvalidRow`."""

    def __init__(self, table: str, settings: TableSettings) -> None:
        self._table = table
        self._settings = settings
        self._names = frozenset(settings.columns)
        self._key_index = settings.key_index
        self._checked = [
            (index, kind, _KINDS[kind]) for index, kind in enumerate(settings.kinds) if kind
        ]

    def of_mapping(self, row: Mapping[str, Any]) -> tuple[str, bytes]:
        """Return the key and the JSON of a row given by the names of its columns."""
        try:
            values = [row[name] for name in self._settings.columns]
            is_whole = len(row) == len(values)
        except (KeyError, TypeError):
            is_whole, values = False, []
        if not is_whole:
            if not isinstance(row, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
                self._refuse(row, f"it is a {type(row).__name__}; a row is a dictionary")
            self.check_names(row, row)
        return self.of_values(values)

    def check_names(self, names: Iterable[object], row: object = None) -> None:
        """Raise `InvalidRow` unless these are exactly the columns."""
        given = list(names)
        for name in given:
            if name not in self._names:
                self._refuse(
                    row,
                    f"there is no column {name!r}"
                    f"{nearest(str(name), self._settings.columns)}; the table has "
                    f"{', '.join(self._settings.columns)}",
                )
        for name in self._settings.columns:
            if name not in given:
                self._refuse(
                    row, f"the column {name!r} is missing; give None where there is no value"
                )

    def of_values(self, values: Sequence[object]) -> tuple[str, bytes]:
        """Return the key and the JSON of a row given in the order of the columns."""
        settings = self._settings
        for index, kind, allows in self._checked:
            value = values[index]
            if not allows(value) and not _is_missing(value):
                self._refuse(
                    values,
                    f"the value {value!r} of the column {settings.columns[index]!r} is a "
                    f"{type(value).__name__}, and the column takes {kind}",
                )
        key = self.key_of(values[self._key_index], values)
        try:
            encoded = dumps(list(values))
        except (TypeError, ValueError) as error:
            raise self._without_json(values) from error
        if len(encoded) > settings.max_row_bytes:
            self._refuse(
                values,
                f"it has {len(encoded):,} bytes as JSON, and max_row_bytes is "
                f"{settings.max_row_bytes:,}",
            )
        return key, encoded

    def key_of(self, value: object, row: object = None) -> str:
        """Return the text that names a row with this value in the column of the key."""
        if isinstance(value, str):
            # The text of a member of an enumeration, too, as in JSON.
            key = str.__str__(value)
        elif isinstance(value, uuid.UUID):
            key = str(value)
        elif not isinstance(value, bool) and isinstance(value, numbers.Integral):
            if abs(int(value)) > _MAX_WHOLE:
                self._refuse(
                    row,
                    f"the key {int(value)} is beyond {_MAX_WHOLE}, up to which browsers tell whole "
                    "numbers apart; give it as a text",
                )
            key = str(int(value))
        else:
            self._refuse(
                row,
                f"the key {value!r} in the column {self._settings.key!r} is a "
                f"{type(value).__name__}; a key is a text, a whole number or a UUID",
            )
        try:
            size = len(key.encode())
        except UnicodeEncodeError:
            size = 0
        if not 1 <= size <= MAX_KEY_BYTES:
            self._refuse(row, f"the key {quoted(key)} must be a text of 1 to {MAX_KEY_BYTES} bytes")
        return key

    def _without_json(self, values: Sequence[object]) -> InvalidRow:
        for name, value in zip(self._settings.columns, values, strict=True):
            try:
                dumps(value)
            except (TypeError, ValueError):
                return InvalidRow(
                    self._table,
                    quoted(repr(values)),
                    f"the value {quoted(repr(value))} of the column {name!r} has no JSON form",
                )
        return InvalidRow(self._table, quoted(repr(values)), "it has no JSON form")

    def _refuse(self, row: object, reason: str) -> NoReturn:
        shown = "" if row is None else quoted(repr(row))
        raise InvalidRow(self._table, shown, reason)
