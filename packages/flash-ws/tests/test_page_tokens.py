"""The secret token of a page expires, and an open link gets a new one in time (issue 13, E)."""

import time

import pytest
from page import connected, serving

from flash import Flash, html
from flash.seams import dash as dash_seam
from flash_ws import Live
from flash_ws.callbacks.deferred import hub_of


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    return app


@pytest.fixture
def clock(monkeypatch):
    """Move the clock by which tokens are dated."""
    begun = time.time()

    def later(seconds):
        monkeypatch.setattr("flash.seams.dash_app.time.time", lambda: begun + seconds)

    later(0)
    return later


async def test_13_e_a_page_resumes_with_its_token_and_not_once_that_has_expired(app, clock):
    live = Live(app, token_lifetime=100)
    async with serving(app):
        page = await connected(app)
        token, positions = page.token, page.positions
        (client,) = hub_of(live.app).clients.values()
        await page.leave()
        await live.send_event("secret", "for this page", to=client)
        clock(101)
        late = await connected(app, token, positions)
        assert late.welcome["recovered"] is False
        assert late.welcome["id"] != client.id
        assert client.channel not in late.positions
        assert not late.waiting
        await late.leave()
        clock(99)
        back = await connected(app, token, positions)
        assert (back.welcome["recovered"], back.welcome["id"]) == (True, client.id)
        assert (await back.frame())["data"] == "for this page"
        # Half of its lifetime has passed: from now on the page uses another, for as long again.
        assert back.token != token
        await back.leave()
        clock(198)
        again = await connected(app, back.token, back.positions)
        assert (again.welcome["recovered"], again.welcome["id"]) == (True, client.id)
        await again.leave()


async def test_13_e_an_open_link_gets_a_new_token_before_its_own_expires(app, clock):
    live = Live(app, token_lifetime=100)
    async with serving(app):
        page = await connected(app)
        clock(49)
        hub_of(live.app)._renew_tokens()
        clock(51)
        hub_of(live.app)._renew_tokens()
        frame = await page.frame()
        assert frame["t"] == "page"
        assert frame["page"] != page.token
        assert app.page_of(frame["page"]) == app.page_of(page.token) == page.welcome["id"]
        assert app.page_identity_age(frame["page"]) < 1
        await page.leave()


async def test_13_e_jobs_of_before_are_polled_with_the_renewed_token(app, clock):
    token = app.new_page_identity(app.new_page_identity())
    clock(60)
    renewed = app.renewed_page_identity(token)
    assert renewed != token
    assert app.page_of(renewed) == app.page_of(token)
    assert renewed.partition("~")[2].partition("~")[0] == token.partition("~")[2].partition("~")[0]


async def test_13_e_a_token_without_a_time_is_old(app):
    async with serving(app):
        undated = dash_seam.sign(app.signing_secret(), dash_seam.END_SCOPE, "a" * 24)
        assert app.page_identity_age(undated) == float("inf")
        assert app.page_identity_age("forged~x") == float("inf")
        assert app.page_identity_age("\xe4") == float("inf")
