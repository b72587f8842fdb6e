"""Whom a message is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flash.moved import renamed_exports


class HasChannel(Protocol):
    """Anything that messages can be addressed to: `Recipients` or a connected client."""

    @property
    def channel(self) -> str:
        """The name of the channel that reaches it."""
        ...


@dataclass(frozen=True, slots=True)
class Recipients:
    """Everybody, a group, or one page: whoever follows the channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class PageRecipients(Recipients):
    """One page, wherever it is connected."""

    # The page's public name, as `Client.id`.
    id: str


EVERYBODY = Recipients("all")


def group(name: str) -> Recipients:
    """Return the recipients: the pages that joined ``name``."""
    return Recipients(f"group:{name}")


def group_of(channel: str) -> str | None:
    """Return the group whose channel this is; None for any other channel."""
    kind, _, name = channel.partition(":")
    return name if kind == "group" else None


def page(client_id: str) -> PageRecipients:
    """Return the recipients: one page."""
    return PageRecipients(f"page:{client_id}", client_id)


__getattr__ = renamed_exports(
    __name__, {"Audience": "Recipients", "PageAudience": "PageRecipients"}
)
