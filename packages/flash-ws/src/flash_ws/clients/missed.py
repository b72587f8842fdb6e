"""`Missed`: what a page that connects has missed of the channels that it follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash_ws.clients import recipients
from flash_ws.protocol.position import NOWHERE, Position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash_ws.clients.backplane import Backplane
    from flash_ws.clients.client import LinkedClient
    from flash_ws.clients.followers import Followers
    from flash_ws.link.link import Link
    from flash_ws.protocol.channel import CatchUp
    from flash_ws.protocol.frames import Frame, Hello


class Missed:
    """What the channels of one page have for it, and where it continues in each.

    The link holds what is published from `read` on, until `release`.
    """

    def __init__(self) -> None:
        # In the order in which the page catches up.
        self._catch_ups: dict[str, CatchUp] = {}
        # By channel: epoch and number of the position that ``welcome`` tells.
        self.at: dict[str, tuple[str, int]] = {}

    async def read(
        self,
        channels: Iterable[str],
        client: LinkedClient,
        link: Link,
        hello: Hello,
        followers: Followers,
        backplane: Backplane,
    ) -> None:
        """Follow the channels, and read of each what the page has missed."""
        for channel in channels:
            await followers.add(client, channel)
            known = hello.positions.get(channel)
            if client.joining.get(channel) != 0 and channel in client.joining:
                # From before the page left the group and joined it again.
                known = None
            position = client.start_of(channel, None if known is None else Position(*known))
            catch_up = await backplane.catch_up(channel, position)
            if position is None:
                position = _first_position(client, link, channel, hello, catch_up.position)
                if position is not None:
                    catch_up = await backplane.catch_up(channel, position)
            self._catch_ups[channel] = catch_up
            if position is None or not catch_up.recovered:
                position = catch_up.position
            self.at[channel] = (position.epoch, position.number)

    @property
    def is_everything(self) -> bool:
        """Whether `frames` are all that the page has missed."""
        return all(each.recovered for each in self._catch_ups.values())

    @property
    def frames(self) -> list[Frame]:
        """The frames to send, channel by channel."""
        return [frame for each in self._catch_ups.values() for frame in each.frames]

    def note(self, client: LinkedClient) -> None:
        """Note at the client where it continues, before ``welcome`` is sent."""
        for channel, catch_up in self._catch_ups.items():
            if catch_up.recovered:
                client.place(channel, Position(*self.at[channel]))
            else:
                # Until the page knows it: it may not receive this welcome.
                client.note_lost(channel)

    def release(self, link: Link) -> None:
        """Send the frames that were held meanwhile, after `frames`."""
        for channel, catch_up in self._catch_ups.items():
            link.release(channel, after=catch_up.position.number)


def _first_position(
    client: LinkedClient, link: Link, channel: str, hello: Hello, current: Position
) -> Position | None:
    """Return where a page starts that has no position of a channel; None if it is ``current``.

    ``current`` is the channel's position now.
    """
    if channel == client.channel:
        # Callbacks have pushed to the page before its link was open, or a link broke before its
        # welcome.
        return Position(current.epoch, 0) if hello.is_new and current.number else None
    if recipients.group_of(channel) is None:
        return None
    # A page that another worker had may have joined there without being told.
    first = client.joining.get(channel, 0)
    if first is None:
        first = 0 if link.holds_new_epoch(channel) else link.first_held(channel)
    if first is None:
        return None
    return Position(current.epoch, first - 1) if first else NOWHERE
