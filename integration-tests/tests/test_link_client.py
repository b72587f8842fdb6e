"""B7, B9: the page's side of the live link, in a browser, against a server that obeys the test."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

import flash_ws
from flash.serving.listener import Address, reserved
from flash.testing import AppProcess
from flash_ws.protocol.codes import CloseCode

pytest_plugins = ["flash.testing.plugin"]

SCRIPT = Path(flash_ws.__file__).with_name("flash_ws.js")

# A page, and in place of the link's server one that keeps what it hears and does what a test asks.
APP = """
import asyncio
import json
import os

import quart
from dash.development.base_component import Component

from flash import ALL, ClientsideFunction, Flash, Input, Output, Patch, State, dcc, html
from flash_ws import LinkStatus


class Linked(Flash):
    def page_config(self):
        return {**super().page_config(), "flash_link": {"max_message": 65536}}


class Counter(Component):
    _namespace = "probe"
    _type = "Counter"
    _children_props = []

    def __init__(self, id):
        self._prop_names = self.available_properties = ["id", "one", "two"]
        self._valid_wildcard_attributes = self.available_wildcard_properties = []
        super().__init__(id=id)


app = Linked(
    __name__,
    requests_pathname_prefix=os.environ.get("PREFIX"),
    routes_pathname_prefix=os.environ.get("PREFIX"),
)
app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.P(id="status"),
        html.P("nothing", id="out"),
        html.P("nothing", id={"kind": "row", "number": 1}),
        html.Ul([], id="list"),
        html.P(id="echo"),
        Counter(id="counter"),
        html.Button("Go", id="go"),
        dcc.Input(id="name", value="Ada"),
    ]
)


@app.callback(
    Output("status", "children"), Input("link", "status"), Input("link", "recovered"),
    State("link", "latency"),
)
def show(status, recovered, latency):
    return f"{status} {recovered} {type(latency).__name__}"


@app.callback(Output("echo", "children"), Input("out", "children"))
def echo(text):
    return f"heard {text}"


if os.environ.get("DEBUG"):
    app.enable_dev_tools(
        debug=True, dev_tools_hot_reload=False, dev_tools_disable_version_check=True
    )

app.clientside_callback(
    ClientsideFunction("flash_ws", "report-5"),
    Input("go", "n_clicks"),
    Input({"kind": "row", "number": ALL}, "children"),
    State("name", "value"),
    prevent_initial_call=True,
)

options = json.loads(os.environ["OPTIONS"])
connections = []


class Connection:
    def __init__(self, kind):
        self.kind = kind
        self.number = len(connections)
        self.heard = []
        # Bytes of each message.
        self.sizes = []
        self.closed = None
        # Messages, and a number to close with; None to vanish.
        self.out = asyncio.Queue()
        connections.append(self)

    def hear(self, text):
        self.sizes.append(len(text.encode()))
        for frame in json.loads(text):
            self.heard.append(frame)
            if frame["t"] == "hello" and options["answer"]:
                welcome = {"t": "welcome", "v": 1, "page": f"token {self.number}"}
                welcome["connection"] = f"number {self.number}"
                welcome.update(options["welcome"])
                self.out.put_nowait([welcome, *options["frames"]])
            elif frame["t"] == "beat" and options["beats"]:
                self.out.put_nowait([{"t": "beat"}])

    async def pump(self, receive, write, close):
        async def listen():
            while (event := await receive())["type"] not in (
                "websocket.disconnect", "http.disconnect"
            ):
                if "text" in event:
                    self.hear(event["text"])
            self.closed = event.get("code", 0)

        listening = asyncio.create_task(listen())
        try:
            while not listening.done():
                next_one = asyncio.create_task(self.out.get())
                await asyncio.wait({listening, next_one}, return_when="FIRST_COMPLETED")
                if not next_one.done():
                    next_one.cancel()
                elif isinstance(next_one.result(), int):
                    await close(next_one.result())
                    return
                else:
                    text = next_one.result()
                    await write(text if isinstance(text, str) else json.dumps(text))
        finally:
            listening.cancel()


async def socket(scope, receive, send):
    if scope["type"] == "http":
        await answer(send, 426)
        return
    await receive()
    if not options["websocket"]:
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})

    async def write(text):
        await send({"type": "websocket.send", "text": text})

    async def close(code):
        await send({"type": "websocket.close", "code": code, "reason": "told to"})

    await Connection("websocket").pump(receive, write, close)


async def answer(send, status):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def events(scope, receive, send):
    if options["http"] != 200:
        await answer(send, options["http"])
        return
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(text, name="message"):
        body = f"event: {name}\\n: a comment\\ndata: {text}\\n\\n".encode()
        # In two parts, as networks do.
        for part in (body[:9], body[9:]):
            await send({"type": "http.response.body", "body": part, "more_body": True})

    async def close(code):
        await write(json.dumps({"code": code, "reason": "told to"}), "close")
        await send({"type": "http.response.body", "body": b""})

    connection = Connection("sse")
    assert not scope["query_string"]
    connection.hear(await read(receive))

    async def receive_end():
        while (event := await receive())["type"] != "http.disconnect":
            pass
        return event

    await connection.pump(receive_end, write, close)


async def read(receive):
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            return body.decode()


async def frames(scope, receive, send):
    assert not scope["query_string"]
    name = dict(scope["headers"])[b"flash-connection"].decode()
    connection = connections[int(name.removeprefix("number "))]
    connection.hear(await read(receive))
    await answer(send, 204)


