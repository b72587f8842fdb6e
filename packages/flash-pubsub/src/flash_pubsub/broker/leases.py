"""Being the only worker of the deployment that does something, for as long as one lives."""

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

# Seconds before work that failed is tried again: at first, and at most.
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
    """Run ``work(lease)`` whenever this worker has the lease, for ever.

    A worker that dies is followed by another within ``ttl`` seconds and a third. Work that fails is
    logged and begun again, on any worker, after a delay that grows. Work that returns is done: the
    lease is kept, so that no other worker begins it.
    """
    delay = _FIRST_DELAY
    while True:
        lease = None
        with contextlib.suppress(BrokerError):
            # A store that is away is the broker's to complain of.
            lease = await broker.lease(name, ttl, channel=channel)
        if lease is None:
            await asyncio.sleep(ttl / 3 * random.uniform(0.8, 1.0))
            continue
        try:
            await run_under_lease(broker, lease, ttl, work)
            delay = _FIRST_DELAY
        except (BrokerError, Fenced) as error:
            logger.warning("lease %r: %s; another worker may go on", name, error)
        except Exception:  # an application's work: logged, and begun again
            logger.exception("the work under lease %r failed; again in %.1f s", name, delay)
        else:
            continue
        await asyncio.sleep(delay)
        delay = min(2 * delay, _LONGEST_DELAY)


async def run_under_lease(
    broker: Broker, lease: Lease, ttl: float, work: Callable[[Lease], Awaitable[None]]
) -> None:
    """Run ``work(lease)`` and renew the lease meanwhile; cancels the work when the lease is lost.

    The lease is released when the work fails or this is cancelled. Work that returns leaves it
    being renewed, until it is lost.
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
                # Raises what ended it, if it did not end by itself.
                task.result()
            try:
                if not await broker.renew(lease, ttl):
                    logger.warning("lease %r is another worker's by now", lease.name)
                    return
                ends_at = loop.time() + ttl
            except BrokerError:
                if loop.time() + ttl / 3 > ends_at:
                    # It may be another's before the next try.
                    raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(BrokerError):
            await broker.release(lease)
