"""The recipients of a push or an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flash.moved import renamed_exports


class HasChannel(Protocol):
    """A possible ``to=`` of a message: `Recipients` or a connected client."""

    @property
    def channel(self) -> str:
        """The channel that the recipients follow."""
        ...


@dataclass(frozen=True, slots=True)
class Recipients:
    """All pages that follow a channel: everybody, a group, a room, or one page."""

    channel: str


@dataclass(frozen=True, slots=True)
class PageRecipients(Recipients):
    """One page, on whichever worker it is connected."""

    # As `Client.id`.
    id: str


EVERYBODY = Recipients("all")


def group(name: str) -> Recipients:
    """Return the pages that joined the group ``name``, on any worker."""
    return Recipients(f"group:{name}")


def group_of(channel: str) -> str | None:
    """Return the name of the group whose channel this is; None for any other channel."""
    kind, _, name = channel.partition(":")
    return name if kind == "group" else None


def room(name: str) -> Recipients:
    """Return the pages that are in the room ``name``, on any worker."""
    return Recipients(f"room:{name}")


def page(client_id: str) -> PageRecipients:
    """Return the page with this client id, on any worker."""
    return PageRecipients(f"page:{client_id}", client_id)


__getattr__ = renamed_exports(
    __name__, {"Audience": "Recipients", "PageAudience": "PageRecipients"}
)