app.add_asgi_route("_flash/link", socket)
app.add_asgi_route("_flash/link/events", events)
app.add_asgi_route("_flash/link/frames", frames)


@app.server.before_request
async def hold_the_layout():
    while quart.request.path.endswith("_dash-layout") and not options["layout"]:
        await asyncio.sleep(0.01)


@app.server.post("/do")
async def do():
    order = await quart.request.get_json()
    options.update(order.get("options", {}))
    for item in order.get("out", []):
        connections[order["to"]].out.put_nowait(item)
    return ""


@app.server.get("/seen")
async def seen():
    return [
        {"kind": c.kind, "heard": c.heard, "closed": c.closed, "sizes": c.sizes}
        for c in connections
    ]


@app.server.get("/patch")
async def patch():
    patch = Patch()
    patch.append("more")
    return quart.Response(json.dumps(patch.to_plotly_json()), content_type="application/json")


@app.server.get("/elsewhere")
async def elsewhere():
    return "<title>Elsewhere</title>"


@app.server.after_request
async def only_own_scripts(response):
    if os.environ.get("STRICT"):
        hashes = " ".join(app.csp_hashes())
        response.headers["Content-Security-Policy"] = (
            f"default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'"
        )
    return response
"""

# A component that counts how often it is drawn.
COUNTER = """
window.draws = 0;
window.probe = {Counter: props => { window.draws += 1; return [props.one, props.two].join(); }};
"""


# What the console shows of a server that is away, when a callback tells it of the link, too.
# Dash's renderer catches no answer that is cut off ("Failed to fetch").
DOWN = "_dash-update-|_favicon|the server did not respond"

# What the server does unless told otherwise.
USUAL = {
    "websocket": True,  # whether sockets are accepted
    "http": 200,  # what the stream's request is answered with
    "answer": True,  # whether hello is answered
    "beats": True,  # whether heartbeats are answered
    "welcome": {"beat": 25000, "at": {"all": ["e", 0]}, "recovered": None},
    "frames": [],  # what follows a welcome at once
    "layout": True,  # whether pages get their layout
}
ENV = {"OPTIONS": json.dumps(USUAL)}


class Link:
    """The server's end of the links, as a test commands it."""

    def __init__(self, process):
        self.process = process

    def do(self, *out, to=-1, **options):
        order = {"out": out, "to": to, "options": options}
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.process.url}/do", json.dumps(order).encode(), headers)
        urlopen(request).close()

    @property
    def seen(self):
        with urlopen(f"{self.process.url}/seen") as answer:
            return json.load(answer)

    def heard(self, kind, to=-1):
        return [frame for frame in self.seen[to]["heard"] if frame["t"] == kind]


def props(number, *updates, c="all"):
    return {"t": "props", "c": c, "n": number, "u": updates}


def event(number, name, data=None, c="all"):
    return {"t": "event", "c": c, "n": number, "name": name, "data": data}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linked")
    (folder / "app.py").write_text(APP)
    (folder / "assets").mkdir()
    (folder / "assets" / "counter.js").write_text(COUNTER)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with AppProcess(folder / "app.py", server="uvicorn", env=ENV) as process:
        yield process


@pytest.fixture
def link(server):
    """The server's end, with what earlier tests asked for forgotten."""
    link = Link(server)
    link.do(**USUAL)
    return link


@pytest.fixture
def page(flash_browser, server, link):
    """A page whose link is open."""
    flash_browser.visit(server)
    wait_for_status(flash_browser, "open")
    wait_for_layout(flash_browser)
    return flash_browser


def statistics(page):
    return page.run_js("return flash.statistics()")


def wait_for_status(page, wanted):
    page.wait_for(lambda: statistics(page)["status"] == wanted, f"the link to be {wanted}")


def wait_for_layout(page):
    page.find("#out")


def wait_for_connection(page, number):
    """Wait until the page has connected so many times; chance may make it wait for long."""
    page.wait_for(lambda: statistics(page)["connections"] == number, f"connection {number}")


def close_and_keep_down(page, link):
    """Have the page reconnect, and give it no welcome."""
    count = len(link.seen)
    link.do(1012, answer=False)
    page.wait_for(lambda: len(link.seen) > count and link.heard("hello"), "the page to come back")


def collect(page, *names):
    """Have the page keep the events of these names, in order."""
    page.run_js(
        "window.got = window.got || [];"
        "for (const name of arguments) flash.on(name, data => got.push([name, data]))",
        *names,
    )


def got(page):
    return page.run_js("return window.got")


