"""S2: `live` and `pubsub` of the current app, imported from `flash` by any module of an app."""

import asyncio
import json
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
from broker_worlds import until
from redis_servers import free_port
from websockets.asyncio.client import connect

import flash
from flash import ConfigurationError, Flash, Input, Output, html
from flash.testing import FlashClient

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "packages" / "flash-ws" / "tests"

# What a script of these tests can use: a page that speaks to an app in the same process.
START = f"""
import asyncio, sys
sys.path[:0] = ["", {str(HELPERS)!r}]
from page import connected, serving

def props(frame):
    return frame["p"][0][1] if "p" in frame else frame
"""


@pytest.fixture
def project(tmp_path):
    """Writes modules, and runs a script beside them in another process."""

    def run(files, script):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", START + textwrap.dedent(script)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


APP = """
from flash import Flash, html
app = Flash(__name__)
app.layout = html.Div(id="out")
"""

# Imported by the app, before or after it is made.
EVENTS = """
from flash import live

@live.on_event("echo")
async def echo(text):
    await live.push("out", {"children": f"{text} to {live.client.id == first}"}, to=live.client)

first = None

@live.on_connect
def remember(client):
    global first
    first = client.id

async def tell(text):
    await live.push("out", {"children": text})
"""

TALK = """
    page = await connected(app)
    page.send({"t": "event", "name": "echo", "data": "hello"})
    assert "hello to True" in str(await page.frame())
    await events.tell("from a module")
    assert "from a module" in str(await page.frame())
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_s2_modules_declare_before_or_after_the_app_exists(project, order):
    imported = f"import events\n{APP}" if order == "before" else f"{APP}\nimport events\n"
    files = {"app.py": imported, "events.py": EVENTS}
    script = f"""
from app import app
import events

async def main():
  async with serving(app):
{TALK}
asyncio.run(main())
"""
    project(files, script)


def test_s2_a_module_that_is_imported_after_the_app_by_another_declares_for_it(project):
    script = f"""
from app import app
import events

async def main():
  async with serving(app):
{TALK}
asyncio.run(main())
"""
    project({"app.py": APP, "events.py": EVENTS}, script)


def test_s2_every_app_of_a_factory_has_what_the_modules_declare(project):
    factory = """
    import events
    from flash import Flash, html

    def create_app():
        app = Flash(__name__)
        app.layout = html.Div(id="out")
        return app
    """
    script = f"""
import events
from app import create_app

async def main():
  for _ in range(2):
   app = create_app()
   async with serving(app):
{TALK}
asyncio.run(main())
"""
    project({"app.py": factory, "events.py": EVENTS}, script)


PAGE = """
import flash
from flash import Input, Output, html, live, pubsub

flash.register_page(__name__, path="/")
layout = html.Div([html.P(id="price"), html.P(id="total"), html.Button(id="add")])

@pubsub.channel_callback("prices", Output("price", "children"))
def show(message):
    return message["price"]

@pubsub.shared_callback(Output("total", "children"), Input("add", "n_clicks"))
def total(clicks):
    return clicks

@pubsub.feeder("ticks")
async def ticks():
    import asyncio
    while True:
        await asyncio.sleep(60)
        yield 1

@live.websocket("/echo")
async def echo(connection):
    async for message in connection:
        await connection.send(message)

@live.sse("/stream")
async def stream(request):
    yield "one"

@live.event_callback(Input("add", "n_clicks"))
async def clicked(clicks):
    yield "add", {"title": str(clicks)}

async def publish(price):
    await pubsub.publish("prices", {"price": price})
