"""A status page: complete in its first HTML, then live; one worker tells of each outage, once.

On workers: ``FLASH_REDIS_URL=redis://… flash run status:app --workers 3``.
"""

import asyncio
import random
from itertools import count

from flash import Flash, Input, Output, html, live, no_update, pubsub
from flash_pubsub import Subscription
from flash_ws import LinkStatus

SERVICES = ["Website", "Orders", "Payments", "Search", "Mail"]
WORDS = {"up": "works", "slow": "is slow", "down": "is down"}
BADGES = {"up": "badge good", "slow": "badge warn", "down": "badge bad"}
SHOWN = 60
app = Flash(__name__, title="Status")
pubsub.channel("checks", history=SHOWN + 10, max_age=600)


def draw(checks):
    """The state of all services, and a row for each with its last checks."""
    if not checks:
        return html.P("The first check is under way.", className="banner warn")
    last = checks[-1]
    bad = [name for name, state in last.items() if state != "up"]
    text = f"{', '.join(bad)}: not as usual" if bad else "All services work"
    rows = []
    for name in SERVICES:
        now = [html.B(name), html.Span(WORDS[last[name]], className=BADGES[last[name]])]
        past = [html.Span(className=check[name]) for check in checks]
        drawn = [html.Div(now, className="row"), html.Div(past, className="days")]
        rows.append(html.Div(drawn, className="card"))
    return [html.P(text, className=f"banner {'warn' if bad else 'good'}"), *rows]


async def layout():
    checks = await pubsub.history("checks", limit=SHOWN)
    return html.Main(
        [
            LinkStatus(id="link"),
            html.Header([html.H1("Status"), html.Span("as of now", id="state", className="badge")]),
            html.P("No outage so far.", id="outage", className="quiet"),
            html.Section(draw([each.data["states"] for each in checks]), id="services"),
            Subscription("checks", since=checks.position),
        ]
    )


app.layout = layout
app.clientside_callback(
    "status => status === 'open' ? 'live' : 'as of the last contact'",
    Output("state", "children"),
    Input("link", "status"),
)


@pubsub.feeder("checks")
async def check():
    """Stands for requests to the services."""
    chance, states = random.Random(6), dict.fromkeys(SERVICES, "up")
    for number in count():
        new = []
        for name, state in list(states.items()):
            ways = {"up": [97, 3, 0], "slow": [40, 50, 10], "down": [30, 10, 60]}[state]
            [states[name]] = chance.choices(["up", "slow", "down"], ways)
            if states[name] == "down" != state:
                new.append(name)
        yield {"states": states, "new": new}
        # The first ones at once, so that there is something to see.
        await asyncio.sleep(1 if number > 40 else 0.02)


@pubsub.channel_callback("checks", Output("services", "children"))
async def show(message):
    return draw([each.data["states"] for each in await pubsub.history("checks", limit=SHOWN)])


@pubsub.channel_callback("checks", Output("outage", "children"), once=True)
async def tell(message):
    if not message["new"]:
        return no_update
    names = ", ".join(message["new"])
    await live.notify(f"An outage begins: {names}.", kind="error", to=live.everybody)
    return f"The last outage began with {names}."


if __name__ == "__main__":
    app.run()