class TestMessages:
    @pytest.mark.parametrize("messages", [1, 100])
    def test_b7_a_burst_of_a_hundred_events_is_a_hundred_calls(self, page, link, messages):
        collect(page, "tick")
        frames = [event(n, "tick", n) for n in range(1, 101)]
        size = 100 // messages
        link.do(*(frames[start : start + size] for start in range(0, 100, size)))
        page.wait_for(lambda: len(got(page)) >= 100, "a hundred calls")
        assert got(page) == [["tick", n] for n in range(1, 101)]

    def test_properties_are_set_in_order_and_callbacks_see_them(self, page, link):
        row = {"number": 1, "kind": "row"}
        link.do(
            [
                props(1, ["out", {"children": "early"}], ["out", {"children": "late"}]),
                props(2, [row, {"children": "by pattern"}]),
            ]
        )
        page.wait_for_text("#out", "late")
        page.wait_for_text("#echo", "heard late")
        assert "by pattern" in page.text("body")

    def test_a_message_is_drawn_once(self, page, link):
        collect(page, "done")
        page.wait_for(lambda: page.run_js("return window.draws"), "the first drawing")
        before = page.run_js("return window.draws")
        updates = [props(n, ["counter", {"one": n}], ["counter", {"two": n}]) for n in range(1, 21)]
        link.do([*updates, event(21, "done")])
        page.wait_for(lambda: got(page), "the end of the message")
        assert page.run_js("return window.draws") == before + 1
        assert "20,20" in page.text("body")

    def test_a_patch_builds_on_the_value_before(self, page, link):
        with urlopen(f"{link.process.url}/patch") as answer:
            patch = json.load(answer)
        link.do([props(1, ["list", {"children": patch}]), props(2, ["list", {"children": patch}])])
        page.wait_for_text("#list", "moremore")

    def test_components_that_are_not_on_the_page_are_left_out_quietly(self, page, link):
        link.do(
            [
                props(
                    1,
                    ["nowhere", {"children": "lost"}],
                    [{"kind": "row", "number": 2}, {"children": "lost"}],
                    [{"other": "keys"}, {"children": "lost"}],
                    ["toString", {"children": "lost"}],
                    ["out", {"children": "found"}],
                )
            ]
        )
        page.wait_for_text("#out", "found")
        assert statistics(page)["absent"] == 4
        assert "lost" not in page.text("body")

    def test_an_update_that_fails_stops_no_other(self, page, link):
        page.expect_console_errors()
        bad = {"__dash_patch_update": "__dash_patch_update"}
        bad["operations"] = [{"operation": "Append", "location": ["a", "b"], "params": {}}]
        link.do([props(1, ["out", {"children": bad}], ["list", {"children": "after"}])])
        page.wait_for_text("#list", "after")
        link.do([{"t": "props", "c": "all", "n": 2}, props(3, ["list", {"children": "again"}])])
        page.wait_for_text("#list", "again")

    def test_each_number_of_a_channel_is_applied_once(self, page, link):
        collect(page, "tick")
        link.do(
            [
                *(event(n, "tick", f"all {n}") for n in (1, 2, 2, 1, 5)),
                *(event(n, "tick", f"group {n}", c="group:desk") for n in (1, 1, 2)),
                {"t": "of another version", "c": "all", "n": 6},
                {"t": "snapshot", "c": "all", "n": 3, "u": [["out", {"children": "restored"}]]},
                *(event(n, "tick", f"all {n}") for n in (3, 4)),
            ]
        )
        page.wait_for_text("#out", "restored")
        wanted = ["all 1", "all 2", "all 5", "group 1", "group 2", "all 4"]
        assert got(page) == [["tick", data] for data in wanted]
        assert statistics(page)["repeated"] == 4

    def test_frames_wait_for_the_layout(self, flash_browser, server, link):
        link.do(layout=False, frames=[props(1, ["out", {"children": "early"}])])
        flash_browser.visit(server)
        wait_for_status(flash_browser, "open")
        link.do(layout=True)
        flash_browser.wait_for_text("#out", "early")
        flash_browser.wait_for_text("#echo", "heard early")

    def test_more_than_may_wait_for_the_layout_is_asked_for_again(
        self, flash_browser, server, link
    ):
        link.do(layout=False, frames=[event(n, "tick", n) for n in range(1, 1501)])
        flash_browser.visit(server)
        collect(flash_browser, "tick")
        flash_browser.wait_for(lambda: statistics(flash_browser)["connections"], "a connection")
        flash_browser.wait_for(lambda: link.seen[-1]["closed"] is not None, "the page to let go")
        assert got(flash_browser) == []
        welcome = {**USUAL["welcome"], "recovered": True, "at": {"all": ["e", 1001]}}
        link.do(welcome=welcome, layout=True)
        flash_browser.wait_for(lambda: len(got(flash_browser)) == 1500, "all events")
        assert got(flash_browser) == [["tick", n] for n in range(1, 1501)]
        assert link.heard("hello")[0]["at"] == {"all": ["e", 1001]}


