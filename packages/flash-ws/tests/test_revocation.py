"""Rights that are taken back: older cookies of a user who has logged out (issue 13, C)."""

import time
from unittest.mock import patch

import pytest
import quart
from page import Closed, connected, serving

from flash import Flash, html
from flash.access.revocation import Revocations
from flash.testing import AppClient
from flash_ws import CloseCode, Live


@pytest.fixture
def app():
    app = Flash(__name__, websocket_callbacks=True)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    return app


def cookie(app, *, age=0.0, **session):
    serializer = app.server.session_interface.get_signing_serializer(app.server)
    now = time.time() - age
    with patch("time.time", lambda: now):
        return [(b"cookie", f"session={serializer.dumps(session)}".encode())]


def by_session(opening):
    # They are one, at the moment of asking.
    assert opening.session == dict(quart.session)
    return opening.session.get("user")


async def refused(app, headers, path="/_flash/link"):
    with pytest.raises(Closed) as closed:
        await connected(app, headers=headers, path=path)
    return closed.value.code


async def test_13_c_a_logout_closes_what_is_open_and_refuses_the_older_cookie(app, connect):
    live = Live(app, authorize=by_session)

    @live.websocket("/socket")
    async def socket(connection):
        async for message in connection:
            await connection.send(message)

    ada, otto = cookie(app, user="ada", age=5), cookie(app, user="otto", age=5)
    text = [("cookie", ada[0][1].decode())]
    async with serving(app):
        page = await connected(app, headers=ada)
        other = await connected(app, headers=otto)
        async with connect(app, "/socket", headers=text) as endpoint:
            await live.revoke(user="ada")
            assert await page.closed() == CloseCode.KICKED.number
            assert await endpoint.closed() == CloseCode.KICKED.number
        assert await refused(app, ada) == CloseCode.UNAUTHORIZED.number
        with pytest.raises(ConnectionRefusedError):
            async with connect(app, "/socket", headers=text):
                pass
        with pytest.raises(ConnectionRefusedError):
            async with connect(app, "/_dash-ws-callback", headers=text):
                pass
        await live.send_event("still")
        assert (await other.frame())["name"] == "still"
        await other.leave()


async def test_13_c_a_later_login_is_accepted(app):
    live = Live(app, authorize=by_session)
    logout = time.time() - 10
    async with serving(app):
        with patch("flash_ws.live.time.time", lambda: logout):
            await live.revoke(user="ada")
        # A cookie tells whole seconds: one of the same second counts as older.
        same_second = cookie(app, user="ada", age=time.time() - int(logout))
        assert await refused(app, same_second) == CloseCode.UNAUTHORIZED.number
        page = await connected(app, headers=cookie(app, user="ada", age=5))
        await page.leave()


async def test_13_c_a_cookie_that_tells_no_time_is_refused(app):
    live = Live(app, authorize=lambda opening: opening.cookies.get("user"))
    headers = [(b"cookie", b"user=ada")]
    async with serving(app):
        page = await connected(app, headers=headers)
        await page.leave()
        await live.revoke(user="ada")
        assert await refused(app, headers) == CloseCode.UNAUTHORIZED.number


async def test_13_c_a_recheck_finds_a_revoked_cookie(app):
    live = Live(app, authorize=by_session, recheck_interval=0.01)
    async with serving(app):
        page = await connected(app, headers=cookie(app, user="ada", age=5))
        live._revocations.add("ada", time.time())
        assert await page.closed() == CloseCode.EXPIRED.number


async def test_13_c_a_guard_asks_for_requests_and_the_session_is_not_signed_again(app):
    live = Live(app, authorize=by_session)

    @app.server.before_request
    async def guard():
        user = quart.session.get("user")
        if user is None or live.is_revoked(user):
            quart.abort(401)
        # As extensions do that refresh a session at each request.
        quart.session.permanent = True

    (_, ada), (_, otto) = *cookie(app, user="ada", age=5), *cookie(app, user="otto", age=5)
    async with AppClient(app) as client:
        answer = await client.get("/", headers={"cookie": ada.decode()})
        assert answer.status == 200
        await live.revoke(user="ada")
        answer = await client.get("/", headers={"cookie": ada.decode()})
        assert answer.status == 401
        assert "Max-Age=0" in answer.headers["set-cookie"]
        fresh = AppClient(app)
        assert (await fresh.get("/", headers={"cookie": otto.decode()})).status == 200


def test_13_c_the_revocations_that_are_kept_are_bounded(app):
    revocations = Revocations(max_users=3)
    for number in range(10):
        revocations.add(f"user{number}", 1000.0 + number)
    assert len(revocations) == 3
    assert dict(revocations.items()) == {f"user{n}": 1000.0 + n for n in (7, 8, 9)}
    # Those that were dropped count for everybody.
    assert revocations._floor == 1006.0
