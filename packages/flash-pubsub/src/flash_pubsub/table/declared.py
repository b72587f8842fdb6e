"""The tables of an app, written to the broker for publishers in other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash_pubsub.broker.app_value import AppValue, pack_entries, unpack_entries
from flash_pubsub.broker.page_frames import PREFIX
from flash_pubsub.channels.declaration import ChannelPattern
from flash_pubsub.table.columns import TableSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.table.table import Declaration

TABLES_CHANNEL = f"{PREFIX}tables"
TABLES_FIELD = "tables"


@dataclass(frozen=True, slots=True)
class DeclaredTables:
    """The settings of tables by pattern; the first pattern that matches a table applies."""

    by_pattern: tuple[tuple[ChannelPattern, TableSettings], ...] = ()

    @classmethod
    def of(cls, declarations: Iterable[Declaration]) -> DeclaredTables:
        """Return the settings of what an app has declared."""
        return cls(tuple((each.pattern, each.settings) for each in declarations))

    def settings(self, table: str) -> TableSettings | None:
        """Return the settings of a table; None if no pattern matches it."""
        for pattern, settings in self.by_pattern:
            if pattern.match(table) is not None:
                return settings
        return None

    def pack(self) -> bytes:
        """Encode the settings for the broker."""
        tables = [
            [
                pattern.text,
                each.key,
                list(each.columns),
                list(each.kinds),
                each.max_rows,
                each.max_row_bytes,
            ]
            for pattern, each in self.by_pattern
        ]
        return pack_entries(tables)

    @classmethod
    def unpack(cls, data: bytes) -> DeclaredTables:
        """Decode settings from the broker; raises `UnsupportedEnvelope`."""
        return cls(unpack_entries(data, "tables of an app", _table))


def _table(
    pattern: str, key: str, columns: Any, kinds: Any, max_rows: int, max_row_bytes: int
) -> tuple[ChannelPattern, TableSettings]:
    settings = TableSettings(key, tuple(columns), tuple(kinds), max_rows, max_row_bytes)
    return ChannelPattern(pattern), settings


def published_tables(
    tables: DeclaredTables, listeners: Listeners, backplane: BrokerBackplane
) -> AppValue:
    """Return what writes an app's tables to the broker."""
    return AppValue(TABLES_CHANNEL, TABLES_FIELD, tables.pack(), listeners, backplane)
