"""`docs/pubsub.md`: each of its apps is served and used as its text says."""

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from documents import PATIENCE, connected, fetch
from redis_servers import RedisServer, wait_for

from flash.testing import AppProcess
from flash_pubsub import Publisher

pytest_plugins = ["flash.testing.plugin"]


DOCUMENT = "pubsub.md"
README = Path(__file__).parents[2] / "packages/flash-pubsub/README.md"

# The store that the document's addresses name.
WRITTEN = "redis://127.0.0.1:6379/0"

FIGURES = [
    "flash_broker_ready",
    "flash_broker_lag_seconds",
    "flash_broker_subscribed",
    "flash_broker_published_total",
    "flash_channel_skipped_total",
    "flash_shared_fenced_total",
]

SLIDER = "return dash_component_api.getLayout('brightness').props.value"
DRAG = "dash_clientside.set_props('brightness', {value: arguments[0]})"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def with_redis(served, redis_server):
    """Write the app of a chapter, which shall speak to the tests' own Redis."""

    def write(heading):
        path = served(heading)
        code = path.read_text(encoding="utf-8")
        path.write_text(code.replace(WRITTEN, redis_server.url), encoding="utf-8")
        return path

    return write


@pytest.fixture
def broker(redis_server):
    """The environment in which apps and commands find the tests' own Redis."""
    return {"FLASH_BROKER_URL": redis_server.url}


def test_every_app_of_the_document_is_run_by_a_test(document):
    text = Path(__file__).read_text(encoding="utf-8")
    used = re.findall(r"(?:shown|served|with_redis)\(\s*\"(.+?)\"", text)
    assert set(document.blocks("python")) == set(used)
    assert set(document.blocks("sh")) <= set(used)


def shines(tab, value):
    return tab.find("#lamp").get_attribute("style") == f"opacity: {value / 100:g};"


def shows(tab, value):
    """Wait until a tab shows the brightness, on the slider and by the lamp."""
    tab.wait_for(lambda: tab.run_js(SLIDER) == value, f"the slider at {value}")
    tab.wait_for(lambda: shines(tab, value), f"the lamp at {value}")


def test_two_pages_share_a_slider_and_a_third_begins_with_it(shown):
    page = shown("The first shared callback")
    other = connected(page.new_user("/"))
    shows(page, 20)
    page.run_js(DRAG, 55)
    shows(other, 55)
    other.wait_for_text("#reading", "55 %")
    other.run_js(DRAG, 70)
    shows(page, 70)
    late = page.new_user("/_dash-layout")
    assert '"value":70' in late.text("body").replace(" ", "")


def test_every_message_of_a_channel_is_shown_to_every_page(shown):
    page = shown("Channels")
    other = connected(page.new_user("/"))
    page.click("#trade")
    page.click("#trade")
    for tab in (page, other):
        tab.wait_for_text("#last", "101.00")
        tab.wait_for_text("#total", "2 trades")
        tab.wait_for(lambda tab=tab: tape(tab) == [1, 2], "both points")
    # Later, and shown what the last message set.
    late = connected(page.new_user("/"))
    late.wait_for_text("#last", "101.00")


def tape(tab):
    return tab.run_js("return document.querySelector('#tape .js-plotly-plot')?.data[0].x")


def test_a_page_that_comes_later_shows_earlier_messages(shown):
    page = shown("Earlier messages")
    for _ in range(3):
        page.click("#trade")
    page.wait_for(lambda: tape(page) == [1, 2, 3])
    late = connected(page.new_user("/"))
    for tab in (page, late):
        for name in ("tape", "bars"):
            tab.wait_for(lambda tab=tab, name=name: points(tab, name) == [1, 2, 3], name)
    page.click("#trade")
    for tab in (page, late):
        for name in ("tape", "bars"):
            tab.wait_for(lambda tab=tab, name=name: points(tab, name) == [1, 2, 3, 4], name)


def points(tab, name):
    script = "return document.querySelector(`#${arguments[0]} .js-plotly-plot`)?.data[0].x"
    return tab.run_js(script, name)