class TestEvents:
    def test_events_wait_for_their_handlers(self, page, link):
        link.do([event(n, ("a", "b")[n % 2], n) for n in range(1, 7)])
        page.wait_for(lambda: statistics(page)["waitingEvents"] == 6, "six events waiting")
        assert page.run_js("""
            const got = [];
            flash.on('b', data => got.push(data));
            flash.on('b', data => got.push(-data));
            return Promise.resolve().then(() => got);
        """) == [1, -1, 3, -3, 5, -5]
        assert statistics(page)["waitingEvents"] == 3

    def test_of_more_than_may_wait_the_oldest_are_dropped_and_counted(self, page, link):
        link.do([event(n, "tick", n) for n in range(1, 1101)])
        page.wait_for(lambda: statistics(page)["applied"] == 1100, "all events")
        assert statistics(page)["droppedEvents"] == 100
        collect(page, "tick")
        assert got(page) == [["tick", n] for n in range(101, 1101)]

    def test_a_handler_that_throws_stops_no_other(self, page, link):
        page.expect_console_errors("of this handler")
        page.run_js("""
            flash.on('tick', () => { throw new Error('of this handler') });
            window.end = flash.on('tick', () => got.push('first'));
        """)
        collect(page, "tick")
        link.do([event(1, "tick", 1)])
        page.wait_for(lambda: got(page) == ["first", ["tick", 1]], "the other handlers")
        page.run_js("window.end(); window.end()")
        link.do([event(2, "tick", 2)])
        page.wait_for(lambda: got(page) == ["first", ["tick", 1], ["tick", 2]], "the last handler")
        assert any("of this handler" in entry.message for entry in page.console("SEVERE"))

    def test_a_handler_that_ends_itself_leaves_the_rest_to_the_next(self, page, link):
        link.do([event(n, "tick", n) for n in (1, 2, 3)])
        page.wait_for(lambda: statistics(page)["waitingEvents"] == 3, "three events waiting")
        page.run_js("""
            window.once = [];
            const end = flash.on('tick', data => { once.push(data); end(); });
        """)
        page.wait_for(lambda: page.run_js("return once") == [1], "the first event")
        collect(page, "tick")
        assert got(page) == [["tick", 2], ["tick", 3]]


class TestSending:
    def test_what_is_sent_at_once_is_one_message(self, page, link):
        page.run_js("for (let i = 0; i < 3; i++) flash.send('typed', {key: i, sign: 'é\u2028'})")
        page.wait_for(lambda: link.heard("event"), "the events")
        sent = link.heard("event")
        first = sent[0]["k"]
        assert sent == [
            {"t": "event", "k": first + n, "name": "typed", "data": {"key": n, "sign": "é\u2028"}}
            for n in range(3)
        ]

    def test_events_are_sent_again_until_a_server_has_handled_them(self, page, link):
        page.run_js("for (let i = 0; i < 5; i++) flash.send('n', i)")
        page.wait_for(lambda: len(link.heard("event")) == 5, "the events")
        link.do([{"t": "taken", "k": link.heard("event")[2]["k"]}])
        page.wait_for(lambda: statistics(page)["unhandledEvents"] == 2, "what was taken")
        close_and_keep_down(page, link)
        page.run_js("flash.send('n', 5)")
        link.do(answer=True)
        link.do(1012)
        wait_for_connection(page, 2)
        page.wait_for(lambda: len(link.heard("event")) == 3, "the events")
        assert [frame["data"] for frame in link.heard("event")] == [3, 4, 5]
        link.do([{"t": "taken", "k": link.heard("event")[-1]["k"]}])
        page.wait_for(lambda: statistics(page)["unhandledEvents"] == 0, "the rest")
        link.do(1012)
        wait_for_connection(page, 3)
        page.run_js("flash.send('n', 6)")
        page.wait_for(lambda: link.heard("event"), "the last event")
        assert [frame["data"] for frame in link.heard("event")] == [6]
        assert statistics(page)["droppedFrames"] == 0

    def test_no_more_events_are_kept_than_may_wait(self, page, link):
        page.run_js("for (let i = 0; i < 9900; i++) flash.send('n', i)")
        page.wait_for(lambda: len(link.heard("event")) == 9900, "the events")
        page.run_js("for (let i = 9900; i < 10200; i++) flash.send('n', i)")
        page.wait_for(lambda: len(link.heard("event")) == 10200, "the rest")
        assert statistics(page)["unhandledEvents"] == 10000
        assert statistics(page)["droppedFrames"] == 200

    def test_what_is_sent_while_the_link_is_down_arrives_later_in_order(self, page, link):
        close_and_keep_down(page, link)
        page.run_js("for (let i = 0; i < 1100; i++) flash.send('n', i)")
        link.do(answer=True)
        link.do(1012)
        wait_for_connection(page, 2)
        page.wait_for(lambda: len(link.heard("event")) == 1000, "the events")
        assert [frame["data"] for frame in link.heard("event")] == list(range(100, 1100))
        assert statistics(page)["droppedFrames"] == 100

    def test_messages_are_no_larger_than_the_server_takes(self, page, link):
        page.run_js("for (let i = 0; i < 50; i++) flash.send('n', 'é'.repeat(10000))")
        page.wait_for(lambda: len(link.heard("event")) == 50, "the events")
        assert max(link.seen[-1]["sizes"]) <= 65536
        assert statistics(page)["status"] == "open"

    def test_a_frame_too_large_for_the_server_is_told_to_its_sender(self, page, link):
        assert "RangeError" in page.run_js("""
            try { flash.send('n', 'é'.repeat(40000)) } catch (error) { return String(error) }
        """)
        assert statistics(page)["waitingFrames"] == 0


