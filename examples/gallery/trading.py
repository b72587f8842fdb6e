"""A trading screen: prices with their past, fills of everybody, one alarm for the whole desk.

On workers: ``FLASH_REDIS_URL=redis://… flash run trading:app --workers 3``.
"""

import asyncio
import random
from datetime import datetime

from flash import Flash, Input, Output, State, callback, ctx, dcc, html, live, pubsub

SYMBOLS = {"FLAX": 84.0, "IRON": 101.0, "SALT": 92.0}
app = Flash(__name__, title="Trading")
pubsub.channel("prices", history=600, max_age=600)
pubsub.channel("fills", max_age=3600)
TRACES = [{"x": [], "y": [], "name": name, "mode": "lines"} for name in SYMBOLS]
LOOK = {"margin": {"l": 40, "r": 8, "t": 8, "b": 28}, "legend": {"orientation": "h", "y": 1.15}}


def tile(name):
    return html.Div([html.H2(name), html.P("–", id=name, className="number")], className="card")


CHART = dcc.Graph(id="chart", figure={"data": TRACES, "layout": LOOK})
FILLS = [html.H2("Fills of all traders"), html.Div(id="fills", className="list")]
BUTTONS = [html.Button("Buy", id="buy"), html.Button("Sell", id="sell")]
CHOICE = dcc.Dropdown(list(SYMBOLS), "FLAX", id="symbol", clearable=False)
SLIDER = dcc.Slider(90, 130, 1, value=110, id="alarm", marks=None, updatemode="drag")
ALARM = [html.Label(id="alarm-text"), SLIDER]
app.layout = html.Main(
    [
        html.Header([html.H1("Trading"), html.Span("one feed for all pages", className="badge")]),
        html.Section([tile(name) for name in SYMBOLS], className="three"),
        html.Section([html.Div(CHART), html.Div(FILLS)], className="card two"),
        html.Section([CHOICE, html.Div(BUTTONS), html.Div(ALARM)], className="card three"),
    ]
)


@pubsub.feeder
async def market():
    chance, prices = random.Random(7), dict(SYMBOLS)
    while True:
        before = max(prices.values())
        prices = {name: round(p + chance.gauss(0.02, 0.4), 2) for name, p in prices.items()}
        yield "prices", {"at": datetime.now().isoformat(), "prices": prices}
        limit = await pubsub.shared["alarm", "value"].get(110)
        if before <= limit < max(prices.values()):
            await live.notify(f"A price is above {limit}.", kind="warning", to=live.everybody)
        await asyncio.sleep(0.25)


@pubsub.channel_callback("prices", Output("chart", "extendData"), backfill=400)
def chart(message):
    ys = [[price] for price in message["prices"].values()]
    return [{"x": [[message["at"]]] * len(ys), "y": ys}, list(range(len(ys))), 400]


@pubsub.channel_callback("prices", *(Output(name, "children") for name in SYMBOLS))
def quotes(message):
    return [f"{message['prices'][name]:.2f}" for name in SYMBOLS]


BUY, SELL, SYMBOL = Input("buy", "n_clicks"), Input("sell", "n_clicks"), State("symbol", "value")


@callback(BUY, SELL, SYMBOL, prevent_initial_call=True)
async def trade(buys, sells, symbol):
    [last] = await pubsub.history("prices", limit=1)
    price = f"{last.data['prices'][symbol]:.2f}"
    await pubsub.publish("fills", {"text": f"{ctx.triggered_id} 100 {symbol}", "price": price})
    live.notify(f"Done: {ctx.triggered_id} 100 {symbol} at {price}.", kind="success")


@pubsub.channel_callback("fills", Output("fills", "children"))
async def fills(message):
    last = reversed(await pubsub.history("fills", limit=7))
    return [html.Div([html.Span(each.data["text"]), html.B(each.data["price"])]) for each in last]


@pubsub.shared_callback(Output("alarm-text", "children"), Input("alarm", "value"))
def alarm(limit):
    return f"Alarm for everybody above {limit}"


if __name__ == "__main__":
    app.run()
