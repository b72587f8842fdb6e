"""Shared controls, channels and presence in real pages, on two workers around a real Redis."""

from pathlib import Path
from urllib.request import urlopen

import pytest
from redis_servers import RedisServer
from tcp_proxy import Proxy
from workers import all_running, two_workers

from flash.testing import AppProcess, ServerDied
from flash_pubsub import Publisher

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "pubsub" / "app.py"
WRITTEN = APP.with_name("written.py")

# Moves a slider as a hand does: many values, fast, the last one the given one.
DRAG = """
const [last, steps] = arguments;
window.dragging = true;
let step = 0;
const timer = setInterval(() => {
    step += 1;
    const value = step === steps ? last : (last + 7 * step) % 100;
    dash_clientside.set_props('brightness', {value});
    if (step === steps) {
        clearInterval(timer);
        window.dragging = false;
    }
}, 16);
"""

SLIDER = "return dash_component_api.getLayout('brightness').props.value"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis"), "--appendonly", "yes") as server:
        yield server.url


@pytest.fixture(scope="module")
def workers(redis_url):
    """Two workers on two ports, which know of each other through Redis only."""
    env = {"FLASH_BROKER_URL": redis_url}
    with all_running(
        *(AppProcess(APP, env={**env, "WORKER": str(number)}) for number in range(2))
    ) as both:
        yield both


@pytest.fixture
def tabs(flash_browser, workers):
    """Two users, each with the page of another worker."""
    flash_browser.visit(workers[0])
    other = flash_browser.new_user(workers[1].url)
    both = [flash_browser, other]
    for tab in both:
        tab.wait_for_text("#status", "open")
    return both


# Where the slider's thumb may go: from, how far, and at which height.
TRACK = """
const root = document.querySelector('#brightness .dash-slider-root').getBoundingClientRect();
const thumb = document.querySelector('#brightness [role=slider]').getBoundingClientRect();
return [root.x, root.width, thumb.y + thumb.height / 2];
"""


@pytest.mark.parametrize("last", [33, 66])
def test_b15_the_shared_slider_converges_with_both_dragging(tabs, last):
    for hand, tab in enumerate(tabs):
        tab.run_js(DRAG, last + hand, 60)
    for tab in tabs:
        tab.wait_for(lambda tab=tab: not tab.run_js("return window.dragging"))

    def converged():
        one, other = (tab.run_js(SLIDER) for tab in tabs)
        return one == other and one in (last, last + 1)

    tabs[0].wait_for(converged, "both to show one value")
    value = tabs[0].run_js(SLIDER)
    for tab in tabs:
        # What depends on a pushed value by an ordinary callback follows it.
        tab.wait_for_text("#doubled", str(2 * value))

        tab.wait_for(lambda tab=tab: shines(tab, value), "the lamp")


def test_b15_two_mice_that_drag_the_shared_slider_leave_it_at_one_value(tabs):
    tracks = [tab.run_js(TRACK) for tab in tabs]

    def mouse(hand, kind, share):
        begin, width, height = tracks[hand]
        tabs[hand].driver.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            {"type": kind, "x": begin + share * width, "y": height, "button": "left"}
            | {"buttons": 0 if kind == "mouseReleased" else 1, "clickCount": 1},
        )

    # Each pulls to and fro while the other does, and lets go where the other does not.
    for hand in range(2):
        mouse(hand, "mousePressed", 0.5)
    for step in range(20):
        for hand in range(2):
            mouse(hand, "mouseMoved", (0.1 + 0.07 * step + 0.4 * hand) % 1)
    ends = (0.55, 0.9)
    for kind in ("mouseMoved", "mouseReleased"):
        for hand, share in enumerate(ends):
            mouse(hand, kind, share)

    def converged():
        one, other = (tab.run_js(SLIDER) for tab in tabs)
        return one == other and any(abs(one / 100 - share) < 0.03 for share in ends)

    tabs[0].wait_for(converged, "both to show where one has let go")
    value = tabs[0].run_js(SLIDER)
    for tab in tabs:
        tab.wait_for_text("#doubled", str(2 * value))
        tab.wait_for(lambda tab=tab: shines(tab, value), "the lamp")
        thumb = tab.find("#brightness [role=slider]")
        assert thumb.get_attribute("aria-valuenow") == str(value)


