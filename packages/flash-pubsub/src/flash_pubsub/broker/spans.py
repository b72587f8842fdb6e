"""Spans of messages; the trace goes on where a message arrives, by the extras of its envelope.

A message that was published while the app was traced carries ``traceparent`` (and ``tracestate``)
of W3C Trace Context. Workers of earlier versions ignore it, and messages of theirs have none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash.tracing import carrier_of, message_span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from flash.tracing import Span, Tracing, Value
    from flash_pubsub.broker.envelope import Envelope
    from flash_ws.protocol.position import Position

# The extras that carry a trace.
_CARRIED = ("traceparent", "tracestate")


def carrier_in(envelope: Envelope) -> Mapping[str, str]:
    """Return what names the span in which a message was published; empty if nothing does."""
    extras = envelope.extras
    return {name: str(extras[name]) for name in _CARRIED if name in extras}


def publish_span(
    tracing: Tracing, channel: str, attributes: Mapping[str, Value]
) -> AbstractContextManager[Span]:
    """Return the span ``publish <channel>``, named as OpenTelemetry's conventions have it."""
    about = _about(channel, "publish", "send")
    return tracing.span(f"publish {channel}", {**about, **attributes})


async def publish_in_span(
    tracing: Tracing,
    channel: str,
    envelope: Envelope,
    publish: Callable[[bytes], Awaitable[Position]],
) -> Position:
    """Publish a message in a span, which the message carries on."""
    attributes: dict[str, Value] = {
        "messaging.message.id": envelope.id,
        "messaging.message.body.size": len(envelope.body),
    }
    with publish_span(tracing, channel, attributes):
        carrier = carrier_of(tracing)
        kept = {name: carrier[name] for name in _CARRIED if name in carrier}
        if kept:
            envelope = replace(envelope, extras={**envelope.extras, **kept})
        return await publish(envelope.pack())


def channel_span(
    tracing: Tracing, channel: str, pattern: str, callback: str, envelope: Envelope
) -> AbstractContextManager[Span]:
    """Return the span ``channel <channel>`` of one run of a channel callback for a message.

    OpenTelemetry's conventions ask for a link to the publication in any case, because one message
    has many receivers. They allow it as the parent, too, where a span processes a single message:
    so it is here, and one trace shows the way of a message through all workers.
    """
    attributes = _about(channel, "process", "process")
    attributes["messaging.destination.template"] = pattern
    attributes["messaging.message.id"] = envelope.id
    attributes["flash.callback.id"] = callback
    return message_span(tracing, f"channel {channel}", attributes, carrier_in(envelope))


def _about(channel: str, operation: str, kind: str) -> dict[str, Value]:
    return {
        "messaging.system": "flash",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": channel,
    }
