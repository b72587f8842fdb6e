"""An SQL explorer: each query is a panel that runs when it is seen, once for all visitors.

On workers: ``FLASH_REDIS_URL=redis://… flash run explorer:app --workers 3``.
"""

import random
import sqlite3
import time
from contextlib import closing

from flash import Flash, Input, Output, State, callback, dcc, html, lazy
from flash_lazy import Skeleton

COUNTRIES, GOODS = ["Chile", "Japan", "Kenya", "Norway", "Spain"], ["tea", "rice", "salt", "wool"]
QUERIES = [
    f"SELECT {by} AS name, {what} AS amount\nFROM orders GROUP BY 1 ORDER BY 2 DESC"
    for what in ("sum(amount)", "count(*)", "round(avg(amount), 1)", "max(amount)")
    for by in ("country", "product", "month")
]
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
DATABASE = "file:shop?mode=memory&cache=shared"
# Every worker makes the same orders; the connection keeps them in memory.
shop = sqlite3.connect(DATABASE, uri=True, check_same_thread=False)
chance = random.Random(3)
shop.execute("CREATE TABLE orders (country TEXT, product TEXT, month INT, amount INT)")
shop.executemany(
    "INSERT INTO orders VALUES (?, ?, ?, ?)",
    [
        (chance.choice(COUNTRIES), chance.choice(GOODS), chance.randint(1, 12), int(9**n))
        for n in (chance.uniform(0.5, 3) for _ in range(20_000))
    ],
)
shop.commit()
app = Flash(__name__, title="Explorer")


def run(sql):
    """Up to 50 rows of a query that only reads, and takes two seconds and little memory at most."""
    end = time.monotonic() + 2
    with closing(sqlite3.connect(DATABASE, uri=True)) as db:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        db.set_authorizer(lambda act, *_: int(act not in ALLOWED))
        db.set_progress_handler(lambda: time.monotonic() > end, 1000)
        return db.execute(sql).fetchmany(50)


def number(value):
    return value if isinstance(value, int | float) else None


@lazy(
    fallback=Skeleton(height=300),
    error=lambda error: html.P(f"The query was refused: {error}", className="banner bad"),
    cache=60,
    max_concurrency=2,
)
def panel(sql):
    began = time.perf_counter()
    rows = run(sql)
    bars = {
        "type": "bar",
        "x": [str(row[0]) for row in rows],
        "y": [number(row[-1]) for row in rows],
    }
    look = {"margin": {"l": 50, "r": 8, "t": 8, "b": 30}, "xaxis": {"type": "category"}}
    took = f"{len(rows)} rows, {1000 * (time.perf_counter() - began):.0f} ms"
    graph = dcc.Graph(figure={"data": [bars], "layout": look}, style={"height": 190})
    inside = [html.Pre(sql, className="sql"), graph, html.Span(took, className="badge")]
    return html.Div(inside, className="card")


OWN = [dcc.Textarea(id="sql", value=QUERIES[2]), html.Button("Run", id="run")]
app.layout = html.Main(
    [
        html.Header([html.H1("Explorer"), html.Span("20,000 orders", className="badge")]),
        html.Section(OWN, className="card"),
        html.Section(id="result"),
        html.Section([panel(sql) for sql in QUERIES], className="two even"),
    ]
)


@callback(Output("result", "children"), Input("run", "n_clicks"), State("sql", "value"))
def run_own(clicks, sql):
    return panel((sql or "")[:2000]) if clicks else None


if __name__ == "__main__":
    app.run()
