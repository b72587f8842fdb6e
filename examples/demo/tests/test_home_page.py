"""The first page as a visitor sees it: two panes, a race, tables of charts, a page that is not."""

import re

import pytest
import race
from race import Lane

pytest_plugins = ["flash.testing.plugin"]

COUNT = "return Number(document.getElementById('pulse-count')?.textContent.replace(/\\D/g, ''))"
SWING = "return dash_component_api.getLayout('swing').props.value"


@pytest.fixture
def page(flash_browser, demo):
    flash_browser.timeout = 60
    flash_browser.visit(demo, "/")
    flash_browser.find("#race")
    return flash_browser


def counts(page):
    page.wait_for(lambda: (page.run_js(COUNT) or 0) > 100, "a hundred messages of the tape")


def test_both_panes_get_the_tape_and_have_one_slider(page):
    counts(page)
    assert page.text("#pulse-missed") == "0"
    page.run_js("dash_clientside.set_props('swing', {value: 75})")
    page.driver.switch_to.frame(page.find(".frame-pane"))
    counts(page)
    page.wait_for(lambda: page.run_js(SWING) == 75, "the slider of the frame")
    page.wait_for_text("#swing-note", "75 of 100, on every page")
    # The page in the frame is its content alone.
    assert not page.find(".sidebar").is_displayed()
    page.driver.switch_to.default_content()


def test_the_race_is_run_and_told(page):
    page.click("#race")
    page.wait_for_text(
        "#race-result", re.compile(rf"All {race.VISITORS} reports after [\d.]+ s on Flash")
    )
    times = {
        kind: [float(bar.text.removesuffix(" s")) for bar in page.find_all(f".lane-{kind} .done")]
        for kind in race.NAMES
    }
    assert {len(each) for each in times.values()} == {race.VISITORS}
    # One after the other, as plain callbacks are answered there.
    assert max(times["dash"]) >= race.VISITORS * 0.5
    page.find("#race:not([disabled])")


def test_a_chart_is_a_table_for_who_opens_it(page):
    page.open("/overview")
    page.find(".tile-value")
    months = page.find(".chart-table summary")
    page.wait_for(
        lambda: page.run_js("return document.querySelector('.js-plotly-plot')?._fullData?.length")
    )
    months.click()
    page.wait_for(lambda: len(page.find_all(".chart-table[open] td")) >= 24, "two cells a month")


def test_an_address_of_no_page_has_a_page(page):
    page.open("/nowhere")
    page.wait_for_text("h1", "There is no such page")
    page.click(".not-found a")
    page.find("#race")


def test_what_waits_for_the_clock_is_counted_while_it_waits():
    lane = Lane(longest=0.2, asked=1.0)
    assert lane.wait(3.0) == 2.0
    lane.asked = None
    assert lane.wait(9.0) == 0.2
    assert not lane.is_done
    lane.failure = "away"
    assert lane.is_done
