"""`live.notify`: what is sent, to whom, and what is refused (issue 14, number 10)."""

import asyncio

import pytest
from page import connected, serving

from flash import ConfigurationError, Flash, html
from flash_ws import Live, NoCaller


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    return app


@pytest.fixture
def live(app):
    return Live(app)


async def test_14_10_a_notice_goes_to_the_pages_that_are_named(app, live):
    @live.on_connect
    async def join(client):
        client.join("traders")

    async with serving(app):
        one, two = await connected(app), await connected(app)
        await live.notify("to all", to=live.everybody)
        for page in (one, two):
            frame = await page.frame()
            assert frame | {"c": "", "n": 0} == {
                "c": "",
                "n": 0,
                "t": "notice",
                "text": "to all",
                "kind": "info",
                "seconds": 6.0,
            }
        await live.notify("to traders", kind="error", seconds=None, to=live.group("traders"))
        frame = await two.frame()
        assert (frame["text"], frame["kind"], frame["seconds"]) == ("to traders", "error", None)
        await one.leave()
        await two.leave()


async def test_14_10_a_handler_notifies_its_own_page(app, live):
    @live.on_event("save")
    def save(data):
        # A plain handler runs in a thread.
        live.notify(f"saved {data}", kind="success")

    async with serving(app):
        page, other = await connected(app), await connected(app)
        page.send({"t": "event", "name": "save", "data": 7})
        assert (await page.frame())["text"] == "saved 7"
        await live.notify("last", to=live.everybody)
        assert (await other.frame())["text"] == "last"
        await page.leave()
        await other.leave()


async def test_14_10_a_thread_names_its_recipients(app, live):
    async with serving(app):
        page = await connected(app)
        await asyncio.to_thread(lambda: live.notify("from a thread", to=live.everybody))
        assert (await page.frame())["text"] == "from a thread"
        with pytest.raises(NoCaller, match="pass other recipients"):
            live.notify("to whom?")
        await page.leave()


async def test_14_10_a_page_that_was_away_gets_its_notices(app, live):
    async with serving(app):
        page = await connected(app)
        await page.leave()
        await live.notify("meanwhile", to=live.everybody)
        again = await connected(app, page.token, page.positions)
        assert (await again.frame())["text"] == "meanwhile"
        await again.leave()


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (
            "",
            {},
            r"a notice of 0 characters, '': must be a text of 1 to.*\(.*test_n",
        ),
        ("  \n", {}, "must be a text of 1 to 1,000 characters"),
        ("x" * 1001, {}, "a notice of 1,001 characters, 'xxxx"),
        (7, {}, "a notice, 7: must be a text"),
        (html.B("bold"), {}, "must be a text"),
        ("x", {"kind": "danger"}, "kind='danger': must be 'info' or 'success'"),
        ("x", {"kind": "sucess"}, "did you mean 'success'"),
        ("x", {"seconds": 0}, "seconds=0: must be a number of seconds above 0, or None"),
        ("x", {"seconds": float("inf")}, "seconds=inf"),
        ("x", {"seconds": "5"}, "seconds='5'"),
    ],
)
def test_14_10_what_is_no_notice_is_refused(live, text, options, told):
    with pytest.raises(ConfigurationError, match=told):
        live.notify(text, to=live.everybody, **options)