"""


def test_s2_pages_declare_channels_shared_callbacks_feeders_and_endpoints(project):
    app = """
    from flash import Flash, page_container
    app = Flash(__name__, use_pages=True)
    app.layout = page_container
    """
    script = """
    from app import app
    from flash import pubsub, live
    from flash.testing import FlashClient
    page_module = sys.modules["pages.home"]

    async def main():
      async with FlashClient(app) as client:
        assert (await client.get("/stream")).text.count("data: one") == 1
        page = await connected(app)
        await page_module.publish(7)
        assert "7" in str(await page.frames(2))
        names = app.page_extras["flash_pubsub"]["shared"]
        assert len(names) == 1
        assert pubsub.live.endpoints is live.endpoints
        listed = (await client.get("/_dash-dependencies")).text
        assert listed.count('"add"') >= 2, listed
    asyncio.run(main())
    """
    project({"app.py": app, "pages/home.py": PAGE}, script)


def test_s2_an_explicit_live_with_settings_takes_what_pages_declared(project):
    app = """
    from flash import Flash, html, page_container
    from flash_ws import Live
    app = Flash(__name__, use_pages=True)
    app.layout = page_container
    asked = []

    def authorize(request):
        asked.append(request)
        return "ann"

    live = Live(app, authorize=authorize)
    """
    script = """
    import app as module
    from flash import live
    from flash_ws.callbacks.deferred import LiveRegistry

    async def main():
        async with serving(module.app):
            await connected(module.app)
            assert module.asked
            assert live.app is module.live.app
            assert LiveRegistry.of(live.app).part is module.live
    asyncio.run(main())
    """
    project({"app.py": app, "pages/home.py": PAGE}, script)


TWO = {
    "a.py": """
    from flash import Flash, html, live

    @live.on_event("who")
    async def who(data):
        await live.push("out", {"children": "a"})

    app = Flash(__name__)
    app.layout = html.Div(id="out")
    """,
    "b.py": """
    from flash import Flash, html, live

    @live.on_event("who")
    async def who(data):
        await live.push("out", {"children": "b"})

    app = Flash(__name__)
    app.layout = html.Div(id="out")
    """,
    "c.py": """
    from flash import Flash, html

    app = Flash(__name__)
    app.layout = html.Div(id="out")
    """,
}


def test_s2_several_apps_of_a_process_each_have_their_own(project):
    script = """
    import a, b, c, threading
    from flash import ConfigurationError
    from flash_ws.current import live

    async def main():
        async with serving(a.app), serving(b.app), serving(c.app):
            pages = [await connected(each.app) for each in (a, b)]
            for page in pages:
                page.send({"t": "event", "name": "who", "data": None})
            for page, name in zip(pages, "ab"):
                assert f"'{name}'" in str(await page.frame())
            assert "flash_link" in a.app.page_extras and "flash_link" in b.app.page_extras
            # It uses nothing of the link, and its pages open none.
            assert "flash_link" not in c.app.page_extras
            failure = []

            def alone():
                try:
                    live.push_threadsafe("out", {"children": 1})
                except ConfigurationError as error:
                    failure.append(error)

            thread = threading.Thread(target=alone)
            thread.start()
            await asyncio.to_thread(thread.join)
            assert "belongs to none of the 3 apps" in str(failure[0])
    asyncio.run(main())
    """
    project(TWO, script)


def test_s2_a_thread_of_the_apps_own_pushes(project):
    script = """
    from app import app
    from flash import live
    import threading

    async def main():
        async with serving(app):
            page = await connected(app)
            threading.Thread(
                target=lambda: live.push_threadsafe("out", {"children": "thread"})
            ).start()
            assert "thread" in str(await page.frame())
    asyncio.run(main())
    """
    project({"app.py": APP + "\nfrom flash import live"}, script)


@pytest.mark.parametrize("how", ["flash run", "python app.py"])
async def test_s2_it_is_the_same_however_the_app_is_started(how, tmp_path):
    port = free_port()
    (tmp_path / "events.py").write_text(EVENTS)
    (tmp_path / "app.py").write_text(
        f"{APP}\nimport events\nif __name__ == '__main__':\n    app.run(port={port})\n"
    )
    command = ["-m", "flash.cli", "run", "--bind", f"127.0.0.1:{port}"]
    if how == "python app.py":
        command = ["app.py"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=tmp_path)
    try:
        link = await until(lambda: opened(port), seconds=60)
        await link.send('[{"t": "hello", "v": 1, "page": null, "at": {}, "path": "/"}]')
        await link.send('[{"t": "event", "name": "echo", "data": "hello"}]')
        async with asyncio.timeout(30):
            while "hello to True" not in await link.recv():
                pass
        await link.close()
    finally:
        process.terminate()
        await process.wait()


async def opened(port):
    with suppress(OSError):
        return await connect(f"ws://127.0.0.1:{port}/_flash/link")


# -- what is not there, and what cannot be --------------------------------------------------------


def test_s2_a_name_whose_package_is_not_installed_says_how_to_install_it():
    for name, package, extra in (
        ("live", "flash_ws", "ws"),
        ("pubsub", "flash_pubsub", "pubsub"),
        ("lazy", "flash_lazy", "lazy"),
    ):
        code = f"import sys; sys.modules[{package!r}] = None\nfrom flash import {name}"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        expected = (
            f'flash.{name} needs {package.replace("_", "-")}: pip install "flash-core[{extra}]"'
        )
        assert expected in result.stderr


def test_s2_nothing_is_loaded_into_pages_that_use_nothing_of_it(project):
    script = """
    from app import app
    from flash.testing import FlashClient

    async def main():
        async with FlashClient(app) as client:
            html = (await client.get("/")).text
            assert not [each for each in ("flash_ws", "flash_pubsub", "flash_link") if each in html]
        assert not {"flash_ws", "flash_pubsub", "flash_lazy"} & set(sys.modules)
    asyncio.run(main())
    """
    project({"app.py": APP}, script)


def test_s2_a_star_import_needs_no_add_on():
    assert not {"live", "pubsub", "lazy"} & set(flash.__all__)
    assert {"live", "pubsub", "lazy"} <= set(dir(flash))


def test_s2_a_wrong_declaration_is_an_error_at_its_own_line():
    from flash import live, pubsub

    with pytest.raises(ConfigurationError, match="must be an async generator"):

        @live.event_callback(Input("a", "b"))
        def plain(value):
            return value

    with pytest.raises(TypeError, match="acepts_components"):
        live.on_event("x", acepts_components=True)
    with pytest.raises(ConfigurationError, match=r"timeout=-1.*test_current_app\.py"):
        pubsub.channel_callback("prices", Output("a", "b"), timeout=-1)
    with pytest.raises(AttributeError, match="has no attribute 'pusch'"):
        live.pusch("a", {})  # type: ignore[attr-defined]


async def test_s2_what_an_app_cannot_have_yet_is_refused_with_the_remedy():
    from flash import live

    app = Flash(__name__)
    app.layout = html.Div()
    with pytest.raises(ConfigurationError, match=r"live\.push is used before the app is served"):
        live.push("a", {"children": 1})
    del app


async def test_s2_a_declaration_after_the_start_of_an_app_without_a_link_is_refused(project):
    script = """
    from flash import Flash, html
    app = Flash("other")
    app.layout = html.Div()

    async def main():
        async with serving(app):
            from flash_ws.current import live
            try:
                live.on_event("late")(print)
            except Exception as error:
                print(error)
    asyncio.run(main())
    """
    assert "from flash import live" in project({}, script)


async def test_s2_lazy_is_that_of_flash_lazy():
    import flash_lazy

    assert flash.lazy is flash_lazy.lazy


async def test_s2_a_page_of_an_app_opens_the_link_if_a_module_imported_live():
    from flash import live

    app = Flash(__name__)
    app.layout = html.Div()
    async with FlashClient(app) as client:
        assert "flash_link" in (await client.get("/")).text
        assert live.statistics().connected == 0


def test_s2_a_table_of_a_module_is_that_of_the_app_that_is_made_later(project):
    books = """
    from flash import pubsub

    orders = pubsub.table("orders", key="id", columns=["id"])
    """
    script = """
    import books
    from flash import Flash, html
    from flash.testing import FlashClient

    try:
        asyncio.run(books.orders.upsert({"id": 0}))
    except Exception as error:
        print(error)
    print("---")

    app = Flash("later")
    app.layout = html.Div()

    @app.server.get("/write")
    async def write():
        await books.orders.upsert({"id": 1})
        return {"rows": await books.orders.rows()}

    @app.server.get("/thread")
    def write_in_thread():
        books.orders.upsert_threadsafe({"id": 2})
        return {"rows": books.orders.rows_threadsafe()}

    async def main():
        async with FlashClient(app) as client:
            print((await client.get("/write")).text.strip(), "---", sep="\\n")
            print((await client.get("/thread")).text.strip(), "---", sep="\\n")
            print("flash_table" in (await client.get("/")).text)
    asyncio.run(main())
    """
    output = project({"books.py": books}, script)
    told, written, more, script_of_tables = output.split("\n---\n")
    assert "a table is used before its app is served" in told
    assert json.loads(written) == {"rows": [{"id": 1}]}
    assert json.loads(more) == {"rows": [{"id": 1}, {"id": 2}]}
    assert script_of_tables.strip() == "True"
