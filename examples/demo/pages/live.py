"""What the server sends by itself: figures, who is here, what others say, answers as they form."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import answers
import chat
import components
import figures
from amounts import size
from components import aria, chart, live_tile, panel
from dash_extensions import SSE, WebSocket
from dash_extensions.streaming import sse_options
from quart import abort
from resources import database, machine

from flash import (
    ALL,
    ClientsideFunction,
    Input,
    Output,
    State,
    callback,
    clientside_callback,
    ctx,
    dcc,
    get_relative_path,
    html,
    live,
    no_update,
    register_page,
)
from flash_ws import LinkStatus, RateLimit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dash.development.base_component import Component

    from flash_ws import Client, Connection
    from flash_ws.endpoints.event_stream import StreamRequest

PATH = "/live"
register_page(__name__, path=PATH, name="Live", title="Live · Meridian Trade", icon="bolt")

COURSE, CORES = {"live": "course"}, {"live": "cores"}
# Points of the course: two minutes.
KEPT = 240

room = chat.Room()


async def layout(**_query: str) -> Component:
    return components.page(
        "Live",
        "The server pushes: no polling, one connection for each page",
        # Its status becomes "open" as soon as the page is there, and again whenever the link is
        # back: that starts the stream of figures.
        LinkStatus(id="live-link"),
        dcc.Store(id="live-theme"),
        # Once its socket is lost, the link's return opens another: see demo.js.
        WebSocket(id="chat", url=get_relative_path("/chat")),
        SSE(id="answer-stream", concat=True),
        html.Div(
            [
                live_tile(
                    "here", "Here now", "open pages", value=str(max(1, len(await live.clients())))
                ),
                live_tile("live-cpu", "Processor", "waiting for figures", bar=True),
                live_tile("live-memory", "Memory", "waiting for figures", bar=True),
                live_tile("live-network", "Network", "waiting for figures"),
                live_tile("live-pushed", "Updates", "pushed to this page", value="0"),
            ],
            className="tiles",
        ),
        html.Div(
            [
                panel(
                    "Processor and memory",
                    chart(COURSE, "Load of the processor and memory in use", height=260),
                    note="Two minutes, twice a second, from an event callback",
                    width=8,
                ),
                panel(
                    "Cores",
                    chart(CORES, "Load of each core", height=260),
                    note="At this moment",
                    width=4,
                ),
                panel(
                    "Chat",
                    html.Div(
                        components.empty("Opening the chat …"),
                        id="chat-log",
                        className="chat-log",
                        role="log",
                        tabIndex="0",
                        **aria(label="What was said", live="polite"),
                    ),
                    html.Div(
                        [
                            dcc.Input(
                                id="chat-text",
                                className="text-input",
                                placeholder="Say something",
                                maxLength=chat.MAX_LENGTH,
                                autoComplete="off",
                                disabled=True,
                                value="",
                            ),
                            html.Button(
                                "Send",
                                id="chat-send",
                                className="primary",
                                type="button",
                                disabled=True,
                            ),
                        ],
                        className="chat-form",
                    ),
                    html.P(id="chat-note", className="note chat-note", role="status"),
                    note=html.Span("Over a WebSocket of its own", id="chat-name"),
                    width=6,
                ),
                panel(
                    "Ask the orders",
                    html.Div(
                        [
                            html.Button(question, id={"ask": key}, type="button")
                            for key, (question, _) in answers.QUESTIONS.items()
                        ],
                        className="questions",
                    ),
                    html.Div(
                        [
                            html.P(id="question", className="question"),
                            html.P(
                                "Ask one: the answer comes word by word, while the queries for its "
                                "next part still run.",
                                id="answer",
                                className="answer waiting",
                            ),
                        ],
                        className="result answer-box",
                        **aria(live="polite"),
                    ),
                    note="Streamed as server-sent events",
                    width=6,
                ),
            ],
            className="grid",
        ),
    )


# -- Figures, from an event callback: an async generator, for as long as the page is open


# The theme, on this page: what a callback of this page listens to has to be there when it is.
clientside_callback("theme => theme", Output("live-theme", "data"), Input("theme", "data"))


@live.event_callback(
    Input("live-link", "status"),
    Input("live-theme", "data"),
    # Anywhere else than on this page it ends.
    cancel=[(Input("address", "pathname"), get_relative_path(PATH))],
)
async def stream_machine(status: str, theme: str | None) -> AsyncIterator[Any]:
    """The course so far, then every sample as it is taken."""
    if status != "open":
        return
    yield COURSE, {"figure": figures.machine_course(machine.recent, theme)}
    yield CORES, {"figure": figures.cores(machine.latest, theme)}
    for change in tiles(machine.latest):
        yield change
    pushed = 1
    async for now in machine.samples():
        pushed += 1
        point = {"x": [[now.at.isoformat()]] * 2, "y": [[now.cpu], [now.memory]]}
        yield COURSE, {"extendData": [point, [0, 1], KEPT]}
        yield CORES, {"figure": figures.cores(now, theme)}
        yield "live-pushed", {"children": f"{pushed:,}"}
        for change in tiles(now):
            yield change


def tiles(now: Any) -> list[tuple[str, dict[str, Any]]]:
    cores = len(now.cores)
    return [
        ("live-cpu", {"children": f"{now.cpu:.0%}"}),
        ("live-cpu-note", {"children": f"of {cores} core{'s' * (cores != 1)}"}),
        ("live-cpu-bar", {"style": {"width": f"{now.cpu:.0%}"}}),
        ("live-memory", {"children": f"{now.memory:.0%}"}),
        (
            "live-memory-note",
            {"children": f"{size(now.memory_used)} of {size(now.memory_total)}"},
        ),
        ("live-memory-bar", {"style": {"width": f"{now.memory:.0%}"}}),
        ("live-network", {"children": f"{rate(now.received + now.sent)}"}),
        ("live-network-note", {"children": f"{rate(now.received)} in, {rate(now.sent)} out"}),
    ]


def rate(count: float) -> str:
    return f"{count / 1e6:.1f} MB/s" if count >= 1e6 else f"{count / 1e3:.0f} kB/s"


# -- Who is here: pushed to every page, which shows it if it has the tile


@live.on_connect
@live.on_disconnect
async def count(_client: Client) -> None:
    await live.push("here", {"children": str(len(await live.clients()))})


# -- The chat, over dash-extensions' WebSocket component


@live.websocket("/chat", max_message_bytes=4096, rate=RateLimit(per_second=5, burst=20))
async def talk(connection: Connection) -> None:
    """Pass on what is said, once it has been looked at."""
    guest, pace = room.welcome(), chat.Pace()
    connection.join("chat")
    await connection.send({"you": asdict(guest), "said": room.said})
    async for message in connection:
        try:
            text = chat.read(message)
        except chat.Refused as refused:
            await connection.send({"note": str(refused)})
            continue
        if pace.allows(time.monotonic()):
            await live.connections("chat").send({"said": [room.say(guest, text)]})
        else:
            await connection.send({"note": "That was a lot at once. Wait a few seconds."})


clientside_callback(
    ClientsideFunction("demo", "chatMessage"),
    Output("chat-log", "children"),
    Output("chat-name", "children"),
    Output("chat-note", "children"),
    Input("chat", "message"),
    State("chat-log", "children"),
    prevent_initial_call=True,
)
clientside_callback(
    ClientsideFunction("demo", "chatState"),
    Output("chat-text", "disabled"),
    Output("chat-send", "disabled"),
    Input("chat", "state"),
    Input("live-link", "status"),
    State("chat", "url"),
    prevent_initial_call=True,
)
clientside_callback(
    ClientsideFunction("demo", "say"),
    Output("chat", "send"),
    Output("chat-text", "value"),
    Input("chat-text", "n_submit"),
    Input("chat-send", "n_clicks"),
    State("chat-text", "value"),
    prevent_initial_call=True,
)


# -- Answers, over dash-extensions' SSE component


@live.sse("/answer", methods="POST", max_body_bytes=1024)
async def answer(request: StreamRequest) -> AsyncIterator[str]:
    """The answer to one of the questions; the browser may name no other."""
    asked = await request.get_json()
    key = asked.get("question") if isinstance(asked, dict) else None
    if not isinstance(key, str) or key not in answers.QUESTIONS:
        abort(400, "no such question")
    _, answerer = answers.QUESTIONS[key]
    async for word in answers.words(answerer(database)):
        yield word


@callback(
    Output("answer-stream", "url"),
    Output("answer-stream", "options"),
    Output("question", "children"),
    Input({"ask": ALL}, "n_clicks"),
    prevent_initial_call=True,
)
async def ask(clicks: list[int | None]) -> tuple[Any, Any, Any]:
    """Have the component ask; the time makes a question that is asked again another one."""
    if not any(clicks):
        return no_update, no_update, no_update
    key = ctx.triggered_id["ask"]
    payload = json.dumps({"question": key, "asked": time.time()})
    return get_relative_path("/answer"), sse_options(payload), answers.QUESTIONS[key][0]


clientside_callback(
    ClientsideFunction("demo", "answer"),
    Output("answer", "children"),
    Output("answer", "className"),
    Input("answer-stream", "value"),
    Input("answer-stream", "done"),
    Input("answer-stream", "options"),
    prevent_initial_call=True,
)
