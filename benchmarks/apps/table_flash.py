"""Flash: a table in a grid, every change of which is a call of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from dash import html

from apps import table_work
from flash import Flash
from flash_pubsub import PubSub, TableFeed

app = Flash(__name__)
pubsub = PubSub(app, broker="memory://")
orders = pubsub.table("orders", key="id", columns=list(table_work.COLUMNS))
app.layout = html.Div([TableFeed(orders, grid="grid")])

_changes = 0
_tasks: set[asyncio.Task[None]] = set()


async def _change(row: dict[str, Any]) -> None:
    global _changes
    await orders.upsert(row)
    _changes += 1


async def _run() -> None:
    await orders.upsert([table_work.row(number) for number in range(table_work.ROWS)])
    await table_work.change_for_ever(_change)


@app.server.before_serving
async def start() -> None:
    """Change rows from now on."""
    _tasks.add(asyncio.create_task(_run()))


@app.server.after_serving
async def stop() -> None:
    """Change no more rows."""
    for task in _tasks:
        task.cancel()


@app.server.get("/changes")
async def changes() -> str:
    """How many changes there were."""
    return str(_changes)
