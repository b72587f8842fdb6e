"""Shared callbacks, as pages of several workers see them."""

import asyncio
import json
from dataclasses import replace

import pytest
from dash.exceptions import PreventUpdate
from pubsub_worlds import World, pages, until

from flash import ALL, ConfigurationError, Flash, Input, Output, Patch, State, ctx, html, no_update
from flash_pubsub import MemoryBroker, PubSub
from flash_pubsub.channels.schema import Schema
from flash_pubsub.shared.declaration import Accepts, Change
from flash_ws import CloseCode
from flash_ws.clients.recipients import EVERYBODY


def change(page, pubsub, number, value, *states, callback=0, made=None, sent=None):
    """What a page sends when its slider moves."""
    name = list(pubsub.app.page_extras["flash_pubsub"]["shared"])[callback]
    frame = {"t": "share", "cb": name, "k": number, "v": [value], "s": list(states)}
    if made is not None:
        frame |= {"at": [made], "now": sent or made}
    page.send({**frame, "changed": [0]})


def answered(frame, page, number):
    """Tell whether a frame answers this change of a page."""
    if frame["t"] == "shared":
        return frame["k"] >= number
    return frame.get("o", {}).get(page.welcome["id"], 0) >= number


async def shared(page):
    """The next frame of the shared state."""
    while True:
        frame = await page.frame()
        if frame.get("c") == "shared" and (frame["t"] == "props" or frame["u"]):
            return frame


async def shown_until_answered(page, number):
    """Return what a page has been shown of each component when its change is answered."""
    shown = {}
    while True:
        frame = await page.frame()
        if frame.get("c") == "shared":
            shown |= dict(frame["u"])
        if answered(frame, page, number):
            return shown


def dimmer(runs=None, **options):
    """An app whose slider dims a lamp."""

    def define(pubsub):
        @pubsub.shared_callback(
            Output("lamp", "title"), Input("slider", "value"), prevent_initial_call=True, **options
        )
        async def lamp(value):
            if runs is not None:
                runs.append(value)
            return f"at {value}"

    return define


async def test_a_change_runs_once_and_goes_to_every_page_of_every_worker():
    runs = []
    async with World(dimmer(runs)) as world, pages(world, 0, 0, 1) as opened:
        change(opened[0], world.pubsubs[0], 1, 40)
        frames = [await shared(page) for page in opened]
        assert frames[0] == frames[1] == frames[2]
        assert frames[0]["u"] == [["slider", {"value": 40}], ["lamp", {"title": "at 40"}]]
        assert frames[0]["o"] == {opened[0].welcome["id"]: 1}
        assert runs == [40]


async def test_b3_a_late_joiner_begins_with_the_state_and_then_gets_changes():
    async with World(dimmer()) as world, pages(world, 0) as (first,):
        change(first, world.pubsubs[0], 1, 40)
        await shared(first)
        async with pages(world, 1) as (late,):
            frame = await shared(late)
            assert frame["t"] == "snapshot"
            assert frame["u"] == [["slider", {"value": 40}], ["lamp", {"title": "at 40"}]]
            change(first, world.pubsubs[0], 2, 41)
            assert (await shared(late))["n"] == frame["n"] + 1


async def test_the_layout_has_shared_values_before_the_page_draws_it():
    async with World(dimmer()) as world, pages(world, 0) as (page,):
        world.apps[1].layout = html.Div([html.P(id="lamp"), html.P(id="other")])
        change(page, world.pubsubs[0], 1, 40)
        await shared(page)
        await until(lambda: world.pubsubs[1].shared["lamp", "title"].get())
        layout = await world.apps[1].render_layout()
        assert layout.children[0].title == "at 40"
        # The app's own layout is as it was, for the next page may see other values.
        assert not hasattr(world.apps[1].raw_layout.children[0], "title")
        assert layout.children[1] is world.apps[1].raw_layout.children[1]


