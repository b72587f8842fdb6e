"""`docs/older-names.md`: the older forms of set-up work as its apps are written."""

import re
from pathlib import Path

import pytest
from documents import DOCS
from page import Closed, Page, connected, serving

from flash import AsyncManager, RedisManager
from flash.testing import FlashClient
from flash_lazy import MemoryCache, RedisCache
from flash_lazy.panels import panels_of
from flash_pubsub import RedisBroker
from flash_pubsub.channels.subscription import sign

DOCUMENT = "older-names.md"


@pytest.fixture
def app_of(document, monkeypatch):
    """Runs the code under a heading, and returns its names."""
    monkeypatch.setattr("dash._get_app.APP", None)

    def run(heading):
        namespace = {"__name__": "older"}
        exec(compile(document.blocks("python")[heading], heading, "exec"), namespace)
        return namespace

    return run


def test_every_app_of_the_document_is_run_by_a_test(document):
    used = re.findall(r"app_of\(\"(.+?)\"\)", Path(__file__).read_text(encoding="utf-8"))
    assert sorted(document.blocks("python")) == sorted(used)


OLDER = re.compile(
    r"stream_props|push_threadsafe|send_event_threadsafe|= PubSub\(app\)|= Live\(app\)|"
    r"import .*\b(event_callback|shared_callback|channel_callback)\b|FLASH_BROKER_URL=|"
    r"RedisManager\(\"|configure\(app, cache=\"redis|from flash_lazy import .*\blazy\b"
)


def test_no_other_page_shows_an_older_form():
    root = DOCS.parent
    pages = [root / "README.md", *DOCS.glob("*.md"), *root.glob("packages/*/README.md")]
    shown = {
        f"{page.relative_to(root)}: {line}"
        for page in pages
        if page.name != DOCUMENT
        for block in re.findall(
            r"^```\w*\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
        )
        for line in block.splitlines()
        if OLDER.search(line)
    }
    assert shown == set()
    # The expression finds what it is made for.
    assert OLDER.search((DOCS / DOCUMENT).read_text("utf-8"))


async def test_a_link_made_by_the_app(app_of):
    names = app_of("A link made by the app")
    async with serving(names["app"]) as app:
        page = await connected(app)
        page.send({"t": "event", "name": "said", "data": "hello"})
        assert (await page.frame())["u"] == [["out", {"children": "hello"}]]
        assert (await page.frame())["name"] == "heard"
        runner = names["live"]._event_callbacks
        assert [each.function.__name__ for each in runner._callbacks.values()] == ["count"]


async def test_channels_made_by_the_app(app_of):
    names = app_of("Channels made by the app")
    async with serving(names["app"]) as app:
        page = await connected(app)
        assert (await page.frame())["t"] == "snapshot"
        await names["pubsub"].publish("prices", 7)
        assert (await page.frame())["u"] == [["price", {"children": 7}]]
        assert len(app.page_extras["flash_pubsub"]["shared"]) == 1


async def test_parts_with_a_store_of_their_own(app_of):
    app = app_of("Parts with a store of their own")["app"]
    async with FlashClient(app) as client:
        assert (await client.get("/")).status == 200
        assert isinstance(app.background_manager, AsyncManager)
        assert isinstance(panels_of(app).cache, MemoryCache)


async def test_14_4_several_forms_of_authorize(app_of):
    names = app_of("Several forms of authorize")
    app, live, pubsub = names["app"], names["live"], names["pubsub"]
    ada = {"cookie": "user=ada"}
    async with FlashClient(app) as client:
        # Opening requests, connections and streams.
        with pytest.raises(Closed):
            await Page(app).open()
        page = await connected(app, headers=[(b"cookie", b"user=ada")])
        assert live.statistics().connected == 1
        desk = await Page(app, path="/desk/fx", headers=[(b"cookie", b"user=ada")]).open()
        assert (await desk._next())["text"] == "/desk/fx"
        with pytest.raises(Closed):
            await Page(app, path="/desk/gold").open()
        for body, status in ((b"key", 200), (b"other", 401)):
            assert (await client.post("/orders", body=body)).status == status
        # Pages: of a channel and of a shared callback.
        for channel, answer in (("desk/fx", "subscribed"), ("gold", "denied")):
            page.send({"t": "subscribe", "channel": channel, "token": sign(app, channel)})
            frame = await page.frame()
            while frame["t"] != "subscription":
                frame = await page.frame()
            assert frame["status"] == answer
        assert [each.user for each in await live.clients()] == ["ada"]
        (name,) = app.page_extras["flash_pubsub"]["shared"]
        page.send({"t": "share", "cb": name, "k": 1, "v": [3], "s": [], "changed": [0]})
        frame = await page.frame()
        while ["price", {"children": 3}] not in frame.get("u", ()):
            frame = await page.frame()
        # Panels.
        layout = (await client.get("/_dash-layout", headers=ada)).text
        assert '"token"' in layout
        await page.leave()
        await desk.leave()
    assert pubsub.app is app


def test_each_part_takes_an_address_of_its_own(monkeypatch):
    from flash import Flash
    from flash_lazy import configure
    from flash_pubsub import PubSub

    url = "redis://127.0.0.1:1/0"
    manager = RedisManager(url)
    app = Flash(__name__, background_callback_manager=manager)
    assert app.background_manager is manager
    assert isinstance(PubSub(app, broker=url).broker, RedisBroker)
    configure(app, cache=url)
    assert isinstance(panels_of(app).cache, RedisCache)
    monkeypatch.setenv("FLASH_BROKER_URL", url)
    assert isinstance(PubSub(Flash(__name__)).broker, RedisBroker)
