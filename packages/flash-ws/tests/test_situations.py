"""Situations of real pages: copies, late links, large messages, calls that outlive a gap."""

import asyncio
import json
import re

import plotly.graph_objects as go
import pytest
from page import Page, connected, serving

from flash import ConfigurationError, Flash, Input, Output, html
from flash_ws import LinkLimits, Live, PayloadTooLarge, stream_props
from flash_ws.callbacks.deferred import hub_of
from flash_ws.clients.backplane import Moved
from flash_ws.link.transports import EventStreamTransport


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div(id="banner")
    return app


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the state of the server has no event
            await asyncio.sleep(0)


async def config_of(app):
    """Return the configuration in the HTML of a new page."""
    html_text = (await app.server.test_client().get("/")).get_data
    text = (await html_text()).decode()
    found = re.search(r'id="_dash-config" type="application/json">(.*?)</script>', text)
    return json.loads(found[1])


async def first_hello(app, config, load="one", **more):
    page = await Page(app).open()
    await page.hello(
        config["end_id"], config.get("flash_page", {}).get("at"), load=load, new=True, **more
    )
    return page


def only_call(live, number):
    name = next(iter(live._event_callbacks._callbacks))
    inputs = [{"id": "go", "property": "n_clicks", "value": number}]
    body = {"callback": name, "inputs": inputs, "state": [], "changedPropIds": ["go.n_clicks"]}
    return {"t": "call", "id": number, "body": body}


async def test_12_1_a_link_that_broke_before_its_welcome_keeps_its_identity(app):
    live = Live(app)
    async with serving(app):
        config = await config_of(app)
        page = await first_hello(app, config)
        await live.push("mine", {"children": 1}, to=next(iter(hub_of(live.app).clients.values())))
        await page.leave()
        again = await first_hello(app, config)
        assert again.token == config["end_id"]
        assert [frame["u"] for frame in again.waiting] == [[["mine", {"children": 1}]]]
        copy = await first_hello(app, config, load="another")
        assert copy.token != config["end_id"]
        assert copy.waiting == []
        for each in (again, copy):
            await each.leave()


async def test_12_1_what_an_identity_has_started_is_known_to_the_next(app):
    first = app.new_page_identity()
    second = app.new_page_identity(first)
    third = app.new_page_identity(second)
    ids = [app.page_of(each) for each in (first, second, third)]
    assert len(set(ids)) == 3
    assert not any("~" in each for each in ids)


async def test_12_1_a_page_that_returns_while_it_is_removed_stays_registered(app):
    live = Live(app, resume_window=0)
    removing, go_on = asyncio.Event(), asyncio.Event()

    async def slow(client):
        removing.set()
        await go_on.wait()

    live.on_forget(slow)
    async with serving(app):
        page = await connected(app)
        token = page.token
        await page.leave()
        await removing.wait()
        opening = asyncio.ensure_future(connected(app, token, {"all": page.positions["all"]}))
        await asyncio.sleep(0.05)
        go_on.set()
        back = await opening
        await until(lambda: not hub_of(live.app)._leaving)
        assert [each.id for each in await live.clients()] == [
            hub_of(live.app).identities.id_of(token)
        ]
        await back.leave()


async def test_12_3_what_comes_between_html_and_link_is_sent(app):
    live = Live(app)
    async with serving(app):
        await live.push("value", {"children": 1})
        config = await config_of(app)
        await live.push("value", {"children": 2})
        page_id = hub_of(live.app).identities.id_of(config["end_id"])
        assert page_id not in hub_of(live.app).clients
        from flash_ws.clients import recipients

        await live.push("own", {"children": "first"}, to=recipients.page(page_id))
        page = await first_hello(app, config)
        assert page.welcome["recovered"] is None
        assert [frame["u"] for frame in await page.frames(2)] == [
            [["value", {"children": 2}]],
            [["own", {"children": "first"}]],
        ]
        await live.push("own", {"children": "next"}, to=recipients.page(page_id))
        assert (await page.frame())["u"] == [["own", {"children": "next"}]]
        await page.leave()


async def test_12_3_what_is_no_longer_known_is_reported_as_lost(app):
    live = Live(app)
    async with serving(app):
        config = await config_of(app)
        for number in range(1200):
            await live.push("value", {"children": number})
        page = await first_hello(app, config)
        assert page.welcome["recovered"] is False
        assert [frame["u"] for frame in page.waiting] == [[["value", {"children": 1199}]]]
        await page.leave()


async def test_12_3_a_group_joined_on_connect_has_no_hole_after_the_join(app):
    live = Live(app)
    value = [1]

    @live.on_connect
    async def enter(client):
        client.join("desk")
        # After the join, so that no later change is missed.
        await live.push("value", {"children": value[0]}, to=client)

    async with serving(app):
        config = await config_of(app)
        page = await first_hello(app, config)
        value[0] = 2
        await live.push("value", {"children": 2}, to=live.group("desk"))
        seen = []
        while not seen or seen[-1] != 2:
            seen.append((await page.frame())["u"][0][1]["children"])
        await page.leave()