async def test_fast_changes_leave_out_all_but_the_newest_and_the_last_always_runs():
    runs = []
    go_on = asyncio.Event()

    def define(pubsub):
        @pubsub.shared_callback(Input("slider", "value"), prevent_initial_call=True)
        async def slow(value):
            runs.append(value)
            await go_on.wait()

    async with World(define) as world, pages(world, 0, 1) as (page, other):
        change(page, world.pubsubs[0], 1, 0)
        await until(lambda: runs)
        for number in range(2, 60):
            change(page, world.pubsubs[0], number, number)
            await asyncio.sleep(0)
        go_on.set()
        frame = await shared(other)
        while frame["u"] != [["slider", {"value": 59}]]:
            frame = await shared(other)
        assert frame["o"] == {page.welcome["id"]: 59}
        assert runs[-1] == 59
        assert len(runs) <= 3


async def test_b15_two_hands_on_one_slider_end_on_the_same_value_in_one_order():
    running, most = 0, 0

    def define(pubsub):
        @pubsub.shared_callback(
            Output("lamp", "title"), Input("slider", "value"), prevent_initial_call=True
        )
        async def lamp(value):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return value

    async with World(define) as world, pages(world, 0, 1) as opened:
        for number in range(1, 41):
            for worker, page in enumerate(opened):
                change(page, world.pubsubs[worker], number, [worker, number])
            await asyncio.sleep(0.002)
        shown = [await shown_until_answered(page, 40) for page in opened]
        await world.pubsubs[0].shared["end", "title"].set("reached")
        for page, values in zip(opened, shown, strict=True):
            while values.get("end") is None:
                values |= dict((await shared(page))["u"])
        assert shown[0] == shown[1]
        assert shown[0]["lamp"]["title"] == shown[0]["slider"]["value"]
        assert shown[0]["slider"]["value"][1] == 40
        assert most == 1


async def test_b15_what_is_pushed_runs_no_shared_callback():
    runs = []
    async with World(dimmer(runs)) as world, pages(world, 0, 1) as opened:
        await world.pubsubs[0].shared["slider", "value"].set(7)
        for page in opened:
            assert (await shared(page))["u"] == [["slider", {"value": 7}]]
        assert await world.pubsubs[1].shared["slider", "value"] == 7
        assert await world.pubsubs[1].shared["lamp", "title"].get("dark") == "dark"
        assert not runs


async def test_a_change_that_is_sent_again_is_answered_and_does_not_run_again():
    runs = []
    async with World(dimmer(runs)) as world:
        page = await world.page(0)
        change(page, world.pubsubs[0], 5, 1)
        await shared(page)
        await page.leave()
        back = await world.page(1, page.token, page.positions)
        change(back, world.pubsubs[1], 5, 1)
        while (frame := await back.frame())["t"] != "shared":
            pass
        assert frame["k"] == 5
        assert runs == [1]
        await back.leave()


async def test_two_callbacks_of_one_input_both_run():
    runs = []

    def define(pubsub):
        for name in ("one", "two"):

            def run(value, name=name):
                runs.append(name)
                return value

            run.__qualname__ = name
            pubsub.shared_callback(
                Output(name, "title"), Input("slider", "value"), prevent_initial_call=True
            )(run)

    async with World(define) as world, pages(world, 0) as (page,):
        # The page numbers its changes through all callbacks.
        change(page, world.pubsubs[0], 2, 1, callback=1)
        await until(lambda: runs == ["two"])
        change(page, world.pubsubs[0], 1, 1, callback=0)
        await until(lambda: runs == ["two", "one"])