class TestCalls:
    def test_a_trigger_starts_the_event_callback_with_its_arguments(self, page, link):
        page.click("#go")
        page.wait_for(lambda: link.heard("call"), "the call")
        row = {"id": {"kind": "row", "number": 1}, "property": "children", "value": "nothing"}
        assert [frame["body"] for frame in link.heard("call")] == [
            {
                "callback": "report-5",
                "inputs": [{"id": "go", "property": "n_clicks", "value": 1}, [row]],
                "state": [{"id": "name", "property": "value", "value": "Ada"}],
                "changedPropIds": ["go.n_clicks"],
            }
        ]

    START = """
        window.ends = [];
        return ['a', 'b'].map(name => flash.link.call({callback: name}, end => ends.push(end)));
    """

    def test_the_end_of_a_call_is_told_to_whoever_started_it(self, page, link):
        first, second = page.run_js(self.START)
        assert second > first
        page.wait_for(lambda: len(link.heard("call")) == 2, "the calls")
        frames = [
            {"id": second, "state": "running"},
            {"id": second, "state": "done"},
            {"id": first, "state": "failed", "reason": "no"},
        ]
        link.do(
            [{"t": "call", "c": "page:1", "n": n, **frame} for n, frame in enumerate(frames, 1)]
        )
        page.wait_for(lambda: len(page.run_js("return ends")) == 2, "both ends")
        assert page.run_js("return ends") == [{**frames[1], "reason": None}, frames[2]]
        assert statistics(page)["runningCalls"] == 0

    def test_a_call_can_be_stopped_before_and_after_it_was_sent(self, page, link):
        _, second = page.run_js(self.START)
        page.wait_for(lambda: len(link.heard("call")) == 2, "the calls")
        page.run_js("flash.link.stop(arguments[0]); flash.link.stop(2000)", second)
        page.wait_for(lambda: link.heard("stop") == [{"t": "stop", "id": second}], "the stop")
        page.run_js("flash.link.stop(flash.link.call({callback: 'y'}, end => ends.push(end)))")
        assert [each["state"] for each in page.run_js("return ends")] == ["cancelled"]
        assert len(link.heard("call")) == 2

    @pytest.mark.parametrize("recovered", [True, False])
    def test_calls_end_with_a_server_that_has_lost_them(self, page, link, recovered):
        first, _ = page.run_js(self.START)
        page.wait_for(lambda: len(link.heard("call")) == 2, "the calls")
        reset = [["out", {"children": "reset"}]]
        running = {"t": "call", "c": "page:1", "n": 1, "id": first, "state": "running"}
        running["reset"] = reset
        link.do([running, props(1, ["out", {"children": "busy"}])])
        page.wait_for_text("#out", "busy")
        link.do(1012, welcome={**USUAL["welcome"], "recovered": recovered})
        wait_for_connection(page, 2)
        if recovered:
            link.do([props(2, ["out", {"children": "on it goes"}])])
            page.wait_for_text("#out", "on it goes")
            assert page.run_js("return ends") == []
        else:
            page.wait_for_text("#out", "reset")
            assert [each["state"] for each in page.run_js("return ends")] == ["failed"] * 2

    def test_a_call_that_no_server_has_begun_is_sent_again(self, page, link):
        first, second = page.run_js(self.START)
        page.wait_for(lambda: len(link.heard("call")) == 2, "the calls")
        link.do([{"t": "call", "c": "page:1", "n": 1, "id": first, "state": "running"}])
        page.wait_for(lambda: statistics(page)["applied"] == 1, "the beginning of one")
        link.do(1012, welcome={**USUAL["welcome"], "recovered": True})
        wait_for_connection(page, 2)
        page.wait_for(lambda: link.heard("call"), "the other")
        assert [frame["id"] for frame in link.heard("call")] == [second]
        assert page.run_js("return ends") == []

    def test_calls_fail_on_a_page_that_is_shut_out(self, page, link):
        page.run_js(self.START)
        page.wait_for(lambda: len(link.heard("call")) == 2, "the calls")
        link.do(CloseCode.KICKED.number)
        wait_for_status(page, "offline")
        page.run_js("flash.link.call({callback: 'z'}, end => ends.push(end))")
        assert [each["state"] for each in page.run_js("return ends")] == ["failed"] * 3


CODES = [
    *((code.number, code.reconnects, "websocket") for code in CloseCode),
    *((code, True, "websocket") for code in (1000, 1011)),
    # From there on both transports are the same.
    *((code.number, code.reconnects, "sse") for code in (CloseCode.KICKED, CloseCode.DRAINING)),
]


