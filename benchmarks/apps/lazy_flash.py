"""Flash: panels that load when they are seen, and graphs with and without `LazyLoad`."""

from __future__ import annotations

from apps import lazy_work
from flash import Flash, dcc, html
from flash_lazy import LazyLoad, Skeleton, lazy

panels = Flash(__name__)
graphs = Flash(__name__)
lazy_graphs = Flash(__name__)


@lazy(fallback=Skeleton(height=lazy_work.HEIGHT), cache=lazy_work.CACHE_SECONDS)
async def panel(number: int) -> html.P:
    return html.P(await lazy_work.query_async(number), className="done")


def graph(number: int) -> dcc.Graph:
    return dcc.Graph(figure=lazy_work.figure(number))


panels.layout = lambda: html.Div(
    [lazy_work.frame(panel(number), html) for number in range(lazy_work.PANELS)]
)
graphs.layout = lambda: html.Div([graph(number) for number in range(lazy_work.GRAPHS)])
lazy_graphs.layout = lambda: html.Div(
    [LazyLoad(graph(number), height=lazy_work.HEIGHT) for number in range(lazy_work.GRAPHS)]
)


@panels.server.get("/queries")
async def queries() -> list[int]:
    return lazy_work.queries
