"""What all browsers share, on however many workers: controls, a tape of prices, rooms."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import components
import figures
import rooms
from components import aria, chart, live_tile, panel, segmented
from prices import INTERVAL, KEPT, Price, Tape, step
from quart import request
from theme import template

from flash import (
    ClientsideFunction,
    Input,
    Output,
    Patch,
    State,
    callback,
    clientside_callback,
    ctx,
    dcc,
    html,
    live,
    no_update,
    pubsub,
    register_page,
)
from flash_pubsub import MemoryBroker, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dash.development.base_component import Component

    from flash import Visitor
    from flash_ws import ClientInfo

register_page(
    __name__, path="/shared", name="Shared", title="Shared · Meridian Trade", icon="share"
)

TAPE = {"shared": "tape"}
UNREST = 30
HEADLINE = "Markets open calm"
HEADLINE_LENGTH = 60

tape = Tape()

pubsub.channel("prices/{market}", history=KEPT)
# Who comes into a room is not told what happened in it before.
pubsub.channel("room/{room}", replay_last=False)


async def layout(**_query: str) -> Component:
    is_alone = isinstance(pubsub.broker, MemoryBroker)
    # The last minute; the page is subscribed from there on, so that it gets each price once.
    history = await pubsub.history("prices/meridian", limit=KEPT)
    recent = [Price(**message.data) for message in history]
    for price in recent:
        # This worker follows the tape only while one of its pages shows it.
        tape.note(price)
    return components.page(
        "Shared",
        "What one browser changes all browsers show, whichever worker they are connected to",
        # Only pages that show the tape get its prices.
        Subscription("prices/meridian", since=history[-1].position if history else None),
        html.Div(id="room-place"),
        html.Div(
            [
                live_tile(
                    "here", "Here now", "open pages", value=str(max(1, len(await live.clients())))
                ),
                live_tile("tape-price", "Price", "four times a second"),
                live_tile("tape-growth", "Change", "over the last minute"),
                live_tile("tape-by", "Drawn by process", "on one worker, for all"),
                live_tile(
                    "worker",
                    "Your process",
                    f"{request.host}, {'alone' if is_alone else 'beside others'}",
                    value=str(os.getpid()),
                ),
            ],
            className="tiles",
        ),
        html.Div(
            [
                panel(
                    "Shared controls",
                    html.Div(
                        [
                            html.Div("Unrest of the price", id="unrest-label", className="label"),
                            dcc.Slider(
                                0,
                                100,
                                1,
                                value=UNREST,
                                id="unrest",
                                updatemode="drag",
                                marks={0: "calm", 50: "lively", 100: "wild"},
                            ),
                            html.P(id="unrest-note", className="note", **aria(live="polite")),
                        ],
                        className="shared-field",
                    ),
                    html.Div(
                        [
                            html.Label("Headline", htmlFor="headline-text"),
                            dcc.Input(
                                id="headline-text",
                                className="text-input",
                                value=HEADLINE,
                                maxLength=HEADLINE_LENGTH,
                                autoComplete="off",
                            ),
                            html.P(id="headline-note", className="note", **aria(live="polite")),
                        ],
                        className="shared-field",
                    ),
                    html.P(
                        "Open this page in a second window, or on a second machine: "
                        "what you move here moves there.",
                        className="hint",
                    ),
                    note="One slider, one field, for everybody",
                    width=5,
                ),
                panel(
                    "Price tape",
                    html.P(id="headline", className="headline"),
                    chart(
                        TAPE,
                        "The price over the last minute",
                        height=260,
                        figure=figures.tape(recent, None),
                    ),
                    note="From a feeder, which runs on one worker",
                    width=7,
                ),
                panel(
                    "Rooms",
                    html.Div(
                        [
                            segmented(
                                "room",
                                "Be in a room",
                                {key: room.name for key, room in rooms.ROOMS.items()},
                                "lobby",
                            ),
                            html.Button("Wave", id="wave", type="button", disabled=True),
                            html.P("Entering …", id="room-note", className="note room-note"),
                        ],
                        className="room-bar",
                    ),
                    html.P(id="room-said", className="note room-said", **aria(live="polite")),
                    html.Div(await roster(), id="roster", className="rooms"),
                    note="Who is where, on all workers",
                ),
            ],
            className="grid",
        ),
    )


# A slider of Dash has no name for those who hear it.
clientside_callback(
    ClientsideFunction("demo", "nameSlider"),
    Output("unrest-label", "children"),  # left as it is: Dash calls nothing on a page without one
    Input("unrest", "id"),
    State("unrest-label", "id"),
)


# -- Shared controls: each function runs once for a change, and what it returns is everybody's


@pubsub.shared_callback(Output("unrest-note", "children"), Input("unrest", "value"))
async def set_unrest(unrest: Any) -> str:
    """Say who has moved the slider; the tape reads its value."""
    if not isinstance(unrest, int | float) or not 0 <= unrest <= 100:
        raise ValueError(f"unrest goes from 0 to 100, and not to {unrest!r:.40}")
    return f"{unrest:.0f} of 100, {by_whom()}"


@pubsub.shared_callback(
    Output("headline", "children"),
    Output("headline-note", "children"),
    Input("headline-text", "value"),
)
async def set_headline(text: Any) -> tuple[str, str]:
    """Put what is typed above the tape."""
    if not isinstance(text, str) or len(text) > HEADLINE_LENGTH:
        raise ValueError(f"a headline is a text of {HEADLINE_LENGTH} characters at most")
    return text.strip() or "No headline", by_whom()


def by_whom() -> str:
    # Nothing has triggered the first run, which is the deployment's own.
    if not ctx.triggered_id:
        return "as it was at the start"
    return f"set by {rooms.visitor(live.client.id).name}"


# -- The tape: one worker draws the prices, every worker shows them to its pages


@pubsub.feeder("prices/meridian")
async def draw_prices() -> AsyncIterator[dict[str, Any]]:
    """A price four times a second; another worker goes on from the last one if this one dies."""
    chance = random.Random()
    price = tape.last
    while True:
        await asyncio.sleep(INTERVAL)
        price = step(price, await pubsub.shared["unrest", "value"].get(UNREST), chance)
        yield asdict(Price(time.time(), price, os.getpid()))


@pubsub.channel_callback(
    "prices/{market}",
    Output(TAPE, "extendData"),
    Output("tape-price", "children"),
    Output("tape-growth", "children"),
    Output("tape-by", "children"),
)
async def show_price(message: dict[str, Any], market: str) -> tuple[list[Any], str, str, str]:
    """Once for each price and worker, however many pages look at it."""
    del market
    price = Price(**message)
    tape.note(price)
    point = {"x": [[price.time]], "y": [[price.value]]}
    return [point, [0], KEPT], f"{price.value:.2f}", f"{tape.growth:+.1%}", str(price.by)


@callback(Output(TAPE, "figure"), Input("theme", "data"))
async def paint_tape(theme: str | None) -> Patch:
    """Give the chart the colours of the page; its prices stay as they are."""
    patch = Patch()
    patch["layout"]["template"] = template(theme)
    return patch


# -- Rooms: a Subscription says where a page is


@callback(Output("room-place", "children"), Output("room-said", "children"), Input("room", "value"))
async def enter(room: str) -> tuple[Any, Any]:
    """Leave one room for another."""
    if room not in rooms.ROOMS:
        return no_update, no_update
    return Subscription(f"room/{room}", id="room-subscription"), ""


@pubsub.authorize("prices/{market}")
async def may_look(_visitor: Visitor, market: str) -> bool:
    return market == "meridian"


@pubsub.authorize("room/{room}")
async def may_enter(_visitor: Visitor, room: str) -> bool:
    return room in rooms.ROOMS and rooms.ROOMS[room].is_open


@live.event_callback(Input("room-subscription", "status"), State("room", "value"))
async def greet(status: str, room: str) -> AsyncIterator[Any]:
    """Tell a page who it is, and whether it was let in."""
    if status == "pending" or room not in rooms.ROOMS:
        return
    is_in = status == "subscribed"
    name = rooms.visitor(live.client.id).name
    note = "" if is_in else f"The {rooms.ROOMS[room].name} lets nobody in. "
    shown = f"note room-note {'' if is_in else 'denied'}"
    yield "room-note", {"children": f"{note}You are {name}.", "className": shown}
    yield "wave", {"disabled": not is_in}


@pubsub.on_join("room/{room}")
@pubsub.on_leave("room/{room}")
async def look_again(_client: ClientInfo, room: str) -> None:
    """Have every worker look who is where; only one of them is told."""
    await pubsub.publish("rooms", room)


@pubsub.channel_callback("rooms", Output("roster", "children"))
async def show_rooms(_room: str) -> list[Component]:
    return await roster()


@live.event_callback(
    Input("wave", "n_clicks"),
    State("room", "value"),
    # Whether one may wave in the next room is not for this to say.
    cancel=[Input("room", "value")],
)
async def wave(_clicks: int, room: str) -> AsyncIterator[Any]:
    """Wave to those in the room, if one is there oneself; once a second."""
    channel, me = f"room/{room}", live.client.id
    if room not in rooms.ROOMS or me not in {each.id for each in await pubsub.who(channel)}:
        return
    yield "wave", {"disabled": True}
    now = datetime.now().astimezone()
    await pubsub.publish(channel, f"{rooms.visitor(me).name} waves, {now:%H:%M:%S}")
    await asyncio.sleep(1)
    yield "wave", {"disabled": False}


@pubsub.channel_callback("room/{room}", Output("room-said", "children"))
async def show_wave(said: str, room: str) -> str:
    """Only pages that are in the room are shown it."""
    return f"{rooms.ROOMS[room].name}: {said}"


async def roster() -> list[Component]:
    """The rooms, and who is in each."""
    everybody = await asyncio.gather(*(pubsub.who(f"room/{key}") for key in rooms.ROOMS))
    return [
        html.Div(
            [
                html.Div(
                    [
                        html.Strong(room.name),
                        html.Span(str(len(visitors)) if room.is_open else "closed"),
                    ],
                    className="room-head",
                ),
                html.Ul(
                    [visitor_line(each) for each in visitors[: rooms.NAMED]], className="visitors"
                ),
                html.P(
                    f"and {len(visitors) - rooms.NAMED} more"
                    if len(visitors) > rooms.NAMED
                    else ""
                    if visitors
                    else "Nobody is here.",
                    className="note",
                ),
            ],
            className=f"room room-{key}",
        )
        for (key, room), visitors in zip(rooms.ROOMS.items(), everybody, strict=True)
    ]


def visitor_line(info: ClientInfo) -> Component:
    visitor = rooms.visitor(info.id)
    return html.Li(
        [
            html.Span(
                visitor.initials, className=f"avatar tint-{visitor.tint}", **aria(hidden="true")
            ),
            html.Span(visitor.name),
        ]
    )
