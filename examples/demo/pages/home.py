"""The first page: what Flash is, shown by the page itself."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import random
import signal
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import components
from components import aria, panel
from race import NAMES, VISITORS, NoRace, Picture
from resources import race

from flash import (
    ClientsideFunction,
    Input,
    Output,
    callback,
    clientside_callback,
    dcc,
    html,
    live,
    pubsub,
    register_page,
)
from flash_pubsub import Room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dash.development.base_component import Component


DOCS = "https://example.org/flash/docs"

register_page(
    __name__,
    path="/",
    name="Flash",
    title="Flash, the realtime runtime for Dash",
    icon="bolt",
    order=0,
)
register_page("pane", path="/pane", title="Another page of Flash", layout=lambda **_: pane())

# Beats a second, while somebody looks.
RATE = 60
SWING = 40
# Whether workers may be killed from the page: `cluster.py` starts them again.
IS_CLUSTER = "DEMO_CLUSTER" in os.environ


def pane() -> Component:
    """A page with the tape and the slider, which all pages share."""
    return html.Div(
        [
            Room("tape"),
            html.Canvas(
                id="pulse-line",
                className="pulse",
                role="img",
                **aria(label="The last beats of the tape"),
            ),
            html.Dl(
                [
                    html.Div([html.Dt("Messages"), html.Dd("0", id="pulse-count")]),
                    html.Div([html.Dt("A second"), html.Dd("–", id="pulse-rate")]),
                    html.Div([html.Dt("Age on arrival"), html.Dd("–", id="pulse-age")]),
                    html.Div([html.Dt("Missed"), html.Dd("0", id="pulse-missed")]),
                    html.Div([html.Dt("Sent by process"), html.Dd("–", id="pulse-by")]),
                ],
                className="pulse-facts",
            ),
            html.Div("Swing of the tape", id="swing-label", className="label"),
            dcc.Slider(
                0, 100, 1, value=SWING, id="swing", updatemode="drag", marks=None, tooltip=None
            ),
            html.P(id="swing-note", className="note", **aria(live="polite")),
        ],
        className="pane",
    )


async def layout(**_query: str) -> Component:
    return html.Div(
        [
            html.Header(
                [
                    html.Div(
                        [
                            html.H1("Dash that pushes, shares and never waits"),
                            components.link_badge(),
                        ],
                        className="title",
                    ),
                    html.P(
                        "Flash runs the apps you have on an asynchronous server. Change one import "
                        "line, and the server can send to every open page.",
                        className="lead",
                    ),
                    html.Pre(
                        html.Code(
                            'pip install "flash-core[ws,pubsub]"\n'
                            "- from dash import Dash, Input, Output, callback, dcc, html\n"
                            "+ from flash import Dash, Input, Output, callback, dcc, html"
                        ),
                        className="start",
                        # Scrolled by keyboard, too, where it is wider than the screen.
                        tabIndex=0,
                    ),
                    html.Div(
                        [
                            html.A(text, href=f"{DOCS}/{name}.html")
                            for text, name in (
                                ("Tutorial", "tutorial"),
                                ("Move an app", "migrating"),
                                ("Which callback for what", "choosing"),
                                ("How fast", "performance-in-words"),
                            )
                        ],
                        className="links",
                        role="navigation",
                        **aria(label="Documentation"),
                    ),
                ],
                className="hero",
            ),
            html.Div(
                [
                    panel("This page", pane(), width=6, note="Move the slider"),
                    panel(
                        "Another page, in a frame",
                        html.Iframe(
                            src="pane", title="Another page of this app", className="frame-pane"
                        ),
                        width=6,
                        note="It has a connection of its own, and the same slider",
                    ),
                    source(beat, set_swing),
                    panel(
                        "The same slow query, asked by eight visitors at once",
                        html.Div(
                            [
                                html.Button(
                                    "Start the race", id="race", className="primary", type="button"
                                ),
                                html.P(
                                    "Two small servers with one and the same file, on one server "
                                    "program (uvicorn). Its callback waits half a second for a "
                                    "driver that blocks.",
                                    className="note",
                                ),
                            ],
                            className="buttons",
                        ),
                        html.Div(lanes(None), id="race-lanes", className="lanes"),
                        html.P(id="race-result", className="race-result", **aria(live="polite")),
                    ),
                    source(run_race, title="Show the code of this panel"),
                    panel(
                        "A worker dies, and the tape goes on",
                        html.Div(
                            [
                                html.Button(
                                    "Kill the worker that sends the tape",
                                    id="kill",
                                    type="button",
                                    disabled=not IS_CLUSTER,
                                ),
                                html.P(
                                    "With SIGKILL. Another worker takes over, and every page shows "
                                    "what it missed."
                                    if IS_CLUSTER
                                    else "This demo runs in one process. `make demo-cluster` has "
                                    "three workers around a Redis, and then this button works.",
                                    id="kill-note",
                                    className="note",
                                    **aria(live="polite"),
                                ),
                            ],
                            className="buttons",
                        ),
                    ),
                    source(kill),
                ],
                className="grid",
            ),
        ],
        className="page home",
    )


def source(*functions: Any, title: str = "Show the code") -> Component:
    """The source of what a panel shows."""
    text = "\n\n".join(inspect.getsource(function) for function in functions)
    return html.Details(
        [html.Summary(title), html.Pre(html.Code(text), tabIndex=0)], className="source span-12"
    )


# -- The tape: one worker of all sends it, every worker shows it to its pages


@pubsub.feeder("tape")
async def beat() -> AsyncIterator[dict[str, Any]]:
    """Sixty events a second to every page in the room, from one worker, while there is one."""
    angle, swing = 0.0, SWING
    for number in count():
        if number % RATE == 0:
            # Once a second the channel is told who sends.
            yield {"by": os.getpid()}
            while not await pubsub.who("tape"):  # noqa: ASYNC110 — nothing tells of it
                await asyncio.sleep(0.5)
        if number % 6 == 0:
            swing = await pubsub.shared["swing", "value"].get(SWING)
        angle += 0.08
        value = swing * (math.sin(angle) + random.uniform(-0.2, 0.2)) / 120
        now = {"number": number, "at": time.time(), "value": value, "by": os.getpid()}
        live.send_event("beat", now, to=live.room("tape"))
        await asyncio.sleep(1 / RATE)


@pubsub.channel_callback("tape", Output("pulse-by", "title"))
async def note_sender(message: dict[str, Any]) -> str:
    """On every worker: one of them is asked to end the process that sends."""
    last.update(message)
    return "The process that sends the tape"


@pubsub.shared_callback(Output("swing-note", "children"), Input("swing", "value"))
async def set_swing(swing: Any) -> str:
    """Once for each change, for everybody."""
    if not isinstance(swing, int | float) or not 0 <= swing <= 100:
        raise ValueError(f"the swing goes from 0 to 100, and not to {swing!r:.40}")
    return f"{swing:.0f} of 100, on every page"


# What this worker has seen of the tape: by whom it is sent.
last: dict[str, Any] = {}


clientside_callback(
    ClientsideFunction("demo", "nameSlider"),
    Output("swing-label", "children"),  # left as it is: Dash calls nothing on a page without one
    Input("swing", "id"),
    Input("swing-label", "id"),
)


# -- The race


@live.event_callback(Input("race", "n_clicks"), reset_props=[("race", {"disabled": False})])
async def run_race(_clicks: int) -> AsyncIterator[Any]:
    """Send the picture of the race to this page, ten times a second."""
    yield "race", {"disabled": True}
    yield {"race-result.children": "Waiting for the race of another page." if race.is_on else ""}
    try:
        async for picture in race.run():
            yield {"race-lanes.children": lanes(picture)}
    except NoRace as error:
        yield {"race-result.children": str(error)}
    else:
        yield {"race-result.children": result(picture)}


def lanes(picture: Picture | None) -> list[Component]:
    """Both contenders: a bar for each visitor, and how long the clock stood still."""
    drawn: list[Component] = []
    for kind, name in NAMES.items():
        lane = picture.lanes[kind] if picture else None
        now = picture.seconds if picture else 0.0
        reports = lane.reports if lane else [None] * VISITORS
        bars = [
            html.Div(
                html.Span(
                    f"{at:.1f} s" if at is not None else "",
                    style={"width": f"{min(at if at is not None else now, 5) / 5:.1%}"},
                ),
                className=f"lane-bar {'done' if at is not None else ''}",
            )
            for at in reports
        ]
        waited = lane.wait(now) if lane else 0.0
        words = (
            lane.failure
            or f"The time was told {lane.clocks} times; the longest wait for it: {waited:.1f} s"
            if lane
            else "Every visitor has a bar; beside them somebody asks for the time."
        )
        drawn.append(
            html.Div(
                [
                    html.H3(name),
                    html.Div(bars, className="lane-bars"),
                    html.P(words, className="note stalled" if waited > 0.3 else "note"),
                ],
                className=f"lane lane-{kind}",
            )
        )
    return drawn


def result(picture: Picture) -> str:
    """The end of the race in one sentence."""
    if any(lane.failure for lane in picture.lanes.values()):
        return "The race could not be run to its end."
    last_of = {kind: max(filter(None, lane.reports)) for kind, lane in picture.lanes.items()}
    stalled = {kind: lane.longest for kind, lane in picture.lanes.items()}
    return (
        f"All {VISITORS} reports after {last_of['flash']:.1f} s on Flash, after "
        f"{last_of['dash']:.1f} s on Dash. Whoever asked for the time waited for "
        f"{stalled['flash'] * 1000:.0f} ms at most on Flash, for {stalled['dash']:.1f} s on Dash."
    )


# -- The end of a worker


@callback(Output("kill-note", "children"), Input("kill", "n_clicks"), prevent_initial_call=True)
async def kill(_clicks: int) -> str:
    """End the process that sends the tape, at once; the page never says which one."""
    by = last.get("by")
    if not IS_CLUSTER or by is None:
        return "There is no other worker that could take over."
    # If it is this one: after the answer.
    asyncio.get_running_loop().call_later(0.3, os.kill, by, signal.SIGKILL)
    return f"Process {by} is killed. Watch “sent by process” and “missed”."
