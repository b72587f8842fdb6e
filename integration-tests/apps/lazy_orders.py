"""Fifty panels over a database that takes 300 ms for each query and keeps a list of them."""

import asyncio
import os
import sqlite3
import time

import plotly.graph_objects as go

from flash import Flash, dcc, html
from flash_lazy import LazyLoad, Skeleton, lazy

SECONDS = float(os.environ.get("QUERY_SECONDS", "0.3"))


class Database:
    """SQLite, with a function that takes its time; one connection for each query."""

    def __init__(self) -> None:
        # Every statement that SQLite itself says it ran.
        self.statements: list[str] = []

    async def fetch(self, customer: int) -> list[tuple[int, int]]:
        return await asyncio.to_thread(self._fetch, customer)

    def _fetch(self, customer: int) -> list[tuple[int, int]]:
        connection = sqlite3.connect(":memory:")
        connection.create_function("slowly", 1, lambda value: time.sleep(SECONDS) or value)
        connection.set_trace_callback(self.statements.append)
        try:
            return connection.execute(f"SELECT 1, slowly({customer:d})").fetchall()
        finally:
            connection.close()


database = Database()
app = Flash(__name__)


@lazy(fallback=Skeleton(height=320), cache=60)
async def orders_by_month(customer_id: int):
    rows = await database.fetch(customer_id)
    return dcc.Graph(id=f"orders-{customer_id}", figure=go.Figure(go.Bar(y=rows[0])))


heavy = go.Figure(go.Scatter(y=[1, 3, 2]))
app.layout = html.Div(
    [orders_by_month(c) for c in range(50)]
    + [
        LazyLoad(dcc.Graph(id="heavy", figure=heavy), id="last", height=400, offset=200, once=True),
        html.P("the end", id="end"),
    ]
)


@app.server.get("/statements")
async def statements():
    return database.statements


@app.server.post("/invalidate")
async def invalidate():
    orders_by_month.invalidate()
    return "", 204