class TestReconnecting:
    @pytest.mark.parametrize(("code", "reconnects", "transport"), CODES)
    def test_each_close_code_is_answered_as_documented(
        self, flash_browser, server, link, code, reconnects, transport
    ):
        flash_browser.expect_lost_connections()
        link.do(websocket=transport == "websocket")
        flash_browser.visit(server)
        wait_for_connection(flash_browser, 1)
        link.do(code)
        if reconnects:
            wait_for_connection(flash_browser, 2)
            assert statistics(flash_browser)["status"] == "open"
        else:
            wait_for_status(flash_browser, "offline")
            flash_browser.run_js("dispatchEvent(new Event('online'))")
            assert statistics(flash_browser)["connections"] == 1
        assert statistics(flash_browser)["transport"] == transport

    def test_a_page_says_hello_with_the_identity_of_its_html(self, flash_browser, server, link):
        # Without a welcome, whose identity the page would take over.
        link.do(answer=False)
        before = len(link.seen)
        flash_browser.visit(server)
        flash_browser.wait_for(lambda: len(link.seen) > before and link.heard("hello"), "its hello")
        assert link.heard("hello")[0]["page"] == flash_browser.run_js(
            "return JSON.parse(document.getElementById('_dash-config').textContent).end_id"
        )

    def test_a_page_comes_back_as_itself_and_says_how_far_it_was(self, page, link):
        first = link.heard("hello")[0]
        assert (first["v"], first["at"], first["path"]) == (1, {}, "/")
        number = len(link.seen) - 1
        link.do([event(3, "tick"), event(8, "tick", c="group:unknown"), event(9, "tick")])
        page.wait_for(lambda: statistics(page)["applied"] == 3, "the events")
        welcome = {**USUAL["welcome"], "recovered": True, "at": {"all": ["e", 9]}}
        link.do(1012, welcome=welcome, frames=[event(9, "tick"), event(10, "tick")])
        wait_for_connection(page, 2)
        hello = link.heard("hello")[0]
        assert (hello["page"], hello["at"]) == (f"token {number}", {"all": ["e", 9]})
        page.wait_for(lambda: statistics(page)["applied"] == 4, "what was missed")
        assert statistics(page)["repeated"] == 1
        page.wait_for_text("#status", "open True int")

    def test_a_page_says_how_far_it_is_with_a_group_joined_since(self, page, link):
        link.do([{"t": "at", "at": {"group:desk": ["g", 4]}}, event(5, "tick", c="group:desk")])
        page.wait_for(lambda: statistics(page)["applied"] == 1, "the event")
        link.do(1012)
        wait_for_connection(page, 2)
        assert link.heard("hello")[0]["at"] == {"all": ["e", 0], "group:desk": ["g", 5]}

    def test_b9_each_wait_is_drawn_from_twice_as_long_a_time_up_to_twenty_seconds(self, page, link):
        page.expect_lost_connections()
        page.expect_console_errors(f"{DOWN}|503")
        page.run_js("""
            window.waits = [];
            const original = setTimeout;
            Math.random = () => 0.3;
            window.setTimeout = (fn, wait) => {
                if (fn.name === 'connect') {
                    waits.push(Math.round(wait));
                    wait = 0;
                }
                return original(fn, wait);
            };
        """)
        link.do(1012, websocket=False, http=503)
        page.wait_for(lambda: len(page.run_js("return waits")) >= 9, "nine tries")
        assert page.run_js("return waits.slice(0, 9)") == [
            *(150, 300, 600, 1200, 2400, 4800),
            *(6000, 6000, 6000),
        ]
        link.do(websocket=True)
        wait_for_connection(page, 2)

    def test_positions_of_another_epoch_are_replaced(self, page, link):
        link.do([event(7, "tick", "old")])
        page.wait_for(lambda: statistics(page)["applied"] == 1, "the event")
        welcome = {**USUAL["welcome"], "recovered": False, "at": {"all": ["f", 2]}}
        snapshot = {"t": "snapshot", "c": "all", "n": 2, "u": [["out", {"children": "whole"}]]}
        link.do(1012, welcome=welcome, frames=[snapshot, event(3, "tick", "new")])
        page.wait_for_text("#out", "whole")
        collect(page, "tick")
        assert got(page) == [["tick", "old"], ["tick", "new"]]
        page.wait_for_text("#status", "open False int")

    def test_b9_a_killed_server_that_comes_back_is_found_again(self, flash_browser, folder):
        flash_browser.expect_lost_connections()
        flash_browser.expect_console_errors(DOWN)
        process = flash_browser.serve(folder / "app.py", "uvicorn", env=ENV)
        wait_for_connection(flash_browser, 1)
        flash_browser.wait_for_text("#status", "open None int")
        process.kill()
        wait_for_status(flash_browser, "reconnecting")
        process.start()
        wait_for_connection(flash_browser, 2)
        flash_browser.wait_for_text("#status", "open None int")
        assert statistics(flash_browser)["transport"] == "websocket"

    def test_a_script_that_is_loaded_after_the_welcome_is_told_it(self, page, link):
        wait_for_connection(page, 1)
        page.run_js("flash.link.onWelcome((frame) => (window.told = frame))")
        assert page.run_js("return window.told.t") == "welcome"

    def test_b9_a_page_that_nobody_looks_at_waits(self, page, link):
        show(page, hidden=True)
        count = len(link.seen)
        link.do(1012)
        wait_for_status(page, "reconnecting")
        let_timers_run(page)
        assert len(link.seen) == count
        show(page, hidden=False)
        wait_for_connection(page, 2)

    def test_b9_a_page_waits_while_the_browser_is_offline(self, page, link):
        page.expect_lost_connections()
        page.expect_console_errors(DOWN)
        count = len(link.seen)
        network(page, offline=True)
        link.do(1012)
        wait_for_status(page, "reconnecting")
        let_timers_run(page)
        assert len(link.seen) == count
        network(page, offline=False)
        wait_for_connection(page, 2)

    def test_a_server_that_answers_proves_the_browser_wrong_about_being_offline(self, page, link):
        page.run_js("Object.defineProperty(navigator, 'onLine', {get: () => false})")
        link.do([event(1, "tick")])
        page.wait_for(lambda: statistics(page)["applied"], "the event")
        link.do(1012)
        wait_for_connection(page, 2)

    def test_b9_a_late_close_of_an_old_socket_is_no_concern_of_the_new(self, page, link):
        page.run_js("""
            window.sockets = [];
            const Original = WebSocket;
            window.WebSocket = function (url) {
                const socket = new Original(url);
                sockets.push(socket);
                return socket;
            };
        """)
        link.do(1012)
        wait_for_connection(page, 2)
        link.do([{"t": "bye", "after": 0}])
        wait_for_connection(page, 3)
        page.run_js("""
            sockets[0].onclose(new CloseEvent('close', {code: 4409}));
            sockets[0].onmessage({data: '[{"t": "event", "c": "all", "n": 99, "name": "ghost"}]'});
        """)
        assert statistics(page)["status"] == "open"
        link.do([event(1, "real")])
        page.wait_for(lambda: statistics(page)["waitingEvents"] == 1, "the real event")
        assert statistics(page)["connections"] == 3

    def test_a_server_about_to_stop_is_left_at_once(self, page, link):
        page.run_js("""
            window.states = [];
            flash.link.onStatus(state => states.push(state.status));
        """)
        number = len(link.seen) - 1
        link.do([{"t": "bye", "after": 300}, event(1, "never taken")])
        wait_for_connection(page, 2)
        assert page.run_js("return states") == ["open", "reconnecting", "open"]
        assert link.seen[number]["closed"] is not None
        assert statistics(page)["applied"] == 0

    def test_a_page_kept_for_the_back_button_links_again(self, page, link):
        collect(page, "tick")
        number = len(link.seen) - 1
        page.open("/elsewhere")
        page.wait_for(lambda: link.seen[number]["closed"] is not None, "the link to close")
        page.back()
        wait_for_status(page, "open")
        assert got(page) == [], "the page was loaded again"
        assert statistics(page)["connections"] == 2
        link.do([event(1, "tick", 1)])
        page.wait_for(lambda: got(page) == [["tick", 1]], "an event")

    def test_what_is_no_list_of_frames_ends_the_connection_only(self, page, link):
        page.expect_console_errors()
        link.do("{}")
        wait_for_connection(page, 2)
        link.do("not JSON")
        wait_for_connection(page, 3)


