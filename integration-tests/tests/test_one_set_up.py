"""What one set-up promises: S1 one Redis for all parts of an app."""

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import quart
from broker_worlds import until
from documents import PATIENCE
from quart import session
from redis_servers import redis_cluster, redis_sentinel, redis_server

from flash import AsyncManager, ConfigurationError, Flash, Input, Output, RedisManager, html
from flash.errors import FlashError
from flash.redis.address import parse_url
from flash.testing import FlashClient
from flash_lazy import MemoryCache, RedisCache, lazy
from flash_lazy.panels import panels_of
from flash_pubsub import MemoryBroker, PubSub, RedisBroker

__all__ = ["redis_cluster", "redis_sentinel", "redis_server"]


@lazy
async def panel():
    return html.P("loaded")


@pytest.fixture
def url(redis_server):
    return f"{redis_server.url}?prefix=shop"


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    for name in ("FLASH_REDIS_URL", "FLASH_BROKER_URL", "FLASH_WORKERS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)


def with_job(app):
    app.layout = html.Div([html.Button(id="go"), html.P(id="out")])

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
    async def work(clicks):
        return f"done {clicks}"

    return app


@asynccontextmanager
async def started(app):
    await app.server.startup()
    try:
        yield app
    finally:
        await app.server.shutdown()


# -- S1: one Redis for all parts of an app --------------------------------------------------------


async def parts_of(app):
    pubsub = PubSub(app)
    async with started(app):
        return pubsub.broker, app.background_manager, panels_of(app).cache


@pytest.mark.parametrize("given", ["argument", "environment"])
async def test_s1_one_address_is_that_of_every_part(url, monkeypatch, given):
    if given == "environment":
        monkeypatch.setenv("FLASH_REDIS_URL", url)
    app = with_job(Flash(__name__, redis=url) if given == "argument" else Flash(__name__))
    broker, manager, cache = await parts_of(app)
    assert isinstance(broker, RedisBroker)
    assert broker.address == parse_url(url)
    assert isinstance(manager, RedisManager)
    assert manager.prefix == "shop:background:"
    assert isinstance(cache, RedisCache)


async def test_s1_without_an_address_every_part_is_in_memory():
    broker, manager, cache = await parts_of(with_job(Flash(__name__)))
    assert isinstance(broker, MemoryBroker)
    assert isinstance(manager, AsyncManager)
    assert isinstance(cache, MemoryCache)


async def test_s1_an_app_can_stay_in_memory_where_the_environment_has_an_address(url, monkeypatch):
    monkeypatch.setenv("FLASH_REDIS_URL", url)
    broker, manager, cache = await parts_of(with_job(Flash(__name__, redis="memory://")))
    assert isinstance(broker, MemoryBroker)
    assert isinstance(manager, AsyncManager)
    assert isinstance(cache, MemoryCache)


async def test_s1_each_part_can_have_its_own(url, monkeypatch):
    own = AsyncManager()
    app = with_job(Flash(__name__, redis=url, background_callback_manager=own))
    pubsub = PubSub(app, broker="memory://")
    async with started(app):
        assert isinstance(pubsub.broker, MemoryBroker)
        assert app.background_manager is own
    monkeypatch.setenv("FLASH_BROKER_URL", "memory://")
    assert isinstance(PubSub(Flash(__name__, redis=url)).broker, MemoryBroker)


def test_s1_a_pubsub_made_before_its_app_gets_the_broker_of_the_app(url):
    pubsub = PubSub()
    assert isinstance(pubsub.broker, MemoryBroker)
    pubsub.init_app(Flash(__name__, redis=url))
    assert isinstance(pubsub.broker, RedisBroker)


def plain(url):
    app = Flash(__name__, redis=url)
    app.layout = html.Div()
    return app


async def test_s1_workers_sign_with_one_key_that_redis_keeps(url, redis_server):
    async with started(plain(url)) as one, started(plain(url)) as two:
        assert two.page_of(one.new_page_identity())
        keyed = plain(url)
        keyed.server.secret_key = "its own"
        async with started(keyed):
            assert keyed.page_of(one.new_page_identity()) is None
    with redis_server.client() as client:
        assert client.exists("shop:signing-key")


async def test_s1_a_lost_signing_key_is_written_again(url, redis_server, monkeypatch):
    monkeypatch.setattr("flash.signing_key._LOOK_EVERY", 0.02)
    async with started(plain(url)) as one:
        with redis_server.client() as client:
            client.delete("shop:signing-key")
            await until(lambda: client.exists("shop:signing-key"))
        async with started(plain(url)) as two:
            assert two.page_of(one.new_page_identity())


async def test_s1_a_background_callback_needs_no_manager(url):
    for app in (with_job(Flash(__name__)), with_job(Flash(__name__, redis=url))):
        async with started(app):
            assert app.background_manager is not None


def counting(url):
    app = Flash(__name__, redis=url, sessions="redis")
    app.server.secret_key = "of the test"
    app.layout = html.Div()

    @app.server.get("/count")
    async def count():
        session["count"] = session.get("count", 0) + 1
        return str(session["count"])

    return app


async def test_s1_sessions_are_in_redis_if_asked_for_and_any_worker_reads_them(url, redis_server):
    async with FlashClient(counting(url)) as one, FlashClient(counting(url)) as two:
        first = await one.get("/count")
        cookie = first.headers["set-cookie"].partition(";")[0]
        again = await two.get("/count", headers={"Cookie": cookie})
        assert (first.text, again.text) == ("1", "2")
    with redis_server.client() as client:
        assert list(client.scan_iter("shop:session:*"))


async def test_s1_sessions_are_kept_behind_sentinels_and_in_a_cluster(
    redis_sentinel, redis_cluster
):
    for deployment in (redis_sentinel, redis_cluster):
        async with FlashClient(counting(deployment.url)) as client:
            await client.get("/count")
            assert (await client.get("/count")).text == "2"


def test_s1_what_cannot_be_is_refused_with_the_remedy(url):
    with pytest.raises(ConfigurationError, match=r'sessions="redis" needs .*FLASH_REDIS_URL'):
        Flash(__name__, sessions="redis")
    with pytest.raises(ConfigurationError, match="'cookie' or 'redis'; did you mean 'redis'"):
        Flash(__name__, redis=url, sessions="rediss")  # type: ignore[arg-type]
    with pytest.raises(FlashError, match="unknown scheme 'http'"):
        Flash(__name__, redis="http://example.org")


def test_s1_sessions_on_a_server_of_the_apps_own_are_refused(url):
    with pytest.raises(ConfigurationError, match="not made by Flash: leave out server="):
        Flash(__name__, server=quart.Quart(__name__), redis=url, sessions="redis")


@pytest.mark.parametrize("redis", [False, True])
@pytest.mark.parametrize("name", ["live", "pubsub"])
def test_1_2_what_is_attached_at_the_start_is_checked_before_it(tmp_path, name, redis):
    """`flash check` starts nothing, and yet knows the parts that the start would attach."""
    declared = {
        "live": "@live.on_connect\nasync def hello(client): ...",
        "pubsub": "@pubsub.shared_callback(Output('a', 'children'), Input('b', 'value'))\n"
        "def same(value): return value",
    }
    (tmp_path / "app.py").write_text(
        f"from flash import Flash, Input, Output, html, {name}\n"
        "app = Flash(__name__, allowed_hosts=['example.org'])\n"
        "app.server.secret_key = 'x' * 40\n"
        f"app.layout = html.Div([html.P(id='a'), html.P(id='b')])\n{declared[name]}\n"
    )
    environment = {**os.environ, **({"FLASH_REDIS_URL": "redis://10.0.0.1:6379"} if redis else {})}
    checked = subprocess.run(
        [sys.executable, "-m", "flash.cli", "check", "--deploy", "--workers", "2", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    found = {risk["check"] for risk in json.loads(checked.stdout)["risks"]}
    # A Redis elsewhere, without a password and without TLS.
    assert found >= ({"redis"} if redis else {"memory"}), checked.stdout
    assert "memory" not in found or not redis, checked.stdout
