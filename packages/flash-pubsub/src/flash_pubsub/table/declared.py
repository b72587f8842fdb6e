"""The tables of an app, written to the broker for publishers in other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgpack

from flash_pubsub.broker.backplane import PREFIX
from flash_pubsub.broker.seam import Retention
from flash_pubsub.channels.declaration import ChannelPattern
from flash_pubsub.errors import UnsupportedEnvelope
from flash_pubsub.table.columns import TableSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication
    from flash_pubsub.table.table import Declaration
    from flash_ws.protocol.position import Position

TABLES_CHANNEL = f"{PREFIX}tables"
TABLES_FIELD = "tables"

_VERSION = 1
_PERMANENT = Retention(max_idle=10 * 365 * 86_400.0)


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
        return cast("bytes", msgpack.packb([_VERSION, tables]))

    @classmethod
    def unpack(cls, data: bytes) -> DeclaredTables:
        """Decode settings from the broker; raises `UnsupportedEnvelope`."""
        try:
            version, tables = cast("tuple[int, list[Any]]", msgpack.unpackb(data))
            if version != _VERSION:
                raise UnsupportedEnvelope(
                    f"the app's tables have version {version}; this reads version {_VERSION}"
                )
            return cls(
                tuple(
                    (
                        ChannelPattern(pattern),
                        TableSettings(key, tuple(columns), tuple(kinds), max_rows, max_row_bytes),
                    )
                    for pattern, key, columns, kinds, max_rows, max_row_bytes in tables
                )
            )
        except UnsupportedEnvelope:
            raise
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise UnsupportedEnvelope("these are no tables of an app") from error


class PublishedTables:
    """Writes an app's tables to the broker.

    Of several versions of the app, the tables of the worker that started last are in effect. As a
    `Listener` it writes them again when the store has lost them.
    """

    def __init__(
        self, tables: DeclaredTables, listeners: Listeners, backplane: BrokerBackplane
    ) -> None:
        self._packed = tables.pack()
        self._listeners = listeners
        self._backplane = backplane

    async def start(self) -> None:
        """Write the tables to the broker."""
        await self._listeners.listen(TABLES_CHANNEL, self)
        await self._write()

    async def _write(self) -> None:
        broker = self._listeners.broker
        if await broker.value(TABLES_CHANNEL, TABLES_FIELD) != self._packed:
            await broker.publish(
                TABLES_CHANNEL, b"", changes={TABLES_FIELD: self._packed}, retention=_PERMANENT
            )

    def deliver(self, publication: Publication) -> None:
        """Do nothing: another version of the app may write other tables."""

    def reset(self, channel: str, position: Position) -> None:
        """Write the tables again, because the store may have lost them."""
        del channel, position
        self._backplane.spawn(self._backplane.retry_until_available(self._write))