async def test_the_first_run_is_one_for_the_deployment():
    runs = []

    def define(pubsub):
        @pubsub.shared_callback(Output("lamp", "title"), Input("slider", "value"))
        def lamp(value):
            runs.append(value)
            return f"at {value}"

    async with World(define) as world, pages(world, 0, 1, 1) as opened:
        (name,) = world.apps[0].page_extras["flash_pubsub"]["shared"]
        for page in opened:
            page.send({"t": "share", "cb": name, "k": 0, "v": [30], "s": [], "changed": []})
        for page in opened:
            frame = await shared(page)
            assert frame["u"] == [["slider", {"value": 30}], ["lamp", {"title": "at 30"}]]
        # A page that comes later offers it in vain.
        async with pages(world, 0) as (late,):
            late.send({"t": "share", "cb": name, "k": 0, "v": [99], "s": [], "changed": []})
            change(late, world.pubsubs[0], 1, 31)
            await until(lambda: len(runs) == 2)
        assert runs == [30, 31]


async def test_an_error_is_told_to_the_page_that_caused_it_only():
    def define(pubsub):
        @pubsub.shared_callback(
            Output("lamp", "title"), Input("slider", "value"), prevent_initial_call=True
        )
        async def lamp(value):
            return 100 / value

    async with World(define) as world, pages(world, 0, 0) as (page, other):
        change(page, world.pubsubs[0], 1, 0)
        while (frame := await page.frame())["t"] != "shared":
            pass
        assert frame["k"] == 1
        assert frame["failed"]
        assert "ZeroDivision" not in json.dumps(frame)
        # The value did not become everybody's, and the next change goes through.
        change(page, world.pubsubs[0], 2, 50)
        frame = await other.frame()
        while frame.get("c") != "shared" or frame["t"] == "snapshot":
            assert frame["t"] != "shared"
            frame = await other.frame()
        assert frame["u"] == [["slider", {"value": 50}], ["lamp", {"title": 2.0}]]


async def test_states_several_outputs_no_update_and_prevent_update():
    def define(pubsub):
        @pubsub.shared_callback(
            [Output("a", "title"), Output("b", "title")],
            Input("slider", "value"),
            State("unit", "value"),
            prevent_initial_call=True,
        )
        async def both(value, unit):
            assert ctx.triggered_id == "slider"
            if value == 3:
                raise PreventUpdate
            return f"{value} {unit}", no_update if value == 2 else "b"

    async with World(define) as world, pages(world, 0) as (page,):
        told = []
        for number in (1, 2, 3):
            change(page, world.pubsubs[0], number, number, "lx")
            told.append((await shared(page))["u"])
        assert told == [
            [["slider", {"value": 1}], ["a", {"title": "1 lx"}], ["b", {"title": "b"}]],
            [["slider", {"value": 2}], ["a", {"title": "2 lx"}]],
            [["slider", {"value": 3}]],
        ]


async def test_a_patch_is_applied_to_what_is_stored():
    def define(pubsub):
        @pubsub.shared_callback(
            Output("list", "data"), Input("word", "value"), prevent_initial_call=True
        )
        async def add(word):
            patch = Patch()
            patch["words"].append(word)
            patch["count"] += 1
            return patch

    async with World(define) as world, pages(world, 0, 1) as opened:
        await world.pubsubs[0].shared["list", "data"].set({"words": ["a"], "count": 1})
        await shared(opened[1])
        for number, word in enumerate(("b", "c"), start=1):
            change(opened[0], world.pubsubs[0], number, word)
            frame = await shared(opened[1])
        assert frame["u"][-1] == ["list", {"data": {"words": ["a", "b", "c"], "count": 3}}]
        assert (await world.pubsubs[1].shared["list", "data"])["count"] == 3


async def test_a_patch_begins_with_what_the_layout_has():
    def define(pubsub):
        pubsub.app.layout = html.Div(html.Ul(id="list", title=["x"]))

        @pubsub.shared_callback(
            Output("list", "title"), Input("word", "value"), prevent_initial_call=True
        )
        async def add(word):
            patch = Patch()
            patch.append(word)
            return patch

    async with World(define) as world, pages(world, 0) as (page,):
        change(page, world.pubsubs[0], 1, "y")
        assert (await shared(page))["u"][-1] == ["list", {"title": ["x", "y"]}]


