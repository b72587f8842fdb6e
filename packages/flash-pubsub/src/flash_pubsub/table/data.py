"""Reading the rows that an app gives: dictionaries, or a DataFrame of pandas, polars and others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from flash_pubsub.errors import InvalidRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash_pubsub.table.columns import RowEncoder, TableSettings

# Rows that are encoded in a row before other tasks on the event loop run.
_ROWS_PER_SLICE = 500


async def encoded_rows(
    data: object, table: str, settings: TableSettings, encoder: RowEncoder
) -> dict[str, bytes]:
    """Return rows as JSON by key; of several rows with one key the last counts.

    Raises `InvalidRow` for the first row that does not fit, and has then changed nothing.
    """
    rows: dict[str, bytes] = {}
    for count, (key, encoded) in enumerate(_encoded(data, table, settings, encoder), start=1):
        rows[key] = encoded
        if count % _ROWS_PER_SLICE == 0:
            await asyncio.sleep(0)
    return rows


def _encoded(
    data: object, table: str, settings: TableSettings, encoder: RowEncoder
) -> Iterator[tuple[str, bytes]]:
    if isinstance(data, Mapping):
        return iter((encoder.of_mapping(cast("Mapping[str, Any]", data)),))
    if isinstance(data, list | tuple):
        return map(encoder.of_mapping, cast("Iterable[Mapping[str, Any]]", data))
    frame = _data_frame(data, table)
    if frame is not None:
        encoder.check_names(frame.columns)
        ordered = frame.select(list(settings.columns))
        return map(encoder.of_values, ordered.iter_rows())
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise InvalidRow(
            table,
            "",
            f"a {type(data).__name__} holds no rows; give a list of dictionaries or a DataFrame",
        )
    return map(encoder.of_mapping, cast("Iterable[Mapping[str, Any]]", data))


def _data_frame(data: object, table: str) -> Any:
    """Return a DataFrame of any library as one of narwhals; None for anything else."""
    # Of the class, since the columns of a frame that is not computed yet may take long.
    if not hasattr(type(data), "columns") and not hasattr(data, "__narwhals_dataframe__"):
        return None
    # Not above: few apps write DataFrames.
    try:
        import narwhals
    except ImportError as error:
        raise InvalidRow(
            table,
            "",
            f"a {type(data).__name__} is read by narwhals, which is not installed: "
            'pip install "flash-pubsub[tables]"',
        ) from error

    frame: Any = narwhals.from_native(cast("Any", data), pass_through=True)
    if isinstance(frame, narwhals.LazyFrame):
        raise InvalidRow(table, "", f"a {type(data).__name__} has no rows yet; give its .collect()")
    return frame if isinstance(frame, narwhals.DataFrame) else None
