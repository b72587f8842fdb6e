"""The live page as its visitors see it, and the rules of its chat."""

import json
import re

import chat
import pytest

pytest_plugins = ["flash.testing.plugin"]


@pytest.fixture
def page(flash_browser, demo):
    flash_browser.timeout = 60
    flash_browser.visit(demo, "/live")
    flash_browser.find("#chat-text:not([disabled])")
    return flash_browser


def points(page):
    """How many points the course of the processor has."""
    script = "return document.querySelector('.js-plotly-plot')?.data?.[0]?.x?.length || 0"
    return page.run_js(script)


def other_page(page):
    """A second tab on the live page, once its chat is open."""
    tab = page.new_tab("/live")
    tab.find("#chat-text:not([disabled])")
    return tab


def test_figures_move_by_themselves_and_stop_when_the_page_is_left(page):
    page.wait_for_text("#link-text", "Live")
    page.wait_for(lambda: points(page) > 2)
    before = points(page)
    page.wait_for(lambda: points(page) > before + 2)
    page.wait_for_text("#live-cpu", re.compile(r"^\d+%$"))
    page.wait_for_text("#live-memory-note", re.compile(r"of .* GB"))
    page.click("nav a[href='/nothing-blocks']")
    # It is shown beside the title of every page.
    page.wait_for_text("#link-text", re.compile("^Live"))
    page.wait_for(lambda: page.run_js("return flash.statistics().runningCalls") == 0)
    page.click("nav a[href='/live']")
    page.wait_for(lambda: int(page.text("#live-pushed")) > 2)


def test_the_stream_follows_the_theme(page):
    page.wait_for(lambda: points(page) > 2)
    colour = (
        "return document.querySelector('.js-plotly-plot')?.layout?.template?.layout?.font?.color"
    )
    light = page.run_js(colour)
    page.click("#theme-toggle")
    page.wait_for(lambda: page.run_js(colour) not in (None, light))
    page.wait_for(lambda: points(page) > 2)


def test_what_one_page_says_another_shows_as_text(page):
    other = other_page(page)
    page.type("#chat-text", "<b>Good morning</b>", enter=True)
    other.wait_for_text("#chat-log .remark:last-child p", "<b>Good morning</b>")
    assert not other.find_all("#chat-log b")
    # The same again is another message.
    page.type("#chat-text", "<b>Good morning</b>", enter=True)
    other.wait_for(lambda: len(other.find_all("#chat-log .remark")) >= 2)
    page.find(".remark.mine")
    assert not other.find_all(".remark.mine")


def test_who_writes_too_much_at_once_is_asked_to_wait(page):
    for number in range(6):
        page.type("#chat-text", f"message {number}", enter=True)
        page.wait_for(lambda: page.find("#chat-text").get_attribute("value") == "")
    page.wait_for_text("#chat-note", re.compile("a lot at once"))


def test_the_counter_knows_how_many_pages_are_open(page):
    page.wait_for_text("#here", "1")
    other = other_page(page)
    page.wait_for_text("#here", "2")
    other.wait_for_text("#here", "2")
    other.close()
    page.wait_for_text("#here", "1")


def test_an_answer_comes_word_by_word(page):
    page.run_js(
        "window.lengths = new Set();"
        "new MutationObserver(() => window.lengths.add("
        "  document.getElementById('answer').textContent.length"
        ")).observe(document.querySelector('.answer-box'),"
        "  {subtree: true, childList: true, characterData: true});"
    )
    page.click(".questions button:nth-child(2)")
    page.wait_for_text("#answer", re.compile(r"The five largest countries: .*\)\."))
    page.find("#answer:not(.writing)")
    assert page.text("#question") == "Where do we sell most?"
    assert page.run_js("return window.lengths.size") > 10
    page.click(".questions button:nth-child(2)")
    page.find("#answer.waiting, #answer.writing")
    page.wait_for_text("#answer", re.compile(r"The five largest countries: .*\)\."))


@pytest.mark.parametrize(
    "sent",
    ["", "[1]", '"text"', '{"text": 1}', '{"text": " \\n "}', '{"text": "' + "a" * 281 + '"}'],
)
def test_what_no_page_of_ours_sends_is_refused(sent):
    with pytest.raises(chat.Refused):
        chat.read(sent)


def test_a_message_is_one_line_of_what_can_be_seen():
    assert chat.read(json.dumps({"text": "a\u202eb\n\n c\u0000 "})) == "a b c"


def test_a_room_keeps_the_last_remarks_only():
    room = chat.Room()
    guest = room.welcome()
    for number in range(chat.KEPT + 1):
        room.say(guest, str(number))
    assert [said["text"] for said in room.said] == [str(n) for n in range(1, chat.KEPT + 1)]
    assert (room.said[0]["by"], room.said[0]["name"]) == (guest.number, guest.name)


def test_a_pace_lets_go_on_after_a_while():
    pace = chat.Pace(burst=2, seconds=10)
    assert [pace.allows(now) for now in (0, 1, 2, 9, 10, 10.5, 11)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
    ]
