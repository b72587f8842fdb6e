"""The component that shows callbacks how the page's link is."""

from __future__ import annotations

from typing import Any, Literal

from dash.development.base_component import Component

Status = Literal["connecting", "open", "reconnecting", "offline"]


class LinkStatus(Component):
    """Shows nothing; its properties tell callbacks how the page's live link is.

    - ``status``: "connecting" until the server was reached for the first time, "open",
      "reconnecting" while the link is down and will come back, "offline" when it will not until the
      page is loaded again (the server refused the page, or another took its place).
    - ``latency``: milliseconds to the server and back, measured with each heartbeat; None while the
      link is not open.
    - ``recovered``: after a reconnect, whether the page missed nothing; None before the first.

    The page sets them; values given here are what callbacks see until it has.
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
