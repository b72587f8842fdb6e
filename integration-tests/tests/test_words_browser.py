"""Texts that grow, and notices, under a policy for contents (issue 14, number 10)."""

import re
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from documents import connected

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "words" / "app.py"


@pytest.fixture(scope="module")
def server():
    with AppProcess(APP) as process:
        yield process


@pytest.fixture
def page(flash_browser, server):
    flash_browser.visit(server)
    return connected(flash_browser)


def post(server, path):
    urlopen(Request(server.url + path, method="POST")).close()


def ask(page, question):
    page.type("#question", question, clear=True)
    page.click("#ask")


def is_disabled(page, css):
    return page.run_js("return document.querySelector(arguments[0]).disabled", css)


def words(count):
    return " ".join(["Answer", *(f"word{number}" for number in range(count)), "end"])


# -- texts


def test_14_10_a_text_grows_into_markdown_with_every_piece_in_its_place(page):
    # The script of `dcc.Markdown` comes when the layout stands.
    page.find("#answer")
    page.run_js(
        """window.drawn = 0;
        new MutationObserver(() => { drawn += 1; }).observe(
            document.querySelector('#answer'),
            { childList: true, subtree: true, characterData: true })"""
    )
    ask(page, "1000")
    page.wait_for_text("#answer", words(1000))
    assert page.text("#answer strong") == "Answer"
    assert page.text("#answer em") == "end"
    # Not one drawing for each of a thousand pieces.
    assert 2 < page.run_js("return drawn") < 200


def test_14_10_a_text_says_that_it_runs_and_can_be_cancelled(page):
    ask(page, "8")
    page.wait_for_text("#answer", words(8)[: -len(" end")])
    page.wait_for(lambda: is_disabled(page, "#ask") and not is_disabled(page, "#stop"), "running")
    page.click("#stop")
    page.wait_for(lambda: not is_disabled(page, "#ask") and is_disabled(page, "#stop"), "the end")
    assert page.run_js("return flash.statistics().runningCalls") == 0
    assert page.text("#answer") == words(8)[: -len(" end")]
    # Another call begins an empty text.
    ask(page, "2")
    page.wait_for_text("#answer", words(2))


def test_14_10_a_page_that_was_away_continues_without_holes(page, server):
    ask(page, "7")
    page.wait_for_text("#answer", words(7)[: -len(" end")])
    page.run_js("window.dispatchEvent(new Event('pagehide'))")
    post(server, "/go")
    page.run_js("window.dispatchEvent(new Event('pageshow'))")
    page.wait_for_text("#answer", words(7))


def test_14_10_a_text_whose_generator_fails_says_so(page, server):
    page.click("#bad")
    page.wait_for_text("#bad-answer", re.compile(r"begun\s+⚠ An error has ended this text early"))
    assert "hunter2" not in page.text("body")
    assert "hunter2" in server.output


# -- notices


def notices(page):
    return page.run_js(
        """return [...document.querySelectorAll('.flash-notice')].map((each) => [
            each.getAttribute('role'), each.querySelector('.flash-notice-text').textContent])"""
    )


def tell(page, text, **more):
    page.run_js("flash.send('tell', arguments[0])", {"text": text, **more})


def test_14_10_nothing_of_notices_is_on_a_page_before_the_first_one(page):
    assert page.run_js("return document.adoptedStyleSheets.length") == 0
    assert not page.run_js("return document.querySelector('#flash-notices')")
    tell(page, "first")
    page.wait_for(lambda: notices(page) == [["status", "first"]], "the notice")
    assert page.run_js("return document.adoptedStyleSheets.length") == 1
    position = "return getComputedStyle(document.querySelector('#flash-notices')).position"
    assert page.run_js(position) == "fixed"


