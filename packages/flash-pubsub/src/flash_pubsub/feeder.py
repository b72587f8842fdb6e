"""Feeders: async generators that one worker of the deployment runs, publishing what they yield."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flash import ConfigurationError
from flash_pubsub.broker.leases import run_while_leading

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from flash_pubsub.broker.seam import Broker, Lease
    from flash_ws.protocol.position import Position


class PublishUnderLease(Protocol):
    """`PubSub.publish`, with a lease that the publication depends on."""

    async def __call__(self, channel: str, data: Any, *, fence: Lease) -> Position:
        """Publish, unless the lease has gone."""
        ...


@dataclass(frozen=True, slots=True)
class Feeder:
    """One feeder."""

    function: Callable[[], AsyncGenerator[Any]]
    # None where each item says itself where it goes.
    channel: str | None

    @property
    def name(self) -> str:
        """Names it to other workers."""
        return f"feeder:{self.function.__module__}.{self.function.__qualname__}"

    async def run(self, broker: Broker, publish: PublishUnderLease, lease_ttl: float) -> None:
        """Publish what it yields whenever it is this worker's turn, for ever."""

        async def publish_items(lease: Lease) -> None:
            generator = self.function()
            try:
                async for item in generator:
                    channel, data = self._address(item)
                    await publish(channel, data, fence=lease)
            finally:
                await generator.aclose()

        await run_while_leading(broker, self.name, lease_ttl, publish_items)

    def _address(self, item: Any) -> tuple[str, Any]:
        if self.channel is not None:
            return self.channel, item
        match item:
            case (str(channel), data):
                return channel, data
            case _:
                raise TypeError(
                    f"feeder {self.function.__qualname__!r} yielded {item!r}; yield "
                    '(channel, message), or name the channel: @pubsub.feeder("prices")'
                )


def make_feeder(function: Any, channel: str | None) -> Feeder:
    """Check and return a feeder; raises `ConfigurationError`."""
    if not inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"the feeder {function!r} must be an async generator: async def with yield"
        )
    return Feeder(function, channel)
