"""Frames for pages in a broker: the names of their channels, and frames in envelopes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from flash.log_limit import limited_logger
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.seam import Retention
from flash_pubsub.errors import UnsupportedEnvelope
from flash_ws.protocol.frames import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash_pubsub.broker.seam import Publication
    from flash_ws.protocol.frames import Frame

logger = limited_logger(__name__)

# The broker's names of page channels begin with this. Users cannot publish on such a channel.
PREFIX = "live:"

# The kind of the envelope of a frame for pages.
FRAME = "frame"

# Channels of one page or of a group are short-lived.
SHORT_RETENTION = Retention(max_values=1000, max_snapshot_bytes=1 << 20, max_idle=900.0)


def envelope_extras(message: Message) -> dict[str, Any]:
    """Return the envelope's extras of a message: the properties that it sets or builds on."""
    extras: dict[str, Any] = {}
    with contextlib.suppress(TypeError, ValueError):
        if message.sets:
            extras["sets"] = [list(cast("tuple[str, str]", key)) for key in message.sets]
        if message.touches:
            extras["touches"] = [list(cast("tuple[str, str]", key)) for key in message.touches]
    return extras


def frame_of(channel: str, publication: Publication) -> Frame | None:
    """Return the frame that a publication carries; None if it carries something else."""
    try:
        envelope = Envelope.unpack(publication.payload)
    except UnsupportedEnvelope as error:
        logger.warning("channel %r: %s", channel, error)
        return None
    if envelope.kind != FRAME:
        return None
    extras = envelope.extras
    message = Message(
        envelope.body.decode(),
        sets=_keys(extras.get("sets", ())),
        touches=_keys(extras.get("touches", ())),
    )
    return message.numbered(channel, publication.position.number)


def _keys(pairs: Any) -> frozenset[Any]:
    return frozenset(tuple(pair) for pair in pairs)


def updates_of(values: Mapping[str, bytes]) -> str:
    """Encode a snapshot as the member ``u`` of a frame."""
    entries: list[str] = []
    for name, value in values.items():
        component_id, tab, prop = name.partition("\t")
        if tab:
            entries.append(f"[{component_id},{{{prop}:{value.decode()}}}]")
    return f"[{','.join(entries)}]"
