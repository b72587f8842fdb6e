"""Redis as an app uses it: an ACL user of its own, poisoned keys, the signing key (issue 13, G)."""

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from dash import Input, Output, html
from redis_servers import RedisServer

import flash_pubsub.broker.redis  # noqa: F401  here, since it reads its scripts
from flash import Flash, RedisManager, dcc
from flash.testing import FlashClient
from flash_lazy import Entry, Invalidation, Key, RedisCache
from flash_pubsub import PubSub
from flash_pubsub.signing_key import ENCRYPTION_VARIABLE, WrongSecretKey, decrypt, encrypt

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("door")) as server:
        yield server


@pytest.fixture
def store(server):
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client
        client.flushall()


def make_app(url, key="0123456789abcdef" * 2):
    app = Flash(__name__, background_callback_manager=RedisManager(url))
    app.server.secret_key = key
    app.layout = html.Div(
        [dcc.Input(id="in"), html.P(id="out"), html.P(id="job"), html.P(id="price")]
    )
    pubsub = PubSub(app, broker=url)

    @pubsub.shared_callback(Output("out", "children"), Input("in", "value"))
    def share(value):
        return value

    @pubsub.channel_callback("prices", Output("price", "children"))
    async def price(message):
        return message

    @app.callback(Output("job", "children"), Input("in", "value"), background=True, interval=50)
    async def work(value):
        return f"done {value}"

    return app, pubsub


async def use(app, pubsub, url):
    """Use everything that goes to Redis, and return what a page and a caller got."""
    async with FlashClient(app) as client:
        layout = await client.layout()
        assert layout.find("out")
        await pubsub.publish("prices", 7, key="once")
        job = await client.call("job.children", {"in.value": 1})
        assert await pubsub.who("prices") is not None
        cache = RedisCache(url)
        await cache.open("app", lambda _: None)
        try:

            async def run():
                return Entry(b"panel", 1.0)

            key = Key("app", "orders", "7", "")
            entry = await cache.load(key, run, seconds=30)
            await cache.find(key)
            await cache.forget(Invalidation("app", "orders", "7"))
        finally:
            await cache.close("app")
        return job.value, entry.content


# -- an ACL user of its own


def acl_line():
    """Return the rules of the line in the document, without the password."""
    (line,) = re.findall(r"ACL SETUSER flash (.+)", DOCUMENT.read_text(encoding="utf-8"))
    return line.split()


