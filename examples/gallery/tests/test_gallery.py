"""Each app of the gallery: short, whole, documented, and showing its point in a browser."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from redis_servers import RedisServer

from flash.testing import AppProcess, FlashClient

pytest_plugins = ["flash.testing.plugin"]

ROOT = Path(__file__).parents[3]
GALLERY = ROOT / "examples" / "gallery"
APPS = sorted(GALLERY.glob("*.py"))
PAGE = ROOT / "docs" / "gallery.md"

# Those that differ in what workers have to tell each other; all twelve on two workers take long.
TOGETHER = ("trading", "kanban", "jobs", "chat")


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def visit(flash_browser, redis):
    """Serves an app of the gallery and opens it: `TOGETHER` on two workers around a Redis."""
    served = []

    def serve(name, *, alone=False):
        if alone or name not in TOGETHER:
            options = {}
        else:
            # A deployment of its own in the one Redis.
            env = {"FLASH_REDIS_URL": f"{redis.url}?prefix={name}"}
            options = {"env": env, "arguments": ["--workers", "2"]}
        process = AppProcess(GALLERY / f"{name}.py", timeout=120, **options)
        served.append(process)
        process.start()
        flash_browser.timeout = 60
        flash_browser.visit(process)
        flash_browser.find("main h1")
        return flash_browser

    # The server ends before the browser does.
    flash_browser.expect_console_errors("ERR_CONNECTION_REFUSED|WebSocket connection")
    yield serve
    for process in served:
        process.terminate()
        # Shown with a failure.
        print(process.output)
        # A query that was refused is logged as what has failed in a panel.
        assert "Traceback" not in process.output or "explorer.panel" in process.output


def points(tab, graph, trace):
    """How many points a trace of a graph has."""
    drawn = f"document.querySelector('#{graph} .js-plotly-plot')"
    return tab.run_js(f"return {drawn}?.data?.[{trace}]?.x?.length || 0")


def set_props(tab, name, props):
    """Changes properties as the component does that a user has used."""
    tab.find(f"#{name}")
    tab.run_js(f"dash_clientside.set_props('{name}', {props})")


# -- all of them


def test_there_are_twelve():
    assert len(APPS) == 12


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.stem)
async def test_an_app_is_short_says_how_it_starts_and_shows_its_layout(app):
    text = app.read_text(encoding="utf-8")
    assert 40 <= len(text.splitlines()) <= 90
    assert f"flash run {app.stem}:app --workers 3" in text.partition('"""\n\n')[0]
    name = f"gallery_{app.stem}"
    spec = importlib.util.spec_from_file_location(name, app)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        async with FlashClient(module.app) as client:
            shown = [type(each).__name__ for each in (await client.layout("/")).walk()]
    finally:
        del sys.modules[name]
    assert len(shown) > 5


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.stem)
def test_an_app_has_its_section_its_picture_and_its_source_in_the_documentation(app):
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    picture = f"gallery/{app.stem}.png"
    [section] = [each for each in sections if f"]({picture})" in each]
    assert f"](../examples/gallery/{app.stem}.py)" in section
    assert 0 < (PAGE.parent / picture).stat().st_size < 120_000


# -- what each is about


# In memory, too: it uses most of what there is.
@pytest.mark.parametrize("alone", [False, True])
def test_trading_a_fill_and_an_alarm_reach_both_traders_and_a_late_one_sees_the_past(visit, alone):
    ann = visit("trading", alone=alone)
    ann.wait_for(lambda: points(ann, "chart", 2) > 12)
    bob = ann.new_user("/")
    bob.wait_for(lambda: points(bob, "chart", 2) > 12)
    bob.click("#buy")
    for tab in (ann, bob):
        tab.wait_for_text("#fills", re.compile("buy 100 FLAX"))
    bob.wait_for_text("#flash-notices", re.compile("Done: buy 100 FLAX"))
    assert not ann.find_all(".flash-notice-success")
    set_props(ann, "alarm", "{value: 95}")
    bob.wait_for_text("#alarm-text", "Alarm for everybody above 95")


def test_machines_a_hall_has_its_own_readings_limit_and_visitors(visit):
    ann = visit("machines")
    bob = ann.new_user("/")
    for tab in (ann, bob):
        tab.wait_for_text("#wall", re.compile("Oven 4"))
        tab.wait_for_text("#present", re.compile("2 here"))
    set_props(ann, "limit", "{value: 61}")
    bob.wait_for_text("#limit-text", "Too warm above 61 °C, for everybody in hall north")
    bob.find("#wall .warm")
    set_props(bob, "hall", "{value: 'south'}")
    ann.wait_for_text("#present", re.compile("1 here"))
    bob.wait_for_text("#limit-text", re.compile("^$|south"))
    assert ann.text("#limit-text").endswith("hall north")


def test_chat_an_answer_grows_and_can_be_stopped(visit):
    page = visit("chat")
    page.run_js(
        "window.lengths = new Set(); new MutationObserver(() => window.lengths.add("
        "document.getElementById('talk').textContent.length)).observe("
        "document.querySelector('.talk'), {subtree: true, childList: true, characterData: true})"
    )
    page.click("#ask")
    page.wait_for_text("#talk", re.compile("what other pages have changed"))
    page.wait_for_text("#state", "idle")
    assert page.run_js("return window.lengths.size") > 5
    page.type("#question", "Tell me of the break", enter=True)
    page.wait_for_text("#talk", re.compile("You: Tell me of the break\\s+If the"))
    page.click("#stop")
    page.wait_for_text("#state", "idle")
    assert "without a hole" not in page.text("#talk")


