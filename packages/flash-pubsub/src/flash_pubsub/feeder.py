"""Feeders: async generators that one worker of the deployment runs and whose items it publishes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from flash import ConfigurationError
from flash.callbacks.execution import time_limit
from flash.callbacks.functions import is_async_generator, name_of, place_of, short_name_of
from flash.errors import CallbackTimeout
from flash.supervision import SupervisedTask
from flash_pubsub.broker.leases import run_while_leading

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from flash_pubsub.broker.seam import Broker, Lease
    from flash_ws.protocol.position import Position


class PublishUnderLease(Protocol):
    """`PubSub.publish` for the holder of a lease."""

    def __call__(self, channel: str, data: Any, *, fence: Lease) -> Awaitable[Position]:
        """Publish a message; raises `Fenced` once a newer holder of the lease has published."""
        ...


@dataclass(frozen=True, slots=True)
class Feeder:
    """One feeder."""

    function: Callable[[], AsyncGenerator[Any]]
    # The channel of all items; None if each item names its channel.
    channel: str | None
    # The name of its lease, the same on every worker. Feeders of one name would be one feeder.
    name: str
    # Seconds within which an item must come; None for no limit.
    timeout: float | None = None

    async def run(
        self,
        broker: Broker,
        publish: PublishUnderLease,
        lease_ttl: float,
        count_timeout: Callable[[], None],
    ) -> None:
        """Publish what the generator yields while this worker holds the lease; never returns.

        If no item comes in time, the lease is released and the generator starts again.
        """

        async def publish_items(lease: Lease) -> None:
            generator = self.function()
            try:
                while True:
                    try:
                        async with time_limit(self.name, self.timeout):
                            item = await anext(generator)
                    except StopAsyncIteration:
                        return
                    except CallbackTimeout as error:
                        if error.callback_id == self.name:
                            count_timeout()
                        raise
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
                    f"feeder {short_name_of(self.function)!r} yielded {item!r}; yield "
                    '(channel, message), or name the channel: @pubsub.feeder("prices")'
                )


class Feeders:
    """The feeders of one app, and the tasks that run them on this worker."""

    def __init__(self) -> None:
        self.declared: list[Feeder] = []
        # How often no item of a feeder came within its ``timeout``.
        self.timeouts = 0
        self._tasks: list[SupervisedTask] = []

    def add(self, feeder: Feeder) -> None:
        """Add a feeder; raises `ConfigurationError` for a second one of a name."""
        for other in self.declared:
            if other.name == feeder.name:
                raise ConfigurationError(
                    f"two feeders would be {feeder.name.partition(':')[2]!r}, and only one would "
                    f"run: the one at {place_of(other.function)} and the one at "
                    f"{place_of(feeder.function)}; name one: @pubsub.feeder(…, name=…)"
                )
        self.declared.append(feeder)

    def start(self, broker: Broker, publish: PublishUnderLease, lease_ttl: float) -> None:
        """Run each feeder whenever this worker holds its lease."""
        for feeder in self.declared:
            run = partial(feeder.run, broker, publish, lease_ttl, self._count_timeout)
            task = SupervisedTask(feeder.name, run)
            self._tasks.append(task)
            task.start()

    async def close(self) -> None:
        """Stop all feeders; `start` may be called again."""
        for task in self._tasks:
            await task.stop()
        self._tasks.clear()

    def _count_timeout(self) -> None:
        self.timeouts += 1


def make_feeder(
    function: Any, channel: str | None, name: str | None, timeout: float | None = None
) -> Feeder:
    """Return the feeder of a function.

    Its name is ``name``, or that of the function and its channel. Raises `ConfigurationError` if
    the function is no async generator function.
    """
    if not callable(function) or not is_async_generator(function):
        raise ConfigurationError(
            f"the feeder {function!r} is no async generator; write async def with yield"
        )
    if name is None:
        name = name_of(function) if channel is None else f"{name_of(function)}:{channel}"
    return Feeder(cast("Any", function), channel, f"feeder:{name}", timeout)
