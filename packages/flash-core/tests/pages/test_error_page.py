"""The page that a developer sees in Dash's error panel."""

import json

import quart
from markupsafe import escape

from flash.pages.error_page import render_error


def caught(function):
    try:
        function()
    except Exception as error:  # noqa: BLE001  whatever it is, it is shown
        return error
    raise AssertionError("it raised nothing")


def fail():
    before = {"apples": 3}

    raise ValueError(f"no <b>pears</b> & {before}")


def share():
    try:
        fail()
    except ValueError as error:
        raise RuntimeError("nothing to share") from error


def handle_badly():
    try:
        fail()
    except ValueError:
        raise LookupError("nobody to tell") from None


def drop():
    try:
        fail()
    except ValueError:
        raise KeyError("lost")  # noqa: B904  what is raised while another is handled


def page_of(function, *, pruned=True):
    return render_error(caught(function), pruned=pruned)


def test_the_error_and_the_lines_around_it_are_shown_and_escaped():
    page = page_of(fail)
    assert "<h1>ValueError</h1>" in page
    assert escape("no <b>pears</b> & {'apples': 3}") in page
    assert "<b>pears" not in page
    assert "in fail</h2>" in page
    raised = escape('raise ValueError(f"no <b>pears</b> & {before}")')
    line = fail.__code__.co_firstlineno + 3
    assert f"<b>{line:5d}      {raised}</b>" in page
    assert f"{line - 1:5d}  \n" in page


def test_what_an_error_came_from_is_shown_with_its_own_lines():
    page = page_of(share)
    assert page.index("<h1>RuntimeError</h1>") < page.index("<small>caused by</small>ValueError")
    assert "<small>raised while this was handled</small>ValueError" in page_of(drop)
    assert "ValueError</h1>" not in page_of(handle_badly)


def test_each_error_of_a_group_is_shown():
    def several():
        raise ExceptionGroup("two went wrong", [caught(fail), caught(share)])

    page = page_of(several)
    assert "<h1>ExceptionGroup</h1>" in page
    assert "<small>1 of 2 in the group</small>ValueError" in page
    assert "<small>2 of 2 in the group</small>RuntimeError" in page


def test_an_error_that_came_from_itself_is_shown_once():
    error = caught(fail)
    error.__cause__ = other = caught(share)
    other.__cause__ = error
    assert render_error(error, pruned=True).count("<h1>") == 2


def test_frames_of_the_framework_are_left_out_unless_asked_for():
    def look():
        return quart.request.path

    pruned = page_of(look)
    assert "in look</h2>" in pruned
    assert "_get_current_object" not in pruned.split("<details")[0]
    whole = page_of(look, pruned=False)
    assert "in look</h2>" in whole
    assert whole.count("<section>") > pruned.count("<section>")


def test_code_without_a_file_is_shown_without_its_lines():
    page = page_of(lambda: exec(compile("1 / 0", "<typed in>", "exec")))
    assert escape("<typed in>, line 1, in <module>") in page


def test_other_libraries_frames_are_shown():
    assert "json/decoder.py" in page_of(lambda: json.loads("{"))