class TestHeartbeats:
    def test_they_go_both_ways_and_measure_the_latency(self, flash_browser, server, link):
        # Long enough that a busy machine answers in time.
        link.do(welcome={**USUAL["welcome"], "beat": 3000})
        flash_browser.visit(server)
        flash_browser.timeout = 60
        flash_browser.wait_for(lambda: len(link.heard("beat")) > 2, "heartbeats")
        assert {type(beat["rtt"]) for beat in link.heard("beat")} == {int}
        assert statistics(flash_browser)["connections"] == 1
        # In milliseconds; later than the next heartbeat the page would have left.
        assert 0 <= statistics(flash_browser)["latency"] < 3000

    @pytest.mark.parametrize("websocket", [True, False])
    def test_a_server_that_does_not_answer_them_is_left(
        self, flash_browser, server, link, websocket
    ):
        flash_browser.expect_lost_connections()
        link.do(welcome={**USUAL["welcome"], "beat": 50}, beats=False, websocket=websocket)
        flash_browser.visit(server)
        flash_browser.wait_for(lambda: statistics(flash_browser)["connections"] > 1, "a reconnect")
        assert link.heard("beat", to=-2)

    def test_a_server_that_asks_is_answered(self, page, link):
        link.do([{"t": "beat"}])
        page.wait_for(lambda: len(link.heard("beat")) == 1, "the answer")
        link.do([event(1, "tick")])
        page.wait_for(lambda: statistics(page)["applied"], "the event")
        assert len(link.heard("beat")) == 1

    @pytest.mark.parametrize("answers", [True, False])
    def test_after_a_sleep_the_connection_is_tried(self, flash_browser, server, link, answers):
        # Not so short that a busy machine looks like one that sleeps.
        link.do(welcome={**USUAL["welcome"], "beat": 3000})
        flash_browser.visit(server)
        wait_for_connection(flash_browser, 1)
        link.do(beats=answers)
        flash_browser.run_js("const now = Date.now; Date.now = () => now() + 3600e3")
        if answers:
            flash_browser.wait_for(lambda: link.heard("beat"), "the question")
            flash_browser.wait_for(lambda: len(link.heard("beat")) > 1, "a heartbeat as usual")
            assert statistics(flash_browser)["connections"] == 1
        else:
            wait_for_connection(flash_browser, 2)
            assert len(link.heard("beat", to=-2)) < 3


class TestStream:
    @pytest.fixture
    def page(self, flash_browser, server, link):
        flash_browser.expect_lost_connections()
        link.do(websocket=False)
        flash_browser.visit(server)
        wait_for_connection(flash_browser, 1)
        wait_for_layout(flash_browser)
        return flash_browser

    def test_b9_where_sockets_are_blocked_a_stream_carries_the_link(self, page, link):
        assert statistics(page)["transport"] == "sse"
        collect(page, "tick")
        link.do(*([event(n, "tick", f"é {n}")] for n in range(1, 101)))
        page.wait_for(lambda: len(got(page)) == 100, "the events")
        assert got(page)[-1] == ["tick", "é 100"]
        link.do([props(101, ["out", {"children": "set"}])])
        page.wait_for_text("#echo", "heard set")

    def test_messages_of_the_page_keep_their_order(self, page, link):
        page.run_js("""
            let i = 0;
            const timer = setInterval(() => {
                flash.send('n', i++);
                if (i === 50) clearInterval(timer);
            });
        """)
        page.wait_for(lambda: len(link.heard("event")) == 50, "the events")
        assert [frame["data"] for frame in link.heard("event")] == list(range(50))

    def test_a_page_stays_with_it(self, page, link):
        link.do(1012, websocket=True)
        wait_for_connection(page, 2)
        assert statistics(page)["transport"] == "sse"

    @pytest.mark.parametrize("status", [401, 403])
    def test_the_reason_of_a_refusal_is_learned_by_it(self, flash_browser, server, link, status):
        flash_browser.expect_lost_connections()
        flash_browser.expect_console_errors(str(status))
        link.do(websocket=False, http=status)
        flash_browser.visit(server)
        wait_for_status(flash_browser, "offline")
        flash_browser.wait_for_text("#status", "offline None NoneType")

    def test_sockets_are_tried_again_when_it_does_not_work_either(
        self, flash_browser, server, link
    ):
        flash_browser.expect_lost_connections()
        flash_browser.expect_console_errors("503")
        link.do(websocket=False, http=503)
        flash_browser.visit(server)
        flash_browser.wait_for(
            lambda: any("503" in entry.message for entry in flash_browser.console("SEVERE")),
            "a stream to be refused",
        )
        link.do(websocket=True)
        wait_for_connection(flash_browser, 1)
        assert statistics(flash_browser)["transport"] == "websocket"


