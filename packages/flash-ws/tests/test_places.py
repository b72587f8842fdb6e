"""The places of a worker: nobody takes all of them, and who has left gives way (issue 13, F)."""

import pytest
from page import Closed, Page, connected, serving

from flash import Flash, Input, Output, html
from flash.access.places import Places
from flash.testing import AppClient
from flash_ws import CloseCode, Live
from flash_ws.callbacks.deferred import hub_of


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    return app


async def page_of(app, address, **more):
    page = Page(app, **more)
    page._scope["client"] = (address, 1)
    await page.open()
    await page.hello()
    return page


async def code_of(app, address):
    with pytest.raises(Closed) as closed:
        await page_of(app, address, headers=[(b"origin", b"http://testserver")])
    return closed.value.code


async def test_13_f_pages_that_say_hello_and_leave_give_way(app, until):
    live = Live(app, max_clients=20, max_clients_each=20)
    async with serving(app):
        for _ in range(20):
            page = await connected(app)
            await page.leave()
        assert len(hub_of(live.app).clients) == 20
        first = next(iter(hub_of(live.app).clients))
        page = await connected(app)
        await until(lambda: len(hub_of(live.app).clients) == 20)
        # The one that has been away for longest.
        assert first not in hub_of(live.app).clients
        await page.leave()


async def test_13_f_pages_that_are_connected_stay(app):
    Live(app, max_clients=2, max_clients_each=2)
    async with serving(app):
        pages = [await connected(app) for _ in range(2)]
        assert await code_of(app, "10.0.0.9") == CloseCode.FULL.number
        for page in pages:
            await page.leave()


async def test_13_f_an_address_has_a_share_of_the_places(app):
    live = Live(app, max_clients=4)
    async with serving(app):
        pages = [await page_of(app, "10.0.0.1") for _ in range(2)]
        assert await code_of(app, "10.0.0.1") == CloseCode.FULL.number
        pages += [await page_of(app, "10.0.0.2")]
        await pages.pop(0).leave()
        pages += [await page_of(app, "10.0.0.1")]
        for page in pages:
            await page.leave()
        assert live._acceptor.places.open == 0
        assert not live._acceptor.places._held


async def test_13_f_users_of_one_address_have_shares_of_their_own(app):
    Live(app, max_clients=8, max_clients_each=1, authorize=lambda o: o.cookies["user"])
    async with serving(app):
        pages = [
            await page_of(app, "10.0.0.1", headers=[(b"cookie", f"user={name}".encode())])
            for name in ("ada", "otto", "eve")
        ]
        with pytest.raises(Closed):
            await page_of(app, "10.0.0.2", headers=[(b"cookie", b"user=ada")])
        for page in pages:
            await page.leave()


async def test_13_f_an_address_has_a_share_of_the_endpoints(app, connect):
    live = Live(app)
    live.endpoints._open_connections.__init__(2)

    @live.websocket("/socket")
    async def socket(connection):
        async for message in connection:
            await connection.send(message)

    async with AppClient(app), connect(app, "/socket"):
        with pytest.raises(ConnectionRefusedError) as refused:
            async with connect(app, "/socket"):
                pass
        assert refused.value.status == 503
    assert not live.endpoints._open_connections._places._held


def test_13_f_half_is_rounded_up():
    assert [Places(number).max_each for number in (1, 2, 3, 20_000)] == [1, 1, 2, 10_000]
    assert not Places(1).is_full_for("anybody")


async def test_13_f_readiness_and_metrics_tell_of_threads_that_are_full(monkeypatch):
    app = Flash(__name__, max_threads=1, max_waiting=0)
    app.layout = html.Div([html.P(id="in"), html.P(id="out")])
    live = Live(app)

    @app.callback(Output("out", "children"), Input("in", "children"))
    def echo(value):
        return value

    async with AppClient(app) as client:
        ready = await client.get("/_flash/ready")
        assert ready.status == 200
        live.readiness._latest = None
        monkeypatch.setattr(app.pool, "_running", 1)
        ready = await client.get("/_flash/ready")
        assert ready.status == 503
        assert "all threads are busy" in ready.text
        metrics = {
            (each.name, each.labels.get("pool")): each.value for each in live._monitor.read()
        }
        assert metrics["flash_threads_full", "callbacks"] == 1
        assert metrics["flash_threads_full", "pages"] == 0
        monkeypatch.undo()


async def test_13_f_what_a_page_sends_again_and_again_is_logged_a_few_times(app, caplog):
    live = Live(app)

    @live.on_event("bad")
    def bad(data):
        raise KeyError(data)

    async with serving(app):
        page = await connected(app)
        page.send(*({"t": "event", "k": n, "name": "bad", "data": n} for n in range(1, 90)))
        page.send({"t": "event", "k": 90, "name": "unknown", "data": 1})
        while "unknown" not in caplog.text:
            await page.frame()
        await page.leave()
    assert caplog.text.count("Traceback") == 30