async def test_12_3_a_group_joined_while_the_page_is_away_has_no_hole(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        await page.leave()
        await client.join("desk")
        await live.send_event("n", 1, to=live.group("desk"))
        back = await connected(app, page.token, page.positions)
        assert back.welcome["recovered"] is True
        assert [frame["data"] for frame in back.waiting] == [1]
        await back.leave()


async def test_12_3_a_group_whose_join_the_page_was_not_told_has_no_hole(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        await client.join("desk")
        await live.send_event("n", 1, to=live.group("desk"))
        # The link breaks with the message that says so on its way.
        await page.leave()
        await live.send_event("n", 2, to=live.group("desk"))
        back = await connected(app, page.token, page.positions)
        assert back.welcome["recovered"] is True
        assert [frame["data"] for frame in await back.frames(2)] == [1, 2]
        # A second join changes nothing.
        await client.join("desk")
        await live.send_event("n", 3, to=live.group("desk"))
        assert (await back.frame())["data"] == 3
        await back.leave()


async def test_12_3_a_page_that_moved_and_returned_is_not_removed_with_its_earlier_client(app):
    live = Live(app, resume_window=0.02)
    async with serving(app):
        page = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        # It does not even take the close message, as if its network had gone.
        page.taking.clear()
        hub_of(live.app).handle_command(Moved(client.id))
        back = await connected(app, page.token, page.positions)
        await page.leave()
        await asyncio.sleep(0.1)
        assert client.id in hub_of(live.app).clients
        assert [each.id for each in await live.clients()] == [client.id]
        await live.send_event("n", 1)
        assert (await back.frame())["data"] == 1
        await back.leave()


async def test_12_5_a_message_above_the_outbox_arrives_alone(app):
    live = Live(app)
    figure = go.Figure(go.Scatter(x=[0.5] * 400_000, y=[1] * 400_000))
    async with serving(app):
        page = await connected(app)
        await live.push("before", {"children": 1})
        await live.push("g", {"figure": figure})
        await live.push("after", {"children": 2})
        assert [frame["u"][0][0] for frame in await page.frames(3)] == ["before", "g", "after"]
        # The history still has what came before it.
        await page.leave()
        back = await connected(
            app, page.token, {**page.positions, "all": page.welcome["at"]["all"]}
        )
        assert back.welcome["recovered"] is True
        assert [frame["u"][0][0] for frame in await back.frames(3)] == ["before", "g", "after"]
        await back.leave()


async def test_12_5_a_message_above_the_limit_raises_an_error_that_names_the_setting(app):
    live = Live(app, limits=LinkLimits(max_push_bytes=1000))

    @live.event_callback(Input("go", "n_clicks"))
    async def large(clicks):
        yield stream_props("value", {"children": "x" * 1000})

    async with serving(app):
        page = await connected(app)
        with pytest.raises(PayloadTooLarge, match="max_push_bytes"):
            await live.push("value", {"children": "x" * 1000})
        with pytest.raises(PayloadTooLarge):
            await live.send_event("value", "x" * 1000)
        page.send(only_call(live, 1))
        assert (await page.frame())["state"] == "running"
        end = await page.frame()
        assert (end["state"], end["reason"]) == ("failed", "PayloadTooLarge")
        await page.leave()


async def test_12_6_a_welcome_lists_the_calls_that_live(app):
    live = Live(app)

    @live.event_callback(Input("go", "n_clicks"))
    async def endless(clicks):
        yield stream_props("value", {"children": clicks})
        await asyncio.Event().wait()

    async with serving(app):
        page = await connected(app)
        assert page.welcome["calls"] == []
        page.send(only_call(live, 7))
        await page.frames(2)
        await page.leave()
        for number in range(1200):
            await live.push("value", {"children": number})
        back = await connected(app, page.token, page.positions)
        assert back.welcome["recovered"] is False
        assert back.welcome["calls"] == [7]
        await back.leave()


async def test_12_8_the_end_of_a_stream_is_awaited_once():
    calls = []

    async def receive():
        calls.append(1)
        await asyncio.Event().wait()

    async def send(event):
        pass

    transport = EventStreamTransport(receive, send, "{}")
    assert await transport.receive() == "{}"
    for number in range(3):
        transport.post(str(number))
        assert await transport.receive() == str(number)
    assert len(calls) == 1
    await transport.end()


async def test_12_10_functions_registered_before_live_may_push(app):
    seen = []

    @app.server.before_serving
    async def early():
        await live.push("value", {"children": 1})
        seen.append(live.statistics().connected)

    live = Live(app)
    async with serving(app):
        assert seen == [0]


async def test_12_11_a_callback_that_comes_late_makes_no_page_outdated(app):
    Live(app)
    async with serving(app):
        before = app.version
        app.callback(Output("late", "children"), Input("go", "n_clicks"))(str)
        assert app.version == before


async def test_12_11_a_welcome_and_the_html_name_the_version(app):
    Live(app)
    async with serving(app):
        config = await config_of(app)
        page = await first_hello(app, config)
        assert page.welcome["version"] == config["flash_page"]["version"] == app.version
        await page.leave()


def test_12_11_the_version_follows_the_callbacks_or_is_given():
    def made(*outputs, **options):
        made = Flash(__name__, **options)
        for output in outputs:
            made.callback(Output(output, "children"), Input("go", "n_clicks"))(str)
        return made.version

    assert made("a", "b") == made("b", "a")
    assert made("a") != made("b")
    assert made("a", version="1.2") == "1.2"


def test_12_11_an_unknown_way_is_refused(app):
    with pytest.raises(ConfigurationError, match="'ask' or 'reload' or 'ignore'"):
        Live(app, on_new_version="never")
