"""Random orders of pushes, joins, breaks and returns: a page misses nothing, or is told."""

import asyncio
import json
import random

import pytest
from page import Closed, Page, serving

from flash import Flash, html
from flash_ws import Live
from flash_ws.callbacks.deferred import hub_of
from flash_ws.clients import recipients
from flash_ws.protocol.codes import CloseCode

GROUPS = ("a", "b")


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div(id="banner")
    return app


class ModelPage:
    """A page that breaks and returns when the model says so, and what it must have received."""

    def __init__(self, app, live):
        self.app = app
        self.live = live
        self.page = None
        self.open = False
        self.positions = {}
        # By channel: what was sent while the page was a member, and what it has received.
        self.due = {}
        self.received = {}
        # By channel: how many of `due` may be missing, since a welcome has said so.
        self.forgiven = {}
        self.said = []
        # All frames and breaks, for the message of a failing test.
        self.log = []

    @property
    def client(self):
        return hub_of(self.live.app).clients.get(hub_of(self.live.app).identities.id_of(self.token))

    async def connect(self, load="one"):
        page = Page(self.app)
        await page.open()
        is_new = self.page is None
        token = None if is_new else self.token
        await page.hello(token, self.positions, load=load, new=is_new)
        self.page, self.token = page, page.token
        self.said.append(page.welcome["recovered"])
        self.log.append(page.welcome)
        if page.welcome["recovered"] is False:
            # What was sent until now may be lost, what comes later may not.
            self.forgiven = {channel: len(due) for channel, due in self.due.items()}
        self.positions = page.positions
        for frame in page.waiting:
            self.take(frame)

    def take(self, frame):
        self.log.append(frame)
        if frame["t"] == "event":
            self.received.setdefault(frame["c"], []).append(frame["data"])

    def take_waiting(self, count):
        """Take as many messages as have come by now, ``count`` at most."""
        while count and not self.page._from_app.empty():
            count -= 1
            event = self.page._from_app.get_nowait()
            if event["type"] == "websocket.close":
                raise Closed(event["code"])
            for frame in json.loads(event["text"]):
                self.take(self.page.applied(frame))

    async def leave(self):
        """Break off without what has not been taken."""
        self.log.append("left")
        await self.page.leave()

    def check(self):
        for channel, due in self.due.items():
            got = self.received.get(channel, [])
            sure = due[self.forgiven.get(channel, 0) :]
            assert got == sorted(set(got)), (channel, "order", got, self.log)
            assert set(sure) <= set(got), (channel, sorted(set(sure) - set(got)), self.log)


async def some_turns(chance):
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 5, 20))):
        await asyncio.sleep(0)


async def play(app, seed, *, steps=120, expiries=False):
    chance = random.Random(seed)
    live = Live(app, resume_window=0.001 if expiries else 30)
    number = 0
    async with serving(app):
        pages = [ModelPage(app, live) for _ in range(3)]
        for each in pages:
            await each.connect()
            each.open = True

        async def publish(channel):
            nonlocal number
            number += 1
            # Whoever is a member now has to receive it.
            for each in pages:
                client = each.client
                if client is not None and channel in hub_of(live.app)._channels(client):
                    each.due.setdefault(channel, []).append(number)
            await live.send_event("n", number, to=_Channel(channel))

        for _ in range(steps):
            each = chance.choice(pages)
            match chance.choice(("say", "say", "say", "join", "break", "return", "kick", "take")):
                case "say":
                    channel = chance.choice(("all", "group:a", "group:b", "own"))
                    if channel == "own":
                        channel = recipients.page(
                            hub_of(live.app).identities.id_of(each.token)
                        ).channel
                    for _ in range(chance.choice((1, 1, 1, 3))):
                        await publish(channel)
                case "join" if each.client is not None:
                    name = chance.choice(GROUPS)
                    if name not in each.client.groups:
                        each.client.join(name)
                case "break" if each.open:
                    each.open = False
                    await each.leave()
                case "return" if not each.open:
                    if expiries and chance.random() < 0.5:
                        await asyncio.sleep(0.002)
                    await each.connect()
                    each.open = True
                case "kick" if each.client is not None:
                    each.client.close(CloseCode.TOO_SLOW)
                case "take" if each.open:
                    try:
                        each.take_waiting(chance.choice((1, 2, 100)))
                    except Closed:
                        each.open = False
                        await each.leave()
                case _:
                    pass
            await some_turns(chance)
        for each in pages:
            try:
                if each.open:
                    each.take_waiting(-1)
            except Closed:
                each.open = False
            if each.open:
                await each.leave()
            await each.connect()
            async with asyncio.timeout(5):
                while (link := each.client.link) is None or len(link.outbox) or link._held:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            each.take_waiting(-1)
            await each.leave()
        for each in pages:
            each.check()
        if not expiries:
            assert {said for each in pages for said in each.said} <= {None, True}


class _Channel:
    def __init__(self, channel):
        self.channel = channel


@pytest.mark.parametrize("seed", range(100))
async def test_12_3_pages_that_break_at_any_moment_miss_nothing(app, seed):
    await play(app, seed)


@pytest.mark.parametrize("seed", range(40))
async def test_12_3_pages_that_return_too_late_are_told(app, seed):
    await play(app, seed, expiries=True)
