"""`Followers`: which pages of this worker follow which channels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from flash_ws.clients.backplane import Backplane
    from flash_ws.clients.client import LinkedClient


class Followers:
    """Follows a channel on the backplane for as long as a page of this worker follows it.

    ``common`` are the channels that are never left. ``spawn`` runs a coroutine in a task.
    """

    def __init__(
        self,
        backplane: Backplane,
        common: list[str],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._backplane = backplane
        self._common = common
        self._spawn = spawn
        self.by_channel: dict[str, set[LinkedClient]] = {}
        # For each channel, a future that is done when `Backplane.follow` is.
        self._following: dict[str, asyncio.Future[None]] = {}
        # A completed future that replaces finished follow tasks, so that they are freed.
        self._completed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._completed.set_result(None)

    def count(self, channel: str) -> int:
        """Return how many pages of this worker follow a channel."""
        return len(self.by_channel.get(channel, ()))

    def beginning(self, channel: str) -> asyncio.Future[None] | None:
        """Return what is done when the channel is followed; None if it is, or by nobody."""
        following = self._following.get(channel)
        return None if following is None or following.done() else following

    def add(self, client: LinkedClient, channel: str) -> asyncio.Future[None]:
        """Add a client to a channel's followers; the future is done when `Backplane.follow` is."""
        self.by_channel.setdefault(channel, set()).add(client)
        return self._begin(channel)

    def remove(self, client: LinkedClient, channel: str) -> None:
        """Remove a client from a channel's followers; idempotent."""
        followers = self.by_channel.get(channel, set())
        followers.discard(client)
        if not followers and self.by_channel.pop(channel, None) is not None:
            self._following.pop(channel, None)
            self._stop(channel)

    async def prepare(self, channels: Iterable[str]) -> None:
        """Have the frames of channels come to this worker, before a page follows the channels.

        Without a page that follows them then, call `release_unused`. Raises what
        `Backplane.follow` raises.
        """
        begun = [self._begin(channel) for channel in channels]
        for following in begun:
            await asyncio.shield(following)

    def release_unused(self, channels: Iterable[str]) -> None:
        """Undo `prepare` for the channels that no page follows."""
        for channel in channels:
            if not self.by_channel.get(channel) and self._following.pop(channel, None) is not None:
                self._stop(channel)

    def _begin(self, channel: str) -> asyncio.Future[None]:
        following = self._following.get(channel)
        if following is None:
            following = self._following[channel] = self._spawn(self._backplane.follow(channel))
            following.add_done_callback(lambda task: self._on_followed(channel, task))
        return following

    def _stop(self, channel: str) -> None:
        if channel not in self._common:
            self._spawn(self._backplane.unfollow(channel))

    def _on_followed(self, channel: str, task: asyncio.Future[None]) -> None:
        if self._following.get(channel) is not task:
            return
        if not task.cancelled() and task.exception() is None:
            self._following[channel] = self._completed
        else:
            # The next page that follows it tries again.
            del self._following[channel]