async def test_13_the_acl_line_of_the_document_is_enough_and_no_more(server, store):
    rules = [">of-the-test" if rule.startswith(">") else rule for rule in acl_line()]
    store.acl_deluser("flash")
    store.execute_command("ACL", "SETUSER", "flash", *rules)
    store.execute_command("ACL", "LOG", "RESET")
    url = f"redis://flash:of-the-test@127.0.0.1:{server.port}/0"
    app, pubsub = make_app(url)
    assert await use(app, pubsub, url) == ("done 1", b"panel")
    assert [entry["object"] for entry in store.acl_log()] == []
    with redis.Redis.from_url(url) as user:
        for command in (
            ("KEYS", "*"),
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
            ("GET", "another"),
            ("SET", "another", "x"),
            ("PUBLISH", "another", "x"),
            ("SHUTDOWN",),
            ("MONITOR",),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.execute_command(*command)
    store.acl_deluser("flash")


def test_13_every_command_of_the_scripts_is_in_the_line():
    packages = Path(__file__).parents[2] / "packages"
    sources = [*packages.glob("*/src/**/*.lua"), *packages.glob("*/src/**/*.py")]
    calls = re.compile(r"\bcall\('([A-Z]+)'")
    used = {name.lower() for path in sources for name in calls.findall(path.read_text("utf-8"))}
    assert len(used) > 20
    assert used <= {rule.removeprefix("+") for rule in acl_line()}


# -- poisoned keys

POISONS = {
    "string": ("SET", "poison"),
    "set": ("SADD", "poison"),
    "list": ("RPUSH", "poison"),
    "hash": ("HSET", "poison", "x"),
    "sorted set": ("ZADD", "1", "poison"),
    "stream": ("XADD", "*", "poison", "x"),
}
GARBAGE = {
    "empty": b"",
    "text": b"poison",
    "bytes": b"\x00\xff\xfe\x80" * 8,
    "JSON": b'{"type":"Iframe","namespace":"dash_html_components","props":{}}',
    "long": b"x" * 100_000,
}


@asynccontextmanager
async def after_use(server, store):
    """Yield the keys that an app leaves in Redis, and what uses them again."""
    app, pubsub = make_app(server.url)
    expected = await use(app, pubsub, server.url)
    keys = sorted(key for key in store.scan_iter() if store.type(key) != b"none")
    assert len(keys) >= 4

    async def again():
        app, pubsub = make_app(server.url)
        async with asyncio.timeout(60):
            return await use(app, pubsub, server.url)

    assert await again() == expected
    yield keys, again, expected


@pytest.mark.parametrize("poison", POISONS)
async def test_13_g_keys_of_the_wrong_type_do_not_keep_an_app_from_working(server, store, poison):
    async with after_use(server, store) as (keys, again, expected):
        name, *arguments = POISONS[poison]
        for key in keys:
            store.delete(key)
            store.execute_command(name, key, *arguments)
        assert await again() == expected


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_13_garbage_in_redis_does_not_keep_an_app_from_working(server, store, garbage):
    async with after_use(server, store) as (keys, _, _):
        for key in keys:
            kind = store.type(key)
            if kind == b"hash":
                for field in store.hkeys(key):
                    store.hset(key, field, GARBAGE[garbage])
            elif kind == b"list":
                for place in range(store.llen(key)):
                    store.lset(key, place, GARBAGE[garbage])
            elif kind == b"string":
                store.set(key, GARBAGE[garbage])
        # What the values were is lost, or the call says so; no page gets a 500.
        app, _ = make_app(server.url)
        async with asyncio.timeout(60), FlashClient(app) as client:
            assert (await client.get("/")).status == 200
            assert (await client.get("/_dash-layout")).status == 200


# -- the signing key


def stored_key(store):
    return [
        value
        for key in store.keys("*secret*")
        if store.type(key) == b"hash"
        for field, value in store.hgetall(key).items()
        if field == b"secret"
    ]


def test_13_g_a_key_is_encrypted_and_authenticated():
    key = bytes(range(32))
    hidden = encrypt(key, "of the deployment")
    assert key not in hidden
    assert encrypt(key, "of the deployment") != hidden
    assert decrypt(hidden, "of the deployment") == key
    for at in range(7, len(hidden), 9):
        changed = hidden[:at] + bytes([hidden[at] ^ 1]) + hidden[at + 1 :]
        with pytest.raises(WrongSecretKey):
            decrypt(changed, "of the deployment")
    for text in (hidden[:-1], hidden[:20], b"flash1:", hidden + b"x"):
        with pytest.raises(WrongSecretKey):
            decrypt(text, "of the deployment")
    with pytest.raises(WrongSecretKey, match="the same"):
        decrypt(hidden, "of another")


async def signs_with(url):
    app, _ = make_app(url, key=None)
    async with FlashClient(app):
        return app.signing_secret()


async def test_13_g_without_a_secret_the_key_is_in_clear_and_a_warning_says_so(
    server, store, caplog
):
    key = await signs_with(server.url)
    assert any(key in value for value in stored_key(store))
    assert "is stored in Redis in clear: set app.server.secret_key, or FLASH_SECRET_KEY" in (
        caplog.text
    )


async def test_13_g_the_key_is_stored_encrypted_under_the_secret_of_the_deployment(
    server, store, caplog, monkeypatch
):
    before = await signs_with(server.url)
    caplog.clear()
    monkeypatch.setenv(ENCRYPTION_VARIABLE, "of the deployment")
    # The key of before stays, and is no longer in clear.
    assert await signs_with(server.url) == before
    assert stored_key(store)
    assert not any(before in value for value in stored_key(store))
    assert await signs_with(server.url) == before
    assert "in clear" not in caplog.text
    monkeypatch.setenv(ENCRYPTION_VARIABLE, "of another")
    with pytest.raises(Exception, match="another FLASH_SECRET_KEY"):
        await signs_with(server.url)
    monkeypatch.delenv(ENCRYPTION_VARIABLE)
    with pytest.raises(Exception, match="another FLASH_SECRET_KEY"):
        await signs_with(server.url)