def test_a_room_is_for_those_who_have_its_key(shown):
    page = shown("Channels of a pattern")
    page.type("#room", "7", enter=True)
    page.wait_for_text("#door", "denied")
    page.type("#say", "not heard", enter=True)
    page.open("/key/7")
    connected(page)
    other = connected(page.new_tab("/"))
    for tab in (page, other):
        tab.type("#room", "7", enter=True)
        tab.wait_for_text("#door", "subscribed")
    page.type("#say", "hello", enter=True)
    for tab in (page, other):
        tab.wait_for_text("#board", "7: hello")


def test_a_room_shares_its_values_and_its_pushes_with_its_pages_only(shown):
    page = shown("Rooms")
    other = connected(page.new_user("/desk/7"))
    third = connected(page.new_user("/desk/8"))
    page.wait_for_text("#place", "Choose a desk")
    page.open("/desk/7")
    other.wait_for_text("#present", "2 here")
    third.wait_for_text("#present", "1 here")
    page.run_js("dash_clientside.set_props('unrest', {value: 9})")
    for tab in (page, other):
        tab.wait_for_text("#note", "Desk 7: 9 of 10")
    third.wait_for_text("#note", "Desk 8: 2 of 10")
    third.click("#ring")
    third.wait_for_text("#bell", "ring 1")
    other.click("#ring")
    for tab in (page, other):
        tab.wait_for_text("#bell", "ring 1")
    page.run_js("dash_clientside.set_props('url', {pathname: '/'})")
    page.wait_for_text("#place", "Choose a desk")
    page.wait_for(lambda: page.text("#note") == "", "what it showed before")


def test_a_script_and_the_shell_publish_to_an_app(
    document, flash_browser, with_redis, served, tmp_path, broker
):
    script = tmp_path / "script.py"
    script.write_text(with_redis("Publishing from elsewhere").read_text(encoding="utf-8"))
    flash_browser.timeout = PATIENCE
    flash_browser.serve(served("Channels"), env=broker)
    connected(flash_browser)
    subprocess.run([sys.executable, script], check=True, timeout=PATIENCE)
    flash_browser.wait_for_text("#last", "101.00")
    flash_browser.wait_for_text("#total", "2 trades")
    first, *commands = document.blocks("sh")["Publishing from elsewhere"].splitlines()
    assert first == f"export FLASH_REDIS_URL={WRITTEN}"
    published, tailed, channels, who = [run(shlex.split(each), broker) for each in commands]
    assert json.loads(published)["seq"] == 3
    assert json.loads(tailed)["data"] == {"t": 4, "p": 102}
    assert "prices" in channels.splitlines()
    assert who == ""
    flash_browser.wait_for_text("#last", "102.00")
    flash_browser.wait_for_text("#total", "4 trades")


def run(command, env):
    """Run a command of the shell's, and return what it prints."""
    name, *arguments = command
    command = [Path(sys.executable).with_name(name), *arguments]
    process = subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True
    )
    try:
        printed = None
        while printed is None:
            if "tail" in arguments:
                # It hears what is published once it listens.
                with Publisher(env["FLASH_BROKER_URL"]) as publisher:
                    publisher.publish("prices", {"t": 4, "p": 102})
            with suppress(subprocess.TimeoutExpired):
                printed, _ = process.communicate(timeout=0.5)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    return printed


def test_a_message_that_does_not_fit_is_refused_with_the_reason(served):
    with AppProcess(served("Messages that fit")) as app:
        post = f"{app.url}/price"
        assert fetch(post, method="POST", json_body={"t": 1, "p": 2.5})[0] == 200
        status, answer = fetch(post, method="POST", json_body={"t": 1, "p": "dear"})
        assert status == 422
        assert "'prices' takes Price: p: " in json.loads(answer)["error"]


