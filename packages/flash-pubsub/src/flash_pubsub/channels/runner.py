"""Running the callbacks of channels with messages, one call after the other."""

from __future__ import annotations

import logging
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dash.exceptions import PreventUpdate

from flash.callbacks.context import EventContext
from flash.callbacks.execution import within
from flash.callbacks.traced import call_in_span
from flash.errors import CallbackTimeout
from flash.exits import ends_task
from flash_pubsub.broker.envelope import BYTES, JSON, Envelope
from flash_pubsub.broker.spans import channel_span
from flash_pubsub.channels.results import CallbackResult, combined
from flash_pubsub.errors import UnsupportedEnvelope
from flash_ws.protocol.frames import props_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextvars import Context

    from flash import Flash
    from flash.tracing import Tracing
    from flash_pubsub.broker.seam import Publication
    from flash_pubsub.channels.declaration import MatchedCallback
    from flash_ws.protocol.frames import Message

logger = logging.getLogger(__name__)

# Messages processed in a row before other tasks on the event loop run, such as writers of pages.
MESSAGES_PER_SLICE = 16


@dataclass(slots=True)
class ChannelCounters:
    """Counters of all channels whose callbacks a worker runs."""

    # Messages that were skipped because callbacks were too slow.
    skipped: int = 0
    # Messages that were no longer kept when callbacks came to them.
    lost: int = 0
    # Calls that took longer than the ``timeout`` of their callback.
    timeouts: int = 0


class CallbackRunner:
    """Runs channel callbacks on one worker, with new messages and with those of the history."""

    def __init__(self, app: Flash) -> None:
        self._app = app
        self.counters = ChannelCounters()

    async def report_lost(
        self, channel: str, callbacks: Sequence[MatchedCallback], count: int, reason: str
    ) -> None:
        """Log that ``count`` messages cannot be run, and call the ``on_lost`` of the callbacks."""
        logger.warning("channel %r: %d messages are lost to callbacks: %s", channel, count, reason)
        for matched in callbacks:
            callback = matched.callback
            if callback.on_lost is None:
                continue
            try:
                await self._app.pool.call(callback.on_lost, channel, count)
            except Exception:  # an application's function: logged, and the rest run
                logger.exception("on_lost of the channel callback %r failed", callback.name)

    async def run(
        self, callbacks: Sequence[MatchedCallback], publication: Publication
    ) -> Message | None:
        """Run callbacks with a message and return what they set; a failed callback is logged."""
        return combined(await self.run_each(callbacks, publication))

    async def run_each(
        self,
        callbacks: Sequence[MatchedCallback],
        publication: Publication,
        report: Callable[[MatchedCallback, BaseException], object] | None = None,
    ) -> list[CallbackResult]:
        """Run callbacks with a message and return what each has set, if anything.

        ``report`` gets their errors; without it these are logged.
        """
        channel = publication.channel
        try:
            envelope = Envelope.unpack(publication.payload)
            if envelope.kind not in (JSON, BYTES):
                return []
            data = envelope.data
        except UnsupportedEnvelope as error:
            logger.warning("channel %r: %s", channel, error)
            return []
        tracing = self._app.tracing
        traced: Context | None = None
        results: list[CallbackResult] = []
        for matched in callbacks:
            callback = matched.callback
            own: list[Any] = []
            context = EventContext.without_inputs()
            try:
                with context.active():
                    if tracing is None:
                        result = await self._call(matched, data)
                    else:
                        result, traced = await self._call_traced(
                            tracing, matched, data, channel, envelope
                        )
                own.extend(callback.outputs.updates(result, callback.name))
                own.extend(context.take_updates())
                # Raises an error for what cannot be sent, which is this callback's alone.
                message = props_message(own)
            except PreventUpdate:
                continue
            except BaseException as error:
                # An application's function: logged, and the next message is handled.
                if ends_task(error):
                    raise
                self.counters.timeouts += (
                    isinstance(error, CallbackTimeout) and error.callback_id == callback.name
                )
                if report is None:
                    logger.exception("channel callback %r failed", callback.name)
                else:
                    report(matched, error)
                continue
            if own:
                results.append(CallbackResult(matched, own, message, traced))
        return results

    def _call(self, matched: MatchedCallback, data: Any) -> Awaitable[Any]:
        callback = matched.callback
        call = self._app.pool.call(callback.function, data, **matched.variables)
        return within(callback.name, callback.timeout, call)

    async def _call_traced(
        self,
        tracing: Tracing,
        matched: MatchedCallback,
        data: Any,
        channel: str,
        envelope: Envelope,
    ) -> tuple[Any, Context]:
        """Call in a span; return the result, and the context in which the span is current."""
        callback = matched.callback
        pattern = callback.pattern.text
        span = channel_span(tracing, channel, pattern, callback.name, envelope)

        async def call() -> tuple[Any, Context]:
            return await self._call(matched, data), copy_context()

        return await call_in_span(span, call)