def test_a_late_joiner_has_the_shared_values_from_the_start(flash_browser, workers):
    flash_browser.visit(workers[0])
    flash_browser.wait_for_text("#status", "open")
    flash_browser.run_js("dash_clientside.set_props('brightness', {value: 77})")
    flash_browser.wait_for(
        lambda: "0.77" in flash_browser.find("#lamp").get_attribute("style"), "the lamp"
    )
    # The other worker knows it, too.
    other = flash_browser.new_user(workers[1].url)
    other.wait_for(lambda: shines(other, 77), "the lamp of the other worker")
    late = flash_browser.new_user(f"{workers[1].url}/_dash-layout")
    assert '"value":77' in late.text("body").replace(" ", "")


def test_b13_rooms_are_entered_and_left_and_the_secret_one_is_not(tabs):
    for tab in tabs:
        tab.click("#go")
    tabs[0].wait_for(lambda: asked(tabs[0]) == 2, "both to be in the room")
    status = "return dash_component_api.getLayout(arguments[0]).props.status"
    for tab in tabs:
        tab.wait_for(lambda tab=tab: tab.run_js(status, "seven") == "subscribed")
        tab.wait_for(lambda tab=tab: tab.run_js(status, "secret") == "denied")
    tabs[0].click("#shout")
    for tab in tabs:
        tab.wait_for_text("#board", "7: 1")
        tab.wait_for_text("#banner", "from 0 1")
    tabs[1].click("#leave")
    tabs[0].wait_for(lambda: asked(tabs[0]) == 1, "one to be in the room")


def test_an_error_is_shown_to_its_page_only_which_falls_back(tabs):
    for tab in tabs:
        tab.browser.expect_console_errors("shared callback greeting failed")
    tabs[0].type("#name", "Ada")
    for tab in tabs:
        tab.wait_for_text("#greeting", "hello Ada")
    tabs[0].run_js("dash_clientside.set_props('name', {value: 'nobody'})")
    # Everybody still sees the value before.
    name = "return dash_component_api.getLayout('name').props.value"
    tabs[0].wait_for(lambda: tabs[0].run_js(name) == "Ada", "the value before")
    assert tabs[1].run_js(name) == "Ada"


def test_components_that_come_later_begin_with_the_shared_values(tabs):
    tabs[0].run_js("dash_clientside.set_props('brightness', {value: 41})")
    tabs[1].wait_for(lambda: shines(tabs[1], 41), "the lamp")
    tabs[1].click("#go")
    tabs[1].wait_for_text("#later", "later 41")
    tabs[0].run_js("dash_clientside.set_props('brightness', {value: 42})")
    tabs[1].wait_for_text("#later", "later 42")


def test_several_workers_around_the_memory_broker_do_not_start():
    with (
        pytest.raises(ServerDied, match="FLASH_BROKER_URL=redis"),
        AppProcess(
            APP, env={"FLASH_BROKER_URL": "memory://"}, arguments=["--workers", "2"], timeout=90
        ),
    ):
        pass


def test_the_example_runs_as_written_on_two_workers(flash_browser, redis_url):
    # Shares nothing with the other app.
    broker = f"{redis_url}?prefix=written"
    status = "return dash_component_api.getLayout('room').props.status"
    points = "return document.querySelector('#tape .js-plotly-plot')?.data?.[0]?.y"
    # The servers end before the browser does, and its pages look for them.
    flash_browser.expect_lost_connections()
    with two_workers(WRITTEN, BROKER=broker) as (one, two):
        flash_browser.visit(one, "/login/7")
        flash_browser.open("/")
        other = flash_browser.new_user(f"{two.url}/login/8")
        other.open(two.url)
        flash_browser.wait_for(lambda: flash_browser.run_js(status) == "subscribed", "to be let in")
        other.wait_for(lambda: other.run_js(status) == "denied", "to be kept out")
        flash_browser.run_js("dash_clientside.set_props('brightness', {value: 30})")
        for tab in (flash_browser, other):
            tab.wait_for(lambda tab=tab: shines(tab, 30), "the lamp")
        with urlopen(f"{two.url}/publish") as answer:
            assert answer.read() == b"done"
        with Publisher(broker) as publisher:
            publisher.publish("prices", {"t": 2, "p": 3.0})
            publisher.publish("room/7", "hello")
        flash_browser.wait_for_text("#board", "7: hello")
        for tab in (flash_browser, other):
            tab.wait_for(lambda tab=tab: tab.run_js(points) == [2.0, 3.0], "the prices")
        assert other.text("#board") == ""


