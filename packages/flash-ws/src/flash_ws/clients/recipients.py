"""Whom a message is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class HasChannel(Protocol):
    """Anything that messages can be addressed to: an `Audience`, a connected client."""

    @property
    def channel(self) -> str:
        """The name of the channel that reaches it."""
        ...


@dataclass(frozen=True, slots=True)
class Audience:
    """Everybody, a group, or one page: whoever follows the channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class PageAudience(Audience):
    """One page, wherever it is connected."""

    # The page's public name, as `Client.id`.
    id: str


EVERYBODY = Audience("all")


def group(name: str) -> Audience:
    """Return the audience of the pages that joined ``name``."""
    return Audience(f"group:{name}")


def group_of(channel: str) -> str | None:
    """Return the group whose channel this is; None for any other channel."""
    kind, _, name = channel.partition(":")
    return name if kind == "group" else None


def page(client_id: str) -> PageAudience:
    """Return the audience of one page."""
    return PageAudience(f"page:{client_id}", client_id)
