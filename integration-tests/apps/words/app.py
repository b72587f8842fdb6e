"""Texts that grow, and notices, under the policy for contents of docs/security.md."""

import asyncio
import os
import threading

from dash import Input, Output, State, dcc, html

from flash import Flash, live

app = Flash(__name__)
app.server.secret_key = "secret"
app.layout = html.Div(
    [
        dcc.Input(id="question", value="5"),
        html.Button("Ask", id="ask"),
        html.Button("Stop", id="stop", disabled=True),
        dcc.Markdown(id="answer"),
        html.Button("Bad", id="bad"),
        html.P(id="bad-answer"),
        html.Button("Callback", id="callback"),
        html.Button("Thread", id="thread"),
        html.Button("Stream", id="stream"),
        html.P(id="done"),
    ]
)
# As docs/security.md writes it, or stricter.
STYLES = os.environ.get("STYLES", "'self' 'unsafe-inline'")
# Set by a test, so that a stream goes on.
go = asyncio.Event()


@live.text_stream(
    Output("answer", "children"),
    Input("ask", "n_clicks"),
    State("question", "value"),
    running=[(Output("ask", "disabled"), True, False), (Output("stop", "disabled"), False, True)],
    cancel=[Input("stop", "n_clicks")],
)
async def answer(_clicks, question):
    yield "**Answer** "
    for number in range(int(question)):
        yield f"word{number} "
        if number % 100 == 50:
            await asyncio.sleep(0.01)
    if question == "7":
        await go.wait()
    if question == "8":
        await asyncio.Event().wait()
    yield "*end*"


@live.text_stream(Output("bad-answer", "children"), Input("bad", "n_clicks"))
async def bad(_clicks):
    yield "begun"
    raise LookupError("password hunter2")


@app.callback(Output("done", "children"), Input("callback", "n_clicks"), prevent_initial_call=True)
async def in_callback(clicks):
    live.notify("<b>Saved</b> & done", kind="success", seconds=None)
    return f"done {clicks}"


@app.callback(Output("done", "title"), Input("thread", "n_clicks"), prevent_initial_call=True)
def in_thread(clicks):
    live.notify("Disk is full", kind="error", seconds=None)
    return f"done {clicks}"


@live.event_callback(Input("stream", "n_clicks"))
async def in_event_callback(_clicks):
    live.notify("From an event callback", kind="warning", seconds=None)
    yield "done", {"children": "streamed"}


@live.on_event("tell")
def tell(data):
    live.notify(data["text"], kind=data.get("kind", "info"), seconds=data.get("seconds"))


@app.server.post("/everybody/<text>")
async def everybody(text):
    def from_thread():
        live.notify(text, to=live.everybody)

    await asyncio.to_thread(threading.Thread(target=from_thread).run)
    return "", 204


@app.server.post("/go")
async def let_go():
    go.set()
    return "", 204


# As docs/security.md writes it.
app.page_headers.update(
    {
        "Content-Security-Policy": "; ".join(
            [
                "default-src 'self'",
                f"script-src 'self' {' '.join(app.csp_hashes())}",
                f"style-src {STYLES}",
                "img-src 'self' data: blob:",
                "connect-src 'self'",
                "object-src 'none'",
                "base-uri 'none'",
                "form-action 'self'",
                "frame-ancestors 'self'",
            ]
        )
    }
)

if __name__ == "__main__":
    app.run()
