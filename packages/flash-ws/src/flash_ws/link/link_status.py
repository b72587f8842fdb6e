"""`LinkStatus`: a component whose properties are the state of the page's link."""

from __future__ import annotations

from typing import Any, Literal

from dash.development.base_component import Component

Status = Literal["connecting", "open", "reconnecting", "offline"]


class LinkStatus(Component):
    """Displays nothing; its properties pass the state of the page's link to callbacks.

    - ``status``: "connecting" until the page has reached the server for the first time; "open";
      "reconnecting" while the link is down and the page tries again; "offline" if it does not try
      until it is reloaded (the server refused or disconnected it, or another page took its place).
    - ``latency``: milliseconds to the server and back, measured with each heartbeat; None while the
      link is not open.
    - ``recovered``: after a reconnect, whether the page missed nothing; None before the first one.

    The page sets them. Values given here are initial values.
    """

    # Declared as the base class does.
    _children_props: list[str] = []  # noqa: RUF012
    _base_nodes: list[str] = ["children"]  # noqa: RUF012
    _namespace = "flash_ws"
    _type = "LinkStatus"

    def __init__(
        self,
        id: str | dict[str, Any] | None = None,  # noqa: A002
        *,
        status: Status = "connecting",
        latency: int | None = None,
        recovered: bool | None = None,
    ) -> None:
        self._prop_names = ["id", "status", "latency", "recovered"]
        self.available_properties = self._prop_names
        self._valid_wildcard_attributes: list[str] = []
        self.available_wildcard_properties: list[str] = []
        given = {"status": status, "latency": latency, "recovered": recovered}
        super().__init__(**given if id is None else {"id": id, **given})