# A machine on which a graph takes longer to draw points than they take to come.
DRAW_SLOWLY = """
const pause = (wait) => new Promise((done) => setTimeout(done, wait));
const extend = Plotly.extendTraces;
window.drawn = 0;
window.hasCome = false;
Plotly.extendTraces = async (...given) => {
    await pause(50);
    // The first takes as long as all of them need to come.
    while (!window.hasCome) {
        await pause(10);
    }
    const graph = await extend(...given);
    window.drawn += 1;
    return graph;
};
const set = dash_clientside.set_props;
dash_clientside.set_props = (id, props) => {
    window.hasCome = window.hasCome || JSON.stringify(props).includes('59]');
    return set(id, props);
};
"""

SHOWN = "return document.querySelector('#tape .js-plotly-plot').data[0].y"


def test_a_graph_that_draws_slowly_shows_each_point_once(tabs, redis_url):
    for tab in tabs:
        # Plotly is loaded with the first graph.
        tab.find("#tape .main-svg")
        tab.run_js(DRAW_SLOWLY)
    with Publisher(redis_url) as publisher:
        for number in range(60):
            publisher.publish("prices", {"t": number, "p": number})
    for tab in tabs:
        tab.wait_for(lambda tab=tab: 59 in tab.run_js(SHOWN), "the last point")
        assert tab.run_js(SHOWN) == list(range(60))
        # What comes while it draws is drawn together.
        assert tab.run_js("return window.drawn") < 30
        # Points of the page's own go the same way, and a figure has its place among them.
        tab.run_js(
            "for (let number = 60; number < 63; number += 1) {"
            "  dash_clientside.set_props('tape', {extendData: [{x: [[number]], y: [[number]]}]});"
            "  await new Promise((done) => setTimeout(done, 10));"
            "}"
            "dash_clientside.set_props('tape', {figure: {data: [{x: [1], y: ['new']}]}});"
            "dash_clientside.set_props('tape', {extendData: [{x: [[2]], y: [[2]]}, [0]]});"
        )
        tab.wait_for(lambda tab=tab: tab.run_js(SHOWN) == ["new", 2], "the new figure, and a point")
        tab.run_js("dash_clientside.set_props('tape', {extendData: [{x: [[3]], y: [[3]]}, [0]]})")
        tab.wait_for(lambda tab=tab: 3 in tab.run_js(SHOWN), "another point")
        assert tab.run_js(SHOWN) == ["new", 2, 3]
        # In one message, points for the figure that goes.
        tab.run_js(
            "flash.link.setProps(["
            "  ['tape', {extendData: [{x: [[4]], y: [[4]]}, [0]]}],"
            "  ['tape', {figure: {data: [{x: [1], y: ['newer']}]}}],"
            "]);"
        )
        tab.wait_for(lambda tab=tab: tab.run_js(SHOWN)[0] == "newer", "the newer figure")
        tab.run_js("dash_clientside.set_props('tape', {extendData: [{x: [[5]], y: [[5]]}, [0]]})")
        tab.wait_for(lambda tab=tab: 5 in tab.run_js(SHOWN), "a point of its own")
        assert tab.run_js(SHOWN) == ["newer", 5]


def test_b11_b13_a_page_goes_on_with_another_worker_when_its_own_is_killed(
    flash_browser, workers, redis_url
):
    flash_browser.expect_lost_connections()
    flash_browser.expect_console_errors("40[0-9]|50[0-9]")
    env = {"FLASH_BROKER_URL": redis_url, "WORKER": "third"}
    with AppProcess(APP, env=env) as third:
        # Callbacks and files from any worker, the link from the third.
        proxy = Proxy([third.port])
        flash_browser.visit(third, None)
        flash_browser.open(proxy.url)
        flash_browser.wait_for_text("#status", "open")
        flash_browser.click("#go")
        flash_browser.wait_for(lambda: asked(flash_browser) == 1, "to be in the room")
        proxy.ports = [worker.port for worker in workers]
        third.kill()
        with Publisher(redis_url) as publisher:
            publisher.publish("room/7", "while nobody was there")
        flash_browser.wait_for_text("#board", "7: while nobody was there")
        flash_browser.wait_for_text("#status", "open")
        assert flash_browser.run_js("return flash.statistics().recovered") is True
        # Its member of the dead worker expires, and the page is there once.
        flash_browser.wait_for(lambda: asked(flash_browser) == 1, "to be there once")
        flash_browser.run_js("dash_clientside.set_props('brightness', {value: 12})")
        flash_browser.wait_for(lambda: shines(flash_browser, 12), "the lamp")
        proxy.close()


def asked(tab):
    before = tab.text("#people")
    tab.click("#ask")
    tab.wait_for(lambda: tab.text("#people") != before)
    return int(tab.text("#people").split(": ")[1])


def shines(tab, value):
    return tab.find("#lamp").get_attribute("style") == f"opacity: {value / 100};"
