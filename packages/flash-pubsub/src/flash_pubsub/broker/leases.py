"""Running work on one worker of the deployment at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING

from flash_pubsub.errors import BrokerError, Fenced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flash_pubsub.broker.seam import Broker, Lease

logger = logging.getLogger(__name__)

# Seconds before failed work is started again: the first delay, and the longest.
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0


async def run_while_leading(
    broker: Broker,
    name: str,
    ttl: float,
    work: Callable[[Lease], Awaitable[None]],
    *,
    channel: str | None = None,
) -> None:
    """Run ``work(lease)`` whenever this worker holds the lease; never returns.

    When a worker dies, another one starts the work within 4/3 of ``ttl`` seconds. Work that fails
    is logged and started again, on any worker, after a growing delay. Work that returns is done:
    this worker keeps the lease, so that no other worker starts the work.
    """
    delay = _FIRST_DELAY
    while True:
        lease = None
        with contextlib.suppress(BrokerError):
            # The broker itself logs that Redis does not answer.
            lease = await broker.lease(name, ttl, channel=channel)
        if lease is None:
            await asyncio.sleep(ttl / 3 * random.uniform(0.8, 1.0))
            continue
        try:
            await run_under_lease(broker, lease, ttl, work)
            delay = _FIRST_DELAY
        except (BrokerError, Fenced) as error:
            logger.warning("lease %r: %s; another worker may take over", name, error)
        except Exception:  # an application's work: logged, and started again
            logger.exception(
                "the work under lease %r failed; it starts again in %.1f s", name, delay
            )
        else:
            continue
        await asyncio.sleep(delay)
        delay = min(2 * delay, _LONGEST_DELAY)


async def run_under_lease(
    broker: Broker, lease: Lease, ttl: float, work: Callable[[Lease], Awaitable[None]]
) -> None:
    """Run ``work(lease)`` and renew the lease meanwhile; cancels the work when the lease is lost.

    When the work fails or this call is cancelled, the lease is released. When the work returns, the
    lease is renewed until it is lost.
    """
    loop = asyncio.get_running_loop()
    task: asyncio.Future[None] = asyncio.ensure_future(work(lease))
    ends_at = loop.time() + ttl
    try:
        while True:
            if task.done():
                await asyncio.sleep(ttl / 3)
            else:
                await asyncio.wait({task}, timeout=ttl / 3)
            if task.done():
                # Raises the exception with which the work ended, if any.
                task.result()
            try:
                if not await broker.renew(lease, ttl):
                    logger.warning("lease %r is held by another worker by now", lease.name)
                    return
                ends_at = loop.time() + ttl
            except BrokerError:
                if loop.time() + ttl / 3 > ends_at:
                    # The lease may end before the next attempt to renew it.
                    raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(BrokerError):
            await broker.release(lease)
