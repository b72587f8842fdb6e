"""The component that shows a table in a grid or a graph for as long as it is in the layout."""

from __future__ import annotations

from typing import Any, Literal

from dash.development.base_component import Component

from flash import ConfigurationError
from flash.settings import COUNT_OR_NONE, check, here
from flash_pubsub.channels.declaration import check_name
from flash_pubsub.channels.subscription import serving_app, sign
from flash_pubsub.table.changes import channel_of
from flash_pubsub.table.table import Table

Status = Literal["pending", "subscribed", "denied"]


class TableFeed(Component):
    """An invisible component; while it is mounted, a grid or a graph of its page shows a table.

    - ``table``: a `Table`, or its name.
    - ``grid``: the id of an ``AgGrid`` of dash-ag-grid with ``getRowId``, such as
      ``"params.data.id"``, and without ``rowData``. Its rows are those of the table.
    - ``graph``: the id of a ``dcc.Graph``. Each row is a point, in the order of insertion, of the
      columns ``x`` and ``y``. ``trace`` is a column whose values are names of traces; a trace that
      the figure does not have is added. Without it, points belong to the first trace. Of each trace
      the newest ``max_points`` rows are shown. Inserted rows are added by ``extendData``; after a
      row was updated or removed, the traces are drawn anew from the present rows, twice a second at
      most.

    The server signs the component when it sends it, so a page cannot make its own.

    Callbacks can read ``status``: "pending", "subscribed" or "denied".
    """

    # Declared in the way of the base class.
    _children_props: list[str] = []  # noqa: RUF012
    _base_nodes: list[str] = ["children"]  # noqa: RUF012
    _namespace = "flash_pubsub"
    _type = "TableFeed"

    def __init__(
        self,
        table: Table | str,
        id: str | dict[str, Any] | None = None,  # noqa: A002  Dash's name
        *,
        grid: str | dict[str, Any] | None = None,
        graph: str | dict[str, Any] | None = None,
        x: str | None = None,
        y: str | None = None,
        trace: str | None = None,
        max_points: int | None = None,
        status: Status = "pending",
    ) -> None:
        name = table.name if isinstance(table, Table) else table
        check_name(name)
        check(max_points=(max_points, COUNT_OR_NONE))
        _check_target(grid=grid, graph=graph, x=x, y=y, more=(trace, max_points))
        if isinstance(table, Table):
            table.check_shown(column for column in (x, y, trace) if column is not None)
        given: dict[str, Any] = {
            "id": id,
            "table": name,
            "grid": grid,
            "graph": graph,
            "x": x,
            "y": y,
            "trace": trace,
            "max_points": max_points,
        }
        self._prop_names = [*given, "token", "status"]
        self.available_properties = self._prop_names
        self._valid_wildcard_attributes: list[str] = []
        self.available_wildcard_properties: list[str] = []
        app = serving_app()
        if app is not None:
            given["token"] = sign(app, channel_of(name))
        super().__init__(
            **{prop: value for prop, value in given.items() if value is not None}, status=status
        )

    @property
    def signed_channel(self) -> str:
        """The name that the server signs; no channel of an app can have it."""
        return channel_of(getattr(self, "table"))  # noqa: B009  no attribute of the class


def _check_target(
    *, grid: object, graph: object, x: object, y: object, more: tuple[object, ...]
) -> None:
    if (grid is None) == (graph is None):
        raise ConfigurationError(
            f"a TableFeed shows its table in one component: give either grid= or graph={here()}"
        )
    if graph is not None and (x is None or y is None):
        raise ConfigurationError(
            f"a TableFeed for a graph needs the columns of its points: x= and y={here()}"
        )
    if grid is not None and any(each is not None for each in (x, y, *more)):
        raise ConfigurationError(
            f"x=, y=, trace= and max_points= of a TableFeed are for graph=; a grid has "
            f"columnDefs{here()}"
        )