def test_form_fields_and_dots_of_two_visitors_come_together(visit):
    ann = visit("form")
    bob = ann.new_user("/")
    for tab in (ann, bob):
        tab.wait_for_text("#present", re.compile("2 here"))
    set_props(ann, "team", "{value: ['Design', 'Legal']}")
    bob.wait_for_text("#summary", re.compile("2 teams"))
    set_props(bob, "weeks", "{value: 9}")
    ann.wait_for_text("#summary", "Ship the new catalogue: 9 weeks, 2 teams")
    set_props(ann, "board", "{clickData: {points: [{x: 3, y: 7}]}}")
    bob.wait_for(lambda: points(bob, "board", 1) == 1)
    late = ann.new_tab("/")
    late.wait_for(lambda: points(late, "board", 1) == 1)


def test_explorer_queries_run_when_they_are_seen_and_only_read(visit):
    page = visit("explorer")
    page.wait_for(lambda: page.find_all(".two .badge"))
    loaded = len(page.find_all(".two .badge"))
    assert loaded < 12
    page.run_js("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for(lambda: len(page.find_all(".two .badge")) > loaded)
    set_props(page, "sql", "{value: 'DELETE FROM orders'}")
    page.click("#run")
    page.wait_for_text("#result", re.compile("The query was refused: not authorized"))
    set_props(page, "sql", "{value: 'SELECT 1, count(*) FROM orders'}")
    page.click("#run")
    page.wait_for_text("#result .badge", re.compile("1 rows"))


def test_log_lines_come_and_each_page_has_its_own_filter(visit):
    page = visit("log")
    page.wait_for(lambda: len(page.find_all("#tail .line")) > 5)
    other = page.new_tab("/")
    set_props(page, "levels", "{value: ['warning']}")
    page.wait_for(
        lambda: page.find_all("#tail .warn") and not page.find_all("#tail .badge:not(.warn)")
    )
    other.wait_for(lambda: other.find_all("#tail .badge:not(.warn)"))
    page.click("#hold")
    page.wait_for_text("#hold", "Go on")


def test_jobs_reach_their_end_on_both_pages_and_a_report_shows_its_progress(visit):
    ann = visit("jobs")
    bob = ann.new_user("/")
    set_props(bob, "kind", "{value: 'Check the stock'}")
    bob.click("#add")
    ann.wait_for_text("#queue", re.compile("Check the stock.*Check the stock", re.DOTALL))
    ann.click("#report")
    for tab in (ann, bob):
        tab.wait_for_text("#queue", re.compile("100 %"))
    ann.wait_for_text("#text", re.compile("Report 1: . jobs"))
    assert bob.text("#text") == "None yet"


def test_vehicles_move_and_the_chosen_one_leaves_its_way(visit):
    page = visit("vehicles")
    places = "return JSON.stringify(document.querySelector('#map .js-plotly-plot')?.data?.[3]?.x)"
    page.wait_for_text("#moving", "14 on the road")
    before = page.run_js(places)
    page.wait_for(lambda: page.run_js(places) != before)
    set_props(page, "map", "{clickData: {points: [{customdata: 'Van 7'}]}}")
    page.wait_for_text("#where", re.compile("Van 7: street"))
    page.wait_for(lambda: points(page, "map", 2) > 5)


def test_kanban_two_browsers_on_two_workers_share_the_cards(visit):
    ann = visit("kanban")
    bob = ann.new_user("/")
    for tab in (ann, bob):
        tab.wait_for_text("#board", re.compile("Doing · 1"))
    ann.type("#text", "Paint the door", enter=True)
    bob.wait_for_text(".column:first-child", re.compile("Paint the door"))
    bob.click("[aria-label='Paint the door to Doing']")
    for tab in (ann, bob, ann.new_tab("/")):
        tab.wait_for_text(".column:nth-child(2)", re.compile("Doing · 2.*Paint", re.DOTALL))


def test_orders_arrive_in_the_grid_and_selected_ones_go(visit):
    page = visit("orders")
    page.wait_for(lambda: len(page.find_all("#grid .ag-row")) > 3)
    page.wait_for(lambda: points(page, "chart", 1) > 0)
    page.click("#cancel")
    page.wait_for_text("#flash-notices", re.compile("Select orders first"))
    page.run_js("document.querySelector('#grid .ag-row input').click()")
    page.click("#cancel")
    page.wait_for_text("#flash-notices", re.compile("1 orders are cancelled"))


def test_heat_the_hour_is_that_of_everybody_and_strikes_come(visit):
    ann = visit("heat")
    bob = ann.new_user("/")
    heat = "return document.querySelector('#map .js-plotly-plot')?.data?.[0]?.z?.[20]?.[26]"
    bob.wait_for(lambda: bob.run_js(heat) is not None)
    before = bob.run_js(heat)
    set_props(ann, "hour", "{value: 3}")
    for tab in (ann, bob):
        tab.wait_for_text("#hour-text", "3:00 for everybody")
        tab.wait_for(lambda tab=tab: tab.run_js(heat) < before)
        tab.wait_for(lambda tab=tab: points(tab, "map", 2) > 1)


def test_status_is_complete_in_its_first_html_and_then_live(visit):
    page = visit("status")
    page.wait_for_text("#state", "live")
    page.wait_for(lambda: len(page.find_all("#services .days:last-child span")) > 5)
    late = page.new_tab("/")
    late.wait_for(lambda: len(late.find_all("#services .days span")) > 25)
