"""An app that is stopped and served again in the same process."""

import asyncio
import secrets

import pytest
from pubsub_worlds import World, until

from flash import Input, Output
from flash_ws.clients.recipients import EVERYBODY


@pytest.fixture(params=["memory", "redis"])
def url(request):
    """None for an app without a server."""
    if request.param == "memory":
        return None
    server = request.getfixturevalue("redis_server")
    return f"{server.url}?prefix=restart{secrets.token_hex(4)}&probe_interval=0.2"


def define(told):
    """Everything that has a life of its own in a worker."""

    def of(pubsub):
        @pubsub.shared_callback(
            Output("lamp", "title"), Input("slider", "value"), prevent_initial_call=True
        )
        async def lamp(value):
            return f"at {value}"

        @pubsub.channel_callback("prices", Output("price", "title"))
        async def price(message):
            return message

        @pubsub.channel_callback("prices", Output("total", "title"), once=True)
        async def total(message):
            return f"total {message}"

        @pubsub.feeder("ticks")
        async def ticks():
            told.append("fed")
            yield 1
            await asyncio.Event().wait()

        @pubsub.channel_callback("ticks", Output("tick", "title"))
        async def tick(message):
            return message

        @pubsub.on_join("prices")
        async def joined(client):
            told.append("joined")

    return of


async def shown(page, *updates):
    """Wait until a page has been shown all of these, in whatever order."""
    missing = list(updates)
    while missing:
        for update in (await page.frame()).get("u", ()):
            if update in missing:
                missing.remove(update)


async def use(world, told, value):
    """Have everything done that an app does, and return a page that has seen it."""
    (pubsub,) = world.pubsubs
    (app,) = world.apps
    page = await world.page()
    (name,) = app.page_extras["flash_pubsub"]["shared"]
    change = {"t": "share", "cb": name, "k": value, "v": [value], "s": [], "changed": [0]}
    page.send(change)
    await shown(page, ["slider", {"value": value}], ["lamp", {"title": f"at {value}"}])
    await pubsub.publish("prices", value)
    await shown(page, ["price", {"title": value}], ["total", {"title": f"total {value}"}])
    await pubsub.live.push("x", {"title": value}, to=EVERYBODY)
    await shown(page, ["x", {"title": value}])
    assert page.welcome["id"] in {client.id for client in await pubsub.live.clients()}
    await until(lambda: "fed" in told)
    told.clear()
    assert (await app.server.test_client().get("/_flash/ready")).status_code == 200
    return page


async def test_an_app_that_is_served_again_does_all_that_it_did_and_knows_what_it_knew(url):
    told = []
    world = World(define(told), workers=1, url=url)
    async with world:
        page = await use(world, told, 1)
    await page.leave()
    async with world:
        assert await world.pubsubs[0].shared["slider", "value"] == 1
        # A store that outlives the worker knows its pages, too.
        back = await world.page(0, page.token, page.positions)
        assert back.welcome["recovered"] is (url is not None)
        await back.leave()
        page = await use(world, told, 2)
    await page.leave()


def test_each_time_may_have_an_event_loop_of_its_own(url):
    told = []
    world = World(define(told), workers=1, url=url)

    async def serve(value):
        async with world:
            page = await use(world, told, value)
        await page.leave()

    for value in (1, 2, 3):
        asyncio.run(serve(value))
