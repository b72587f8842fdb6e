"""S3: several workers are right or refused, and what cannot be known at the start is warned of."""

import asyncio
import logging
import re
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from broker_worlds import until
from documents import fetch
from page import Page, connected, serving
from redis_servers import free_port, redis_server, wait_for
from websockets.asyncio.client import connect

from flash import AsyncManager, ConfigurationError, Flash, Input, Output, html
from flash.testing import AppProcess
from flash_ws import Live, MemoryBackplane

__all__ = ["redis_server"]

REMEDY = re.escape('Flash(__name__, redis="redis://…") or FLASH_REDIS_URL=redis://…')


@pytest.fixture
def three_workers(monkeypatch):
    monkeypatch.setenv("FLASH_WORKERS", "3")


def make(**settings):
    app = Flash(__name__, **settings)
    app.layout = html.Div(id="out")
    return app


# -- refused at the start -------------------------------------------------------------------------


@pytest.mark.usefixtures("three_workers")
async def test_s3_a_live_link_in_memory_is_refused():
    app = make()
    Live(app)
    with pytest.raises(ConfigurationError, match=rf"^3 workers \(FLASH_WORKERS\).*{REMEDY}"):
        await app.server.startup()


@pytest.mark.usefixtures("three_workers")
async def test_s3_background_jobs_in_memory_are_refused():
    for settings in ({}, {"background_callback_manager": AsyncManager()}):
        app = make(**settings)

        @app.callback(Output("out", "children"), Input("out", "title"), background=True)
        async def work(title):
            return title

        with pytest.raises(ConfigurationError, match=rf"AsyncManager.*{REMEDY}"):
            await app.server.startup()


@pytest.mark.usefixtures("three_workers")
async def test_s3_what_reaches_no_other_worker_is_allowed():
    # In a process of its own: live loaders of other tests would need a link.
    code = """
import asyncio
from flash import AsyncManager, Flash, html
from flash.testing import FlashClient

app = Flash("app", background_callback_manager=AsyncManager())
app.layout = html.Div()

async def main():
    async with FlashClient(app) as client:
        assert (await client.get("/")).status == 200

asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
    app = make()
    Live(app, backplane=MemoryBackplane())
    async with serving(app):
        await connected(app)


def test_s3_flash_run_says_so_in_one_line(tmp_path):
    (tmp_path / "app.py").write_text(
        "from flash import Flash, html, live\napp = Flash(__name__)\napp.layout = html.Div()\n"
    )
    command = [sys.executable, "-m", "flash.cli", "run", "--workers", "3", "--bind", "127.0.0.1:0"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert re.search(rf"^flash: .*3 workers .*{REMEDY}", result.stderr, re.MULTILINE)


# -- right ----------------------------------------------------------------------------------------


def test_s3_workers_of_one_command_sign_with_a_common_key(tmp_path):
    (tmp_path / "app.py").write_text(
        "import os\nfrom flash import Flash, html\napp = Flash(__name__)\napp.layout = html.Div()\n"
        "@app.server.get('/identity')\n"
        "async def identity():\n    return f'{os.getpid()} {app.new_page_identity()}'\n"
        "@app.server.get('/check/<path:token>')\n"
        "async def check(token):\n    return f'{os.getpid()} {app.page_of(token) is not None}'\n"
    )
    arguments = ["--workers", "2"]
    with AppProcess(tmp_path / "app.py", arguments=arguments, timeout=180) as process:

        def get(path):
            return fetch(f"{process.url}{path}")[1].split(" ")

        made, token = get("/identity")

        def by_another():
            worker, known = get(f"/check/{token}")
            assert known == "True"
            return worker != made

        wait_for(by_another)


@asynccontextmanager
async def two_workers(url):
    apps = []
    for _ in range(2):
        app = make(redis=url)
        live = Live(app)

        @live.websocket("/room")
        async def room(connection, live=live):
            connection.join("all")
            async for message in connection:
                await live.connections("all").send(message)

        apps.append(app)
    async with serving(apps[0]), serving(apps[1]):
        yield apps


async def test_s3_a_link_reaches_other_workers_by_the_redis_of_the_app(redis_server):
    async with two_workers(redis_server.url) as (one, two):
        page = await connected(two)
        await Live_of(one).push("out", {"children": "from the other"})
        assert "from the other" in str(await page.frames(2))


async def test_s3_groups_of_endpoints_span_workers_once_redis_is_there(redis_server):
    async with two_workers(redis_server.url) as (one, two):
        here, there = [await Page(app, path="/room").open() for app in (one, two)]
        await until(lambda: all(len(Live_of(app).connections("all")) for app in (one, two)))
        for send, payload in (("send_text", "text"), ("send_bytes", b"\x00\xff")):
            getattr(here, send)(payload)
            for page in (here, there):
                event = await page._next()
                assert payload in (event.get("text"), event.get("bytes"))
        await asyncio.to_thread(Live_of(one).connections("all").send_threadsafe, "thread")
        for page in (here, there):
            assert (await page._next())["text"] == "thread"


def Live_of(app):  # noqa: N802
    from flash_ws.callbacks.deferred import LiveRegistry

    return LiveRegistry.of(app).part


# -- warned of, under servers that Flash does not start -------------------------------------------


async def test_s3_a_page_that_another_process_made_is_warned_of_once(caplog):
    one, two = make(), make()
    for app in (one, two):
        app.server.secret_key = "the same"
        Live(app)
    async with serving(one), serving(two):
        position = Live_of(one)._positions_for_page()["at"]
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                await connected(two, at={name: list(each) for name, each in position.items()})
    found = [each.getMessage() for each in caplog.records if "another process" in each.getMessage()]
    assert len(found) == 1
    assert re.search(rf"the HTML of a page comes from another process.*{REMEDY}", found[0])


async def test_s3_a_page_that_is_signed_by_another_process_is_warned_of(caplog):
    one, two = make(), make()
    async with serving(one), serving(two):
        with caplog.at_level(logging.WARNING):
            assert two.page_of(one.new_page_identity()) is None
    assert "the signed identity of a page comes from another process" in caplog.text


async def test_s3_a_single_process_warns_of_nothing(caplog):
    app = make()
    live = Live(app)
    async with serving(app):
        page = await connected(app, at=live._positions_for_page()["at"])
        await connected(app, page.token, page.positions)
    assert "another process" not in caplog.text


async def test_s3_gunicorn_gives_the_same_warning(tmp_path):
    """Two processes of a server that Flash does not start, one page."""
    (tmp_path / "app.py").write_text(
        "from flash import Flash, html, live\napp = Flash(__name__)\napp.layout = html.Div()\n"
        "app.server.secret_key = 'same'\nserver = app.server\n"
    )
    port = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "app:server", "--workers", "2"),
        *("--worker-class", "uvicorn_worker.UvicornWorker", "--bind", f"127.0.0.1:{port}"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    try:
        lines = asyncio.create_task(process.stderr.read())

        async def page():
            return await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/")

        async def html_of_a_page():
            try:
                return await page()
            except OSError:
                return None

        _, text = await until(html_of_a_page, seconds=60)
        at = re.search(r'"at":(\{.*?\]\})', text)[1]
        for _ in range(60):
            # The second worker may still be starting.
            await asyncio.sleep(0.1)
            link = await connect(f"ws://127.0.0.1:{port}/_flash/link")
            await link.send(f'[{{"t": "hello", "v": 1, "page": null, "at": {at}, "path": "/"}}]')
            await link.recv()
            await link.close()
    finally:
        process.terminate()
        await process.wait()
    assert b"comes from another process" in await lines