async def test_what_adds_to_a_value_is_sent_and_not_kept():
    def define(pubsub):
        @pubsub.shared_callback(
            Output("tape", "extendData"), Input("price", "value"), prevent_initial_call=True
        )
        async def extend(price):
            return [{"y": [[price]]}, [0], 500]

    async with World(define) as world, pages(world, 0) as (page,):
        change(page, world.pubsubs[0], 1, 5)
        assert (await shared(page))["u"][-1] == ["tape", {"extendData": [{"y": [[5]]}, [0], 500]}]
        async with pages(world, 1) as (late,):
            assert (await shared(late))["u"] == [["price", {"value": 5}]]


async def test_b15_another_worker_goes_on_when_one_dies_in_a_callback():
    begun = []

    def define(pubsub):
        worker = len(begun_by)
        begun_by.append(pubsub)

        @pubsub.shared_callback(
            Output("lamp", "title"), Input("slider", "value"), prevent_initial_call=True
        )
        async def lamp(value):
            begun.append(worker)
            if len(begun) == 1:
                await asyncio.Event().wait()
            return value

    begun_by = []
    async with World(define, lease_ttl=0.3) as world:
        page = await world.page(0)
        change(page, world.pubsubs[0], 1, 10)
        await until(lambda: begun == [0])
        # As if the process had been killed: it neither goes on nor gives the lease back.
        world.freeze(0)
        back = await world.page(1, page.token, page.positions)
        change(back, world.pubsubs[1], 1, 10)
        async with asyncio.timeout(5):
            assert (await shared(back))["u"][-1] == ["lamp", {"title": 10}]
        assert begun == [0, 1]
        await back.leave()
        await page.leave()


async def test_wrong_declarations_are_refused_with_the_remedy():
    app = Flash(__name__)
    app.layout = html.Div()
    pubsub = PubSub(app, broker=MemoryBroker())
    for dependencies, complaint in [
        ([Output("a", "x")], "has no Input"),
        ([Input("a", "x"), Output("b", "x")], "Outputs first"),
        ([Output("b", "x"), Input({"i": ALL}, "x")], "same on every page"),
    ]:
        with pytest.raises(ConfigurationError, match=complaint):
            pubsub.shared_callback(*dependencies)(lambda *_: None)
    pubsub.shared_callback(Output("a", "x"), Input("b", "x"))(lambda b: b)
    with pytest.raises(ConfigurationError, match="both set"):
        pubsub.shared_callback(Output("a", "x"), Input("c", "x"))(lambda c: c)
    with pytest.raises(ConfigurationError, match="a PubSub already"):
        PubSub(app, broker=MemoryBroker())


async def test_malformed_changes_close_the_page_only():
    async with World(dimmer()) as world, pages(world, 0) as (other,):
        (name,) = world.apps[0].page_extras["flash_pubsub"]["shared"]
        good = {"t": "share", "cb": name, "k": 1, "v": [1], "s": [], "changed": [0]}
        for wrong in ({"k": "1"}, {"v": []}, {"changed": [3]}, {"s": None}):
            page = await world.page(0)
            page.send({**good, **wrong})
            assert await page.closed() == 4400
        await world.pubsubs[0].live.push("x", {"title": 1}, to=EVERYBODY)
        while (await other.frame()).get("c") != "all":
            pass


async def test_a_page_older_than_the_deployment_waits_for_no_answer():
    async with World(dimmer(), workers=1) as world, pages(world, 0) as (page,):
        gone = {"t": "share", "cb": "gone", "k": 3, "v": [1], "s": [], "changed": [0]}
        page.send(gone)
        while (frame := await page.frame())["t"] != "shared":
            pass
        assert (frame["cb"], frame["k"]) == ("gone", 3)


async def test_the_content_of_a_page_of_pages_has_shared_values_too():
    async with World(dimmer(), workers=1) as world, pages(world, 0) as (page,):
        change(page, world.pubsubs[0], 1, 40)
        await shared(page)
        content = html.Div([html.P(id="lamp"), html.P(id={"a": 1})])
        assert world.apps[0].filter_layout(content).children[0].title == "at 40"