def test_who_is_at_a_table_comes_and_goes(shown):
    page = shown("Presence")
    other = connected(page.new_user("/"))
    page.wait_for_text("#news", "somebody came to table 1")
    page.wait_for(lambda: at_the_table(page) == 2, "two at the table")
    other.run_js("window.location.replace('about:blank')")
    page.wait_for(lambda: at_the_table(page) == 1, "one at the table")
    page.wait_for_text("#news", "somebody left table 1")


def at_the_table(tab):
    tab.click("#ask")
    said = tab.text("#people")
    return int(said.split()[0]) if said else 0


def test_a_feeder_publishes_what_it_yields(shown):
    page = shown("Feeders")
    page.wait_for_text("#ticks", re.compile(r"^tick [2-9]"))
    page.wait_for_text("#alarm", "all is well")


def test_server_code_reads_and_sets_what_pages_share(flash_browser, served):
    flash_browser.timeout = PATIENCE
    app = flash_browser.serve(served("Shared values in server code"))
    connected(flash_browser)
    flash_browser.run_js(DRAG, 80)
    shows(flash_browser, 80)
    assert json.loads(fetch(f"{app.url}/brightness")[1]) == {"brightness": 80}
    assert fetch(f"{app.url}/off", method="POST")[0] == 204
    shows(flash_browser, 0)
    assert json.loads(fetch(f"{app.url}/brightness")[1]) == {"brightness": 0}


def test_a_worker_says_how_its_broker_stands(document, served, tmp_path):
    with RedisServer(tmp_path) as server:
        token = "sixteen letters and more"
        env = {"FLASH_BROKER_URL": server.url, "METRICS_TOKEN": token}
        with AppProcess(served("How it stands"), env=env) as app:
            assert ready(app) == (200, "ok")
            assert json.loads(fetch(f"{app.url}/broker")[1])["ready"] is True
            figures = fetch(f"{app.url}/_flash/metrics", authorization=f"Bearer {token}")[1]
            for name in FIGURES:
                assert f"\n{name}{{" in figures
                assert f"`{name}`" in document.text
            server.kill()
            wait_for(lambda: ready(app) == (503, "without a working connection"))
            assert json.loads(fetch(f"{app.url}/broker")[1])["reason"]
            server.start()
            wait_for(lambda: ready(app) == (200, "ok"))
            assert json.loads(fetch(f"{app.url}/broker")[1])["reconnects"] >= 1


def ready(app):
    status, text = fetch(f"{app.url}/_flash/ready")
    return status, json.loads(text)["checks"]["broker"]


def test_workers_on_several_machines_are_one_app(flash_browser, with_redis):
    flash_browser.timeout = PATIENCE
    # The servers end before the pages do.
    flash_browser.expect_lost_connections()
    target = with_redis("More than one machine")
    with ExitStack() as machines:
        # One is behind a balancer, with two workers.
        one = machines.enter_context(AppProcess(target, arguments=["--workers", "2"]))
        other = machines.enter_context(AppProcess(target))
        flash_browser.visit(one)
        connected(flash_browser)
        tab = connected(flash_browser.new_user(other.url))
        flash_browser.run_js(DRAG, 33)
        shows(tab, 33)
        tab.run_js(DRAG, 66)
        shows(flash_browser, 66)


def test_what_the_readme_shows_runs(flash_browser, tmp_path, redis_server):
    text = README.read_text(encoding="utf-8")
    [app] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    # Keys of its own: another test has a room 7 and a lamp, too.
    url = f"{redis_server.url}?prefix=readme"
    (tmp_path / "app.py").write_text(app.replace(WRITTEN, url), encoding="utf-8")
    flash_browser.timeout = PATIENCE
    flash_browser.serve(tmp_path / "app.py")
    connected(flash_browser)
    shows(flash_browser, 50)
    with Publisher(url) as publisher:
        publisher.publish("room/7", "hello")
        publisher.publish("prices", {"t": 1, "p": 2.0})
    flash_browser.wait_for_text("#board", "7: hello")
    flash_browser.wait_for(lambda: tape(flash_browser) == [1], "the point")
