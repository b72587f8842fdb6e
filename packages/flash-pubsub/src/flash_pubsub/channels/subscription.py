"""The component that subscribes a page to a channel for as long as it is in the layout."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Literal

from dash.development.base_component import Component

from flash import ConfigurationError, Flash, get_app
from flash.settings import Instance
from flash_pubsub.channels.declaration import check_name
from flash_ws.protocol.position import Position

Status = Literal["pending", "subscribed", "denied", "suspended"]


class Subscription(Component):
    """An invisible component; while it is mounted, its page is subscribed to ``channel``.

    The page gets what the channel's callbacks set, and `PubSub.who` lists it. The server signs the
    component when it sends it, so a page cannot make its own. For a channel whose pattern has
    variables, a function declared with `PubSub.authorize` must also allow the page.

    With ``since`` the page is subscribed from that position on: it gets what comes after it instead
    of what it would get as a new page. Take it from `PubSub.history` when the layout is drawn from
    that. Frames of the channel that come to the page before its subscription are not shown.

    In a panel of flash-lazy with ``suspend=True`` the page is subscribed only while the panel is in
    view, and catches up when the panel comes into view again.

    Callbacks can read two properties. ``status`` is "pending", "subscribed", "denied" or, out of
    view, "suspended". ``recovered`` is False if the history was too short for everything that the
    panel has missed, or that came after ``since``; the panel then shows what was set last. It is
    True if everything has come.
    """

    # Declared in the way of the base class.
    _children_props: list[str] = []  # noqa: RUF012
    _base_nodes: list[str] = ["children"]  # noqa: RUF012
    _namespace = "flash_pubsub"
    _type = "Subscription"

    def __init__(
        self,
        channel: str,
        id: str | dict[str, Any] | None = None,  # noqa: A002  Dash's name
        *,
        status: Status = "pending",
        since: Position | None = None,
    ) -> None:
        check_name(channel)
        if not Instance(Position, optional=True).allows(since):
            raise ConfigurationError(
                f"since={since!r}: must be a Position, such as that of what `pubsub.history` "
                "returns, or None"
            )
        self._prop_names = ["id", "channel", "token", "since", "status", "recovered"]
        self.available_properties = self._prop_names
        self._valid_wildcard_attributes: list[str] = []
        self.available_wildcard_properties: list[str] = []
        given: dict[str, Any] = {"channel": channel, "status": status}
        if since is not None:
            given["since"] = [since.epoch, since.number]
        app = serving_app()
        if app is not None:
            given["token"] = sign(app, channel, since)
        super().__init__(**given if id is None else {"id": id, **given})

    @property
    def signed_channel(self) -> str:
        """The name that the server signs."""
        return getattr(self, "channel")  # noqa: B009  no attribute of the class


def serving_app() -> Flash | None:
    """Return the app whose callback or layout function runs; None while a module is imported.

    A layout made during an import is signed when it is sent, because the signing key is not known
    before the app has started.
    """
    try:
        app = get_app()
    except Exception:  # noqa: BLE001  Dash raises it where there is no app
        return None
    return app if isinstance(app, Flash) and app.has_started else None


def position_in(subscription: Component) -> Position | None:
    """Return the ``since`` of a component."""
    since: list[Any] | None = getattr(subscription, "since", None)
    return None if since is None else Position(*since)


def sign(app: Flash, channel: str, since: Position | None = None) -> str:
    """Return the signature that allows a page to have a `Subscription` to the channel."""
    key = hmac.digest(app.signing_secret(), b"flash-pubsub\0subscription", "sha256")
    prefix: str = app.config.requests_pathname_prefix
    text = f"{prefix}\0{channel}"
    if since is not None:
        # The name of a channel has no control character.
        text += f"\0{since.number}\0{since.epoch}"
    mac = hmac.digest(key, text.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def is_signed(app: Flash, channel: str, token: object, since: Position | None = None) -> bool:
    """Tell whether ``token`` is the signature of `sign` for this channel and position."""
    return isinstance(token, str) and hmac.compare_digest(
        token.encode(), sign(app, channel, since).encode()
    )