@pytest.fixture
def encrypted(folder, tmp_path):
    """The address of a server with a certificate that nobody vouches for."""
    certificate = tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-keyout", certificate, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    with reserved(Address("tcp", "127.0.0.1")) as free:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flash.cli", "run", "app:app", "--bind", str(free)),
                *("--certfile", certificate, "--keyfile", certificate),
            ],
            cwd=folder,
            env={**os.environ, **ENV},
        )
        try:
            yield free
        finally:
            process.terminate()
            process.wait()


def is_listening(address):
    try:
        socket.create_connection((address.host, address.port)).close()
    except OSError:
        return False
    return True


class TestPage:
    def test_a_prefix_leads_the_link_s_address(self, flash_browser, folder):
        env = {**ENV, "PREFIX": "/some/app/"}
        process = flash_browser.serve(folder / "app.py", "uvicorn", env=env, path="/some/app/")
        wait_for_connection(flash_browser, 1)
        assert Link(process).heard("hello")[0]["path"] == "/some/app/"

    @pytest.mark.parametrize("websocket", [True, False])
    def test_a_strict_policy_is_kept(self, flash_browser, folder, websocket):
        flash_browser.expect_lost_connections()
        env = {"OPTIONS": json.dumps({**USUAL, "websocket": websocket}), "STRICT": "1"}
        process = flash_browser.serve(folder / "app.py", "uvicorn", env=env)
        wait_for_connection(flash_browser, 1)
        wait_for_layout(flash_browser)
        link = Link(process)
        link.do([props(1, ["out", {"children": "set"}])])
        flash_browser.wait_for_text("#echo", "heard set")
        flash_browser.click("#go")
        flash_browser.wait_for(lambda: link.heard("call"), "the call")

    def test_the_link_is_encrypted_where_the_page_is(self, flash_browser, encrypted):
        flash_browser.wait_for(lambda: is_listening(encrypted), "the server")
        flash_browser.driver.execute_cdp_cmd(
            "Security.setIgnoreCertificateErrors", {"ignore": True}
        )
        flash_browser.open(encrypted.url(tls=True))
        wait_for_connection(flash_browser, 1)
        assert statistics(flash_browser)["transport"] == "websocket"

    def test_developer_tools_find_nothing_wrong(self, flash_browser, folder):
        process = flash_browser.serve(folder / "app.py", "uvicorn", env={**ENV, "DEBUG": "1"})
        flash_browser.find("#dash-devtools-menu, .dash-debug-menu, .dash-debug-menu__outer")
        Link(process).do([props(1, ["out", {"children": "set"}])])
        flash_browser.wait_for_text("#echo", "heard set")
        assert not flash_browser.find_all(".test-devtools-error-count")

    def test_callbacks_see_the_status(self, page, link):
        page.wait_for_text("#status", "open None int")
        close_and_keep_down(page, link)
        page.wait_for_text("#status", "reconnecting None NoneType")
        link.do(answer=True)
        link.do(1012)
        page.wait_for_text("#status", "open None int")
        link.do(CloseCode.UNAUTHORIZED.number)
        page.wait_for_text("#status", "offline None NoneType")

    def test_an_app_without_a_link_is_left_alone(self, flash_browser, tmp_path):
        (tmp_path / "plain.py").write_text(
            "import flash_ws\nfrom flash import Flash, html\n"
            "app = Flash(__name__)\napp.layout = html.P('plain', id='out')\n"
        )
        process = flash_browser.serve(tmp_path / "plain.py", "uvicorn")
        flash_browser.wait_for_text("#out", "plain")
        assert statistics(flash_browser)["status"] == "connecting"
        assert "_flash/link" not in process.output

    def test_the_script_is_one_that_every_browser_of_five_years_reads(self):
        """And that a policy without 'unsafe-eval' lets run."""
        text = SCRIPT.read_text(encoding="utf-8")
        code = re.sub(r"/\*[\s\S]*?\*/|//.*", "", text)
        assert not re.search(r"\?\.|\?\?|\beval\b|new Function|import\(", code)


def show(page, *, hidden):
    """Let the page believe that its tab is in front or not; a driver's tabs always are."""
    page.run_js(
        "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))",
        hidden,
    )


def let_timers_run(page):
    """Wait until every timer of the page that was due within a first retry's time has run."""
    page.run_js("return new Promise(done => setTimeout(done, 550))")


def network(page, *, offline):
    conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions", {**conditions, "uploadThroughput": -1}
    )
