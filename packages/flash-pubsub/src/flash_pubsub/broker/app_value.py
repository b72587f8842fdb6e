"""What an app has declared, written to the broker for publishers in other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgpack

from flash_pubsub.broker.seam import Retention
from flash_pubsub.errors import UnsupportedEnvelope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication
    from flash_ws.protocol.position import Position

T = TypeVar("T")

_VERSION = 1
_PERMANENT = Retention(max_idle=10 * 365 * 86_400.0)


def pack_entries(entries: Sequence[Sequence[Any]]) -> bytes:
    """Encode a list of declarations for the broker."""
    return cast("bytes", msgpack.packb([_VERSION, entries]))


def unpack_entries(data: bytes, what: str, make: Callable[..., T]) -> tuple[T, ...]:
    """Return ``make(*entry)`` for each declaration; raises `UnsupportedEnvelope`, naming ``what``.

    ``make`` may raise ``ValueError`` and ``TypeError`` for an entry that is none.
    """
    try:
        version, entries = cast("tuple[int, list[Any]]", msgpack.unpackb(data))
        if version != _VERSION:
            raise UnsupportedEnvelope(
                f"{what} have version {version}; this reads version {_VERSION}"
            )
        return tuple(make(*each) for each in entries)
    except UnsupportedEnvelope:
        raise
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise UnsupportedEnvelope(f"these are no {what}") from error


class AppValue:
    """Writes what an app has declared to the broker: a value in the snapshot of ``channel``.

    Of several versions of the app, the value of the worker that started last is in effect. As a
    `Listener` it writes the value again when the store has lost it. A value that ``is_empty`` only
    replaces another one.
    """

    def __init__(
        self,
        channel: str,
        field: str,
        packed: bytes,
        listeners: Listeners,
        backplane: BrokerBackplane,
        *,
        is_empty: bool = False,
    ) -> None:
        self._channel = channel
        self._field = field
        self._packed = packed
        self._is_empty = is_empty
        self._listeners = listeners
        self._backplane = backplane

    async def start(self) -> None:
        """Write the value to the broker."""
        await self._listeners.listen(self._channel, self)
        await self._write()

    async def _write(self) -> None:
        broker = self._listeners.broker
        known = (await broker.snapshot(self._channel)).values.get(self._field)
        if known == self._packed or (known is None and self._is_empty):
            return
        await broker.publish(
            self._channel, b"", changes={self._field: self._packed}, retention=_PERMANENT
        )

    def deliver(self, publication: Publication) -> None:
        """Do nothing: another version of the app may write another value."""

    def reset(self, channel: str, position: Position) -> None:
        """Write the value again, because the store may have lost it."""
        del channel, position
        self._backplane.spawn(self._backplane.retry_until_available(self._write))
