"""A table of orders in a grid and in a graph; a writer that changes thousands of rows a second."""

import asyncio
import os
import random

import dash_ag_grid as dag

from flash import Flash, Input, Output, dcc, html, pubsub
from flash_pubsub import TableFeed

ROWS = int(os.environ.get("ROWS", "10000"))

app = Flash(__name__, title="Tables", suppress_callback_exceptions=True)
app.server.secret_key = "the same in every worker of this test"
orders = pubsub.table(
    "orders",
    key="id",
    columns={"id": int, "symbol": str, "price": float, "size": int, "state": str},
)
ticks = pubsub.table("ticks", key="n", columns=["n", "t", "p", "of"], max_rows=5000)


def grid(name):
    return dag.AgGrid(
        id=name,
        columnDefs=[{"field": each} for each in ("id", "symbol", "price", "size", "state")],
        getRowId="params.data.id",
        dashGridOptions={"animateRows": False},
        style={"height": 400},
    )


app.layout = html.Div(
    [
        html.Div([grid("grid"), TableFeed(orders, "feed", grid="grid")], id="shown"),
        html.P(id="status"),
        html.Button("Other", id="toggle"),
        html.Div(id="other"),
        html.Button("Nameless", id="nameless-too"),
        html.Div(id="third"),
        dcc.Graph(id="graph", figure={"data": [{"x": [], "y": [], "name": "a", "mode": "lines"}]}),
        TableFeed(ticks, graph="graph", x="t", y="p", trace="of", max_points=100),
    ]
)


@app.callback(Output("status", "children"), Input("feed", "status"))
def status(text):
    return text


@app.callback(Output("other", "children"), Input("toggle", "n_clicks"), prevent_initial_call=True)
def toggle(clicks):
    if clicks % 2:
        return [grid("second"), TableFeed(orders, grid="second")]
    return []


@app.callback(
    Output("third", "children"), Input("nameless-too", "n_clicks"), prevent_initial_call=True
)
def nameless(_clicks):
    return [
        dag.AgGrid(id="nameless", columnDefs=[{"field": "id"}]),
        TableFeed(orders, grid="nameless"),
    ]


def order(number, turn=0):
    return {
        "id": number,
        "symbol": f"S{number % 50}",
        "price": round(100 + (number * 31 + turn * 17) % 1000 / 10, 1),
        "size": (number + turn) % 100,
        "state": "open" if (number + turn) % 3 else "done",
    }


@app.server.post("/fill")
async def fill():
    await orders.replace([order(number) for number in range(ROWS)])
    return "", 204


@app.server.post("/churn/<int:per_second>/<float:seconds>")
async def churn(per_second, seconds):
    """Update, insert and remove so many rows a second; returns how many there were."""
    rng = random.Random(5)
    loop = asyncio.get_running_loop()
    start, done, turn, fresh = loop.time(), 0, 0, ROWS
    while loop.time() - start < seconds:
        turn += 1
        due = int(min(seconds, loop.time() - start) * per_second) - done
        if due > 0:
            numbers = {rng.randrange(ROWS) for _ in range(due)}
            await orders.upsert([order(number, turn) for number in numbers])
            if turn % 4 == 0:
                fresh += 1
                await orders.upsert(order(fresh))
                await orders.remove(rng.randrange(ROWS))
            done += len(numbers)
        await asyncio.sleep(0.01)
    return {"changes": done}


@app.server.get("/rows")
async def rows():
    return {"rows": [list(row.values()) for row in await orders.rows()]}


@app.server.post("/ticks/<int:count>")
async def more_ticks(count):
    known = len(await ticks.rows())
    await ticks.upsert(
        [{"n": n, "t": n, "p": n * n % 17, "of": "ab"[n % 2]} for n in range(known, known + count)]
    )
    return "", 204


@app.server.get("/ticks")
async def all_ticks():
    return {"rows": [list(row.values()) for row in await ticks.rows()]}


@app.server.post("/tick/<int:number>")
async def change_tick(number):
    await ticks.upsert({"n": number, "t": number, "p": 99, "of": "ab"[number % 2]})
    return "", 204


if __name__ == "__main__":
    app.run()