def test_14_10_notices_need_no_inline_styles(flash_browser):
    # Dash's renderer itself asks for some.
    flash_browser.expect_console_errors("Content Security Policy|Content-Security-Policy")
    with AppProcess(APP, env={"STYLES": "'self'"}) as process:
        flash_browser.visit(process)
        page = connected(flash_browser)
        tell(page, "shown")
        page.wait_for(lambda: notices(page) == [["status", "shown"]], "the notice")
        position = "return getComputedStyle(document.querySelector('#flash-notices')).position"
        assert page.run_js(position) == "fixed"


def test_14_10_notices_come_from_callbacks_threads_and_generators_and_are_no_html(page):
    page.click("#callback")
    page.wait_for(lambda: notices(page) == [["status", "<b>Saved</b> & done"]], "the first notice")
    page.click("#thread")
    page.wait_for(lambda: notices(page)[1:] == [["alert", "Disk is full"]], "the second notice")
    page.click("#stream")
    page.wait_for(
        lambda: notices(page)[2:] == [["status", "From an event callback"]], "the third notice"
    )
    page.wait_for_text("#done", "streamed")
    assert not page.run_js("return document.querySelector('.flash-notice b')")


def test_14_10_a_notice_to_everybody_reaches_other_pages(page, server):
    other = connected(page.new_tab("/"))
    post(server, "/everybody/hello")
    for each in (page, other):
        each.wait_for(lambda tab=each: notices(tab) == [["status", "hello"]], "the notice")


def test_14_10_a_page_keeps_the_five_newest_notices(page):
    for number in range(12):
        tell(page, f"notice {number}")
    page.wait_for(lambda: [each[1] for each in notices(page)][-1:] == ["notice 11"], "all")
    assert [each[1] for each in notices(page)] == [f"notice {number}" for number in range(7, 12)]
    assert page.run_js("return flash.statistics().droppedNotices") == 7


def test_14_10_the_keyboard_closes_notices(page):
    for text in ("one", "two", "three"):
        tell(page, text)
    page.wait_for(lambda: len(notices(page)) == 3, "the notices")
    close = """document.activeElement.dispatchEvent(
        new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))"""
    page.run_js("document.querySelectorAll('.flash-notice-close')[1].focus()")
    assert page.run_js("return document.activeElement.getAttribute('aria-label')") == "Close"
    page.run_js(close)
    assert [each[1] for each in notices(page)] == ["one", "three"]
    page.run_js("document.activeElement.click()")
    page.run_js(close)
    assert notices(page) == []


def test_14_10_a_notice_goes_after_its_time_but_not_while_somebody_is_at_it(page):
    # In the page, since a look from outside may come after a notice's time.
    page.run_js(
        """window.most = 0;
        new MutationObserver(() => {
            const all = document.querySelectorAll('.flash-notice-close');
            if (most === 0 && all.length > 0) all[0].focus();
            most = Math.max(most, all.length);
        }).observe(document.body, { childList: true, subtree: true })"""
    )
    tell(page, "held", seconds=1)
    page.wait_for(lambda: page.run_js("return most") == 1, "the notice")
    tell(page, "short", seconds=1)
    page.wait_for(lambda: page.run_js("return most") == 2, "the second notice")
    page.wait_for(lambda: notices(page) == [["status", "held"]], "the end of the second notice")
    page.run_js("document.activeElement.blur()")
    page.wait_for(lambda: notices(page) == [], "the end of the first notice")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_14_10_notices_follow_the_wishes_of_the_system(page, scheme):
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for kind in ("info", "success", "warning", "error"):
        tell(page, f"A notice of the kind {kind}", kind=kind)
    tell(page, "A longer text " * 20, kind="info")
    page.wait_for(lambda: len(notices(page)) == 5, "the notices")
    style = "const style = getComputedStyle(document.querySelector('.flash-notice'));"
    background = page.run_js(f"{style} return style.backgroundColor")
    assert background == ("rgb(34, 39, 46)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert page.run_js(f"{style} return style.animationName") == "none"
    page.screenshot(f"notices-{scheme}")