def lamp_and_meter(pubsub):
    """Two callbacks that depend on one slider."""

    @pubsub.shared_callback(
        Output("lamp", "title"), Input("slider", "value"), prevent_initial_call=True
    )
    async def lamp(value):
        return value

    @pubsub.shared_callback(
        Output("meter", "title"), Input("slider", "value"), prevent_initial_call=True
    )
    async def meter(value):
        return value


async def test_two_callbacks_of_one_input_end_with_the_change_that_was_made_last():
    async with World(lamp_and_meter) as world, pages(world, 0, 1) as (one, other):
        # One moved the slider to 33 before the other moved it to 34. The two callbacks hear of it
        # in different orders.
        change(one, world.pubsubs[0], 1, 33, callback=0, made=1000)
        await shown_until_answered(one, 1)
        change(other, world.pubsubs[1], 1, 34, callback=1, made=1000, sent=1000)
        await shown_until_answered(other, 1)
        change(one, world.pubsubs[0], 2, 33, callback=1, made=1000, sent=1100)
        await shown_until_answered(one, 2)
        change(other, world.pubsubs[1], 2, 34, callback=0, made=1000, sent=1100)
        await shown_until_answered(other, 2)
        async with pages(world, 1) as (late,):
            values = dict((await shared(late))["u"])
        assert values["lamp"]["title"] == 34
        assert values["slider"]["value"] == 34
        assert values["meter"]["title"] == 34


async def test_a_stalled_worker_does_not_bring_back_an_older_change():
    runs = []

    def define(pubsub):
        @pubsub.shared_callback(
            Output("lamp", "title"), Input("slider", "value"), prevent_initial_call=True
        )
        async def lamp(value):
            runs.append(value)
            return value

    async with World(define) as world, pages(world, 0, 1) as (stalled, other):
        # What a worker that was stopped for a minute reads when it goes on.
        change(stalled, world.pubsubs[0], 1, 40, made=900, sent=1000)
        await shown_until_answered(stalled, 1)
        change(other, world.pubsubs[1], 1, 42, made=9000, sent=9000)
        await shown_until_answered(other, 1)
        change(stalled, world.pubsubs[0], 2, 41, made=950, sent=1002)
        shown = await shown_until_answered(stalled, 2)
        assert shown["slider"]["value"] == 42
        assert await world.pubsubs[0].shared["lamp", "title"] == 42
        assert runs == [40, 42]


async def test_the_hand_that_moves_after_it_saw_a_value_wins_whatever_its_clock_says():
    async with World(dimmer()) as world, pages(world, 0, 1) as (one, other):
        change(one, world.pubsubs[0], 1, 10, made=5_000_000)
        await shown_until_answered(one, 1)
        change(other, world.pubsubs[1], 1, 20, made=3)
        await shown_until_answered(other, 1)
        change(one, world.pubsubs[0], 2, 30, made=5_000_200)
        shown = await shown_until_answered(one, 2)
        assert shown["slider"]["value"] == 30


@pytest.mark.parametrize(
    "times",
    [
        {"now": 5},
        {"now": 5, "at": []},
        {"now": 5, "at": [1, 2]},
        {"now": 5, "at": 7},
        {"now": 5, "at": [None]},
        {"now": 5, "at": [True]},
        {"now": 5, "at": [-1]},
        {"now": "5", "at": [1]},
        {"now": 5, "at": [2**60]},
    ],
)
async def test_times_that_are_none_close_the_link(times):
    async with World(dimmer()) as world:
        page = await world.page(0)
        (name,) = world.apps[0].page_extras["flash_pubsub"]["shared"]
        page.send({"t": "share", "cb": name, "k": 1, "v": [1], "s": [], "changed": [0], **times})
        assert await page.closed() == CloseCode.MALFORMED.number


# -- what a page may say to the others

