"""A kanban board that all browsers share: each card is a row of a table, so no move is lost.

On workers: ``FLASH_REDIS_URL=redis://… flash run kanban:app --workers 3``.
"""

from uuid import uuid4

from flash import ALL, Flash, Input, Output, State, callback, ctx, dcc, html, pubsub
from flash_pubsub import Present, Room

COLUMNS = ["To do", "Doing", "Done"]
FIRST = {"Measure the queue": 0, "Write the guide": 0, "Draw the map": 1, "Choose a name": 2}
app = Flash(__name__, title="Kanban", suppress_callback_exceptions=True)
cards = pubsub.table("cards", key="id", columns={"id": str, "text": str, "at": int}, max_rows=200)
pubsub.authorize("board/{board}")(lambda visitor, board: True)


def move(card, to, word):
    """A button that moves a card."""
    label = {"title": f"Move to {COLUMNS[to]}", "aria-label": f"{card['text']} to {COLUMNS[to]}"}
    return html.Button(word, id={"card": card["id"], "to": to}, className="small", **label)


def draw(rows):
    """The three columns with their cards."""
    drawn = []
    for at, name in enumerate(COLUMNS):
        here = [row for row in rows if row["at"] == at]
        inside = []
        for card in here:
            back = move(card, at - 1, "←") if at else None
            on = move(card, at + 1, "→") if at < 2 else None
            inside.append(html.Div([html.Div(card["text"]), back, on], className="card"))
        drawn.append(html.Div([html.H2(f"{name} · {len(here)}"), *inside], className="card column"))
    return drawn


NEW = [dcc.Input(id="text", placeholder="A new card"), html.Button("Add", id="add")]
HERE = Present("board/{board}", "present", board="main")
app.layout = html.Main(
    [
        Room("board/{board}", board="main"),
        html.Header([html.H1("Kanban"), html.Div(NEW, className="row"), HERE]),
        html.Section(id="board", className="three"),
    ]
)


@pubsub.feeder
async def begin():
    """Runs on one worker: the first cards are written once."""
    if not await cards.rows():
        first = enumerate(FIRST.items())
        await cards.upsert([{"id": f"c{i}", "text": text, "at": at} for i, (text, at) in first])
    yield "changed", "all"


@callback(
    Output("text", "value"),
    Input("add", "n_clicks"),
    Input("text", "n_submit"),
    State("text", "value"),
    prevent_initial_call=True,
)
async def add(clicks, submits, text):
    if text:
        await write({"id": uuid4().hex, "text": text[:80], "at": 0})
    return ""


@callback(Input({"card": ALL, "to": ALL}, "n_clicks"), prevent_initial_call=True)
async def go(clicks):
    card, to = await cards.get(ctx.triggered_id["card"]), ctx.triggered_id["to"]
    # A button that is new on the page has no clicks.
    if card and to in range(3) and ctx.triggered[0]["value"]:
        await write({**card, "at": to})


async def write(card):
    await cards.upsert(card)
    await pubsub.publish("changed", card["id"])


@pubsub.channel_callback("changed", Output("board", "children"))
async def show(message):
    return draw(await cards.rows())


if __name__ == "__main__":
    app.run()
