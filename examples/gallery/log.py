"""The tail of a log: each page filters the shared stream on the server, for itself.

On workers: ``FLASH_REDIS_URL=redis://… flash run log:app --workers 3``.
"""

import asyncio
import random
from datetime import datetime

from flash import Flash, Input, dcc, html, live, pubsub
from flash_ws import LinkStatus

SOURCES = ["web", "queue", "mail", "search"]
LEVELS = {"info": "badge", "warning": "badge warn", "error": "badge bad"}
TEXTS = {
    "info": ["GET /orders 200", "job is done", "cache is warm", "GET /prices 200", "sent 12 mails"],
    "warning": ["slow query: 1.8 s", "retry 2 of 5", "queue has 900 entries"],
    "error": ["connection refused", "no space left on device"],
}
app = Flash(__name__, title="Log")
pubsub.channel("log", history=2000, max_age=600)

app.layout = html.Main(
    [
        LinkStatus(id="link"),
        html.Header([html.H1("Log"), html.Span(id="count", className="badge")]),
        html.Section(
            [
                dcc.Checklist(list(LEVELS), list(LEVELS), id="levels", inline=True),
                dcc.Input(id="find", placeholder="Contains …", debounce=0.3),
                html.Button("Hold", id="hold", n_clicks=0),
            ],
            className="card row",
        ),
        html.Section(html.Div(id="tail", className="log"), className="card"),
    ]
)


@pubsub.feeder("log")
async def write():
    chance = random.Random(5)
    while True:
        [level] = chance.choices(list(LEVELS), [20, 4, 1])
        text = f"{chance.choice(TEXTS[level])} ({chance.randint(3, 900)} ms)"
        at = f"{datetime.now():%H:%M:%S}"
        yield {"at": at, "level": level, "source": chance.choice(SOURCES), "text": text}
        await asyncio.sleep(chance.expovariate(8))


def line(entry):
    return html.Div(
        [
            html.Span(entry["at"], className="quiet"),
            html.Span(entry["level"], className=LEVELS[entry["level"]]),
            html.Span(entry["source"]),
            html.Span(entry["text"]),
        ],
        className="line",
    )


@live.event_callback(
    Input("link", "status"),
    Input("levels", "value"),
    Input("find", "value"),
    Input("hold", "n_clicks"),
)
async def tail(status, levels, find, holds):
    """Runs until an Input changes; a new filter ends it and begins with the last lines."""
    shown, held = None, holds % 2 == 1
    yield "hold", {"children": "Go on" if held else "Hold"}
    while status == "open" and not held:
        lines = await pubsub.history("log", limit=2000)
        if lines.position != shown:
            shown = lines.position
            found = [
                each.data
                for each in lines
                if each.data["level"] in levels and (find or "") in each.data["text"]
            ]
            # The newest first: the box is drawn from below, and stays where it is scrolled to.
            newest = [line(entry) for entry in reversed(found[-100:])]
            yield {"tail.children": newest, "count.children": f"{len(found)} of {len(lines)} lines"}
        await asyncio.sleep(0.4)


if __name__ == "__main__":
    app.run()
