"""Plain callbacks that wait until they are let go, beside an async one and the loop's heartbeat."""

import asyncio
import threading

from flash import MATCH, Flash, Input, Output, html

# A browser has six connections to a server, and some are to stay free.
CALLS = 4
# Passed only when all of them run at the same time.
together = threading.Barrier(CALLS)
released = threading.Event()

app = Flash(__name__)
app.layout = html.Div(
    [
        html.Button("Ask", id="ask"),
        html.P(id="answer"),
        *(html.Button("Hold", id={"part": "button", "of": number}) for number in range(CALLS)),
        *(html.P(id={"part": "text", "of": number}, className="held") for number in range(CALLS)),
    ]
)


@app.callback(
    Output({"part": "text", "of": MATCH}, "children"),
    Input({"part": "button", "of": MATCH}, "n_clicks"),
    prevent_initial_call=True,
)
def hold(_):
    together.wait(60)
    released.wait(60)
    return "let go"


@app.callback(Output("answer", "children"), Input("ask", "n_clicks"), prevent_initial_call=True)
async def answer(clicks):
    await asyncio.sleep(0)
    return f"answer {clicks}"


@app.server.get("/state")
async def state():
    return {"waiting": together.n_waiting, "running": app.statistics().running}


@app.server.post("/release")
async def release():
    released.set()
    return {}
