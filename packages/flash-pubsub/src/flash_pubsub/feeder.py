"""Feeders: async generators that one worker of the deployment runs and whose items it publishes."""

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
    """`PubSub.publish` for the holder of a lease."""

    async def __call__(self, channel: str, data: Any, *, fence: Lease) -> Position:
        """Publish a message; raises `Fenced` once a newer holder of the lease has published."""
        ...


@dataclass(frozen=True, slots=True)
class Feeder:
    """One feeder."""

    function: Callable[[], AsyncGenerator[Any]]
    # The channel of all items; None if each item names its channel.
    channel: str | None

    @property
    def name(self) -> str:
        """The feeder's name, the same on every worker."""
        return f"feeder:{self.function.__module__}.{self.function.__qualname__}"

    async def run(self, broker: Broker, publish: PublishUnderLease, lease_ttl: float) -> None:
        """Publish what the generator yields while this worker holds the lease; never returns."""

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
    """Return the feeder of a function.

    Raises `ConfigurationError` if it is no async generator function.
    """
    if not inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"the feeder {function!r} is no async generator; write async def with yield"
        )
    return Feeder(function, channel)