FRAME = {"type": "Iframe", "namespace": "dash_html_components", "props": {"srcDoc": "<script>"}}
PATCH = {"__dash_patch_update": "__dash_patch_update", "operations": []}


def note(states=(), **options):
    """An app whose shared callback returns what a page says."""

    def define(pubsub):
        @pubsub.shared_callback(
            Output("board", "children"),
            Input("note", "value"),
            *states,
            prevent_initial_call=True,
            **options,
        )
        async def show(value, *states):
            return value

    return define


async def refusal(define, value, *states):
    """Return what a page is told of a value that is refused, after which nothing is shared."""
    async with World(define) as world, pages(world, 0, 0) as (page, other):
        change(page, world.pubsubs[0], 1, value, *states)
        while (frame := await page.frame())["t"] != "shared":
            pass
        change(page, world.pubsubs[0], 2, "plain", *([None] * len(states)))
        assert (await shared(other))["u"] == [
            ["note", {"value": "plain"}],
            ["board", {"children": "plain"}],
        ]
        return frame["failed"]


@pytest.mark.parametrize("value", [FRAME, [FRAME], {"a": [{"b": FRAME}]}, PATCH, [PATCH]])
async def test_13_d_a_component_or_patch_of_a_page_does_not_reach_another(value):
    assert "a value from a page holds" in await refusal(note(), value)


async def test_13_d_a_state_of_a_page_is_checked_as_its_inputs_are():
    define = note([State("extra", "data")])
    assert "holds a component" in await refusal(define, "text", [FRAME])


async def test_13_d_a_value_longer_than_allowed_is_refused():
    assert "16384 are allowed" in await refusal(note(), "x" * 60_000)
    assert "100 are allowed" in await refusal(note(max_value_bytes=100), "x" * 99)


def test_13_d_a_value_must_fit_the_schema():
    accepts = Accepts(schemas=(Schema(int), None))
    given = Change(1, ["7", "any"], [], frozenset([0]), {}, None)
    assert accepts.check(given).values == [7, "any"]
    assert accepts.check(replace(given, values=[None, 1])).values == [None, 1]
    with pytest.raises(ValueError, match="a value from a page does not fit int"):
        accepts.check(replace(given, values=["seven", 1]))


async def test_13_d_authorize_decides_which_page_may_change_it():
    allowed = []

    async def authorize(client):
        allowed.append(client.id)
        return len(allowed) > 1

    assert await refusal(note(authorize=authorize), "x") == "this page may not change it"
    assert len(set(allowed)) == 1


async def test_14_4_authorize_gets_the_visitor_and_may_name_a_user():
    seen = []

    async def authorize(visitor):
        seen.append((visitor.user, visitor.client.id == visitor.id, visitor.session))
        return visitor.user

    async with World(note(authorize=authorize), named=True) as world:
        page = await world.page(0, headers=[(b"x-user", b"ada")])
        change(page, world.pubsubs[0], 1, "x")
        assert (await shared(page))["u"][1] == ["board", {"children": "x"}]
        await page.leave()
    assert seen == [("ada", True, {})]


@pytest.mark.parametrize("answer", ["", None, False, 1, ["ada"]])
async def test_14_4_nothing_else_than_true_or_a_name_accepts_a_change(answer):
    answers = iter([answer, True])
    told = await refusal(note(authorize=lambda visitor: next(answers)), "x")
    assert told == "this page may not change it"


async def test_13_d_the_app_may_accept_components():
    async with World(note(accepts_components=True)) as world, pages(world, 0, 0) as (page, other):
        change(page, world.pubsubs[0], 1, FRAME)
        assert (await shared(other))["u"][1] == ["board", {"children": FRAME}]


def test_13_d_a_schema_for_each_input_or_none():
    pubsub = PubSub()
    with pytest.raises(ConfigurationError, match="2 entries for 1 Inputs"):
        pubsub.shared_callback(Output("a", "b"), Input("c", "d"), schema=[str, None])(print)
