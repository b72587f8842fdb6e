"""Apps with the behaviour of well-known public Dash examples, moved to Flash by the import line.

Each is driven in a browser twice: served by Flash, and, with its import line as it was before, by
Dash itself. Where the two behave alike the test shows Dash's behaviour, not a habit of Flash.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains
from stock_dash import stock_dash

from flash.testing import AppProcess
from flash.testing.browser import Browser

pytest_plugins = ["flash.testing.plugin"]

APPS = Path(__file__).parents[1] / "apps"
BEFORE = {
    "from flash import": "from dash import",
    "from flash.enrich": "from dash_extensions.enrich",
}

Serve = Callable[..., None]


@pytest.fixture(scope="module")
def address_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], str]]:
    """Serve an app by one of the two, for as long as the tests in a row look at that app."""
    addresses: dict[tuple[str, str], str] = {}
    with ExitStack() as running:

        def address(kind: str, name: str) -> str:
            if not any(name == served for _, served in addresses):
                addresses.clear()
                running.close()
            if (kind, name) not in addresses:
                folder = APPS / name
                if kind == "flash":
                    served = running.enter_context(AppProcess(folder / "app.py")).url
                else:
                    moved_back = tmp_path_factory.mktemp("dash") / name
                    shutil.copytree(folder, moved_back, ignore=shutil.ignore_patterns("__*"))
                    change_imports(moved_back)
                    served = running.enter_context(stock_dash(moved_back))
                addresses[kind, name] = served
            return addresses[kind, name]

        yield address


@pytest.fixture(params=["flash", "dash"], ids="on_{}".format)
def serve(request, flash_browser: Browser, address_of: Callable[[str, str], str]) -> Serve:
    """Open ``path`` of one of the apps."""

    def start(name: str, path: str = "/") -> None:
        flash_browser.address = address_of(request.param, name)
        flash_browser.open(path)

    return start


def change_imports(folder: Path) -> None:
    for file in folder.rglob("*.py"):
        text = file.read_text()
        for flashs, dashs in BEFORE.items():
            text = text.replace(flashs, dashs)
        assert "from flash" not in text
        file.write_text(text)


def texts(browser: Browser, css: str) -> list[str]:
    return [element.text for element in browser.find_all(css)]


def wait_for_texts(browser: Browser, css: str, expected: list[str]) -> None:
    browser.wait_for(lambda: texts(browser, css) == expected, f"{css!r} to show {expected}")


# -- several pages


def test_pages_are_reached_by_link_path_template_query_string_and_history(serve, flash_browser):
    browser = flash_browser
    serve("recipes")
    wait_for_texts(browser, "main li", ["Pancakes", "Ratatouille", "Mint tea"])
    wait_for_texts(browser, "#navigation a", ["Recipes", "Search"])
    browser.wait_for(lambda: browser.title == "All recipes", "the page's title")

    browser.click("#to-ratatouille")
    browser.wait_for_text("#recipe-facts", "70 minutes, for 2")
    browser.wait_for_text("#breadcrumb", "Cookbook / recipe / ratatouille")
    browser.wait_for(lambda: browser.title == "Ratatouille", "the title made for the path")
    assert browser.url.endswith("/recipe/ratatouille")
    browser.back()
    browser.wait_for(lambda: browser.title == "All recipes", "the title after going back")

    browser.open("/search?within=20")
    wait_for_texts(browser, "#found li", ["Pancakes", "Mint tea"])
    browser.type("#minutes", "5", clear=True, enter=True)
    wait_for_texts(browser, "#found li", ["Mint tea"])
    browser.click("#found a")
    browser.wait_for_text("#recipe-facts", "5 minutes, for 4")


def test_what_one_page_collects_is_there_on_the_others(serve, flash_browser):
    browser = flash_browser
    serve("recipes", "/recipe/pancakes")
    browser.wait_for_text("#shopping-count", "0 on the shopping list")
    browser.click("#recipe button")
    browser.wait_for_text("#shopping-count", "3 on the shopping list")
    browser.click("#navigation a")
    browser.click("#to-tea")
    browser.wait_for_text("#recipe-title", "Mint tea")
    browser.click("#recipe button")
    browser.wait_for_text("#shopping-count", "5 on the shopping list")


def test_an_unknown_path_shows_the_app_s_own_page_and_an_old_one_leads_on(serve, flash_browser):
    browser = flash_browser
    serve("recipes", "/no/such/page")
    browser.wait_for_text("#missing", "This page is not in the book")
    browser.wait_for(lambda: browser.title == "Nothing here", "the title of the missing page")
    browser.open("/recipe/porridge")
    browser.wait_for_text("#unknown", "There is no recipe called porridge.")
    browser.open("/find")
    browser.wait_for(lambda: browser.url.endswith("/search"), "the redirection")
    wait_for_texts(browser, "#found li", ["Pancakes", "Mint tea"])


# -- pattern-matching


def test_a_to_do_list_is_filled_struck_off_and_cleared(serve, flash_browser):
    browser = flash_browser
    serve("todo")
    browser.wait_for_text("#summary", "Nothing to do")
    for text in ["Write", "Read", "Rest"]:
        browser.type("#what", text, enter=True)
        browser.wait_for(lambda text=text: texts(browser, "#items span")[-1:] == [text])
        browser.wait_for(lambda: browser.find("#what").get_attribute("value") == "")
    browser.wait_for_text("#summary", "0 of 3 done")
    browser.type("#what", "Sleep")
    browser.click("#add")
    wait_for_texts(browser, "#items > li > span", ["Write", "Read", "Rest", "Sleep"])

    browser.click("#items li:nth-child(2) input")
    browser.wait_for_text("#summary", "1 of 4 done")
    struck = "[...document.querySelectorAll('#items > li > span')].map(e => e.style.textDecoration)"
    browser.wait_for(
        lambda: browser.run_js(f"return {struck}") == ["none", "line-through", "none", "none"],
        "the second alone to be struck off",
    )
    browser.click("#items li:nth-child(3) button")
    wait_for_texts(browser, "#items > li > span", ["Write", "Read", "Sleep"])
    browser.wait_for_text("#summary", "1 of 3 done")
    browser.click("#items li:nth-child(3) input")
    browser.wait_for_text("#summary", "2 of 3 done")
    browser.click("#clear")
    wait_for_texts(browser, "#items > li > span", ["Write"])
    browser.wait_for_text("#summary", "0 of 1 done")
    browser.click("#items button")
    browser.wait_for_text("#summary", "Nothing to do")


# -- AG Grid


def test_a_grid_is_filled_edited_and_selected(serve, flash_browser):
    browser = flash_browser
    serve("grid")
    name = "#products .ag-row .ag-cell[col-id=name]"
    price = "#products .ag-row .ag-cell[col-id=price]"
    wait_for_texts(browser, name, ["Apple", "Pear"])
    wait_for_texts(browser, price, ["2.00", "3.00"])
    browser.wait_for_text("#total", "Total 5.00")

    ActionChains(browser.driver).double_click(browser.find(price)).perform()
    browser.type(f"{price} input", "9.5", clear=True, enter=True)
    browser.wait_for_text("#edited", "Apple: 2 became 9.5")
    wait_for_texts(browser, price, ["9.50", "3.00"])
    browser.wait_for_text("#total", "Total 12.50")

    browser.wait_for_text("#selected", "Nothing selected")
    browser.click("#products .ag-row[row-id=Pear] .ag-checkbox-input")
    browser.wait_for_text("#selected", "Pear")

    browser.click("#kind")
    browser.type(".dash-dropdown-search", "Bre")
    browser.click(".dash-dropdown-option")
    wait_for_texts(browser, name, ["Rye", "Oat", "Corn"])
    browser.wait_for_text("#total", "Total 15.00")


def test_a_long_grid_is_scrolled_filtered_and_sorted_on_the_server(serve, flash_browser):
    browser = flash_browser
    serve("grid")
    browser.wait_for_text("#asked-for", re.compile(r"5000 rows match"))
    cell = "#measured .ag-row[row-index='{}'] .ag-cell[col-id={}]"
    browser.wait_for_text(cell.format(0, "id"), "0")
    browser.run_js("document.querySelector('#measured .ag-body-viewport').scrollTop = 2000 * 42;")
    browser.wait_for(
        lambda: browser.run_js(
            "return [...document.querySelectorAll('#measured .ag-row .ag-cell[col-id=id]')]"
            ".some(cell => Number(cell.innerText) > 1000)"
        ),
        "rows from far down",
    )
    browser.type("#measured .ag-floating-filter input", "sensor-3")
    browser.wait_for_text("#asked-for", re.compile(r"714 rows match"))
    browser.wait_for_text(cell.format(0, "id"), "3")
    browser.click("#measured .ag-header-cell[col-id=value] .ag-header-cell-text")
    browser.wait_for_text(cell.format(0, "value"), "0")
    browser.wait_for_text(cell.format(0, "sensor"), "sensor-3")


# -- Mantine


def test_a_mantine_form_checks_books_notifies_and_changes_theme(serve, flash_browser):
    browser = flash_browser
    serve("mantine")
    browser.wait_for_text("#price", "160 euros")
    browser.wait_for_text("#booked", "No bookings yet")
    assert browser.find("#book").get_attribute("disabled")

    browser.type("#guest", "Al")
    browser.wait_for_text(".mantine-TextInput-error", "At least three letters")
    browser.type("#guest", "ma")
    browser.wait_for_no(".mantine-TextInput-error")
    browser.click("#room")
    browser.click(".mantine-Select-option[value=Suite]")
    browser.wait_for_text("#price", "420 euros")
    browser.type("#nights", "3", clear=True)
    browser.wait_for_text("#price", "630 euros")
    browser.click("#board input[value=Breakfast] + label")
    browser.wait_for_text("#price", "675 euros")

    browser.click("#book")
    browser.wait_for_text("#question", "Suite for Alma, 3 nights?")
    browser.click("#no")
    browser.wait_for_no("#question")
    browser.wait_for_text("#booked", "No bookings yet")
    browser.click("#book")
    browser.click("#yes")
    browser.wait_for_text(".mantine-Notification-description", "Alma has the Suite")
    browser.find("#booked svg .recharts-bar-rectangle")

    scheme = "return document.documentElement.getAttribute('data-mantine-color-scheme')"
    assert browser.run_js(scheme) == "light"
    browser.run_js("document.querySelector('#dark').click()")
    browser.wait_for(lambda: browser.run_js(scheme) == "dark", "the dark theme")


# -- Bootstrap


def test_a_bootstrap_form_validates_folds_registers_and_lists(serve, flash_browser):
    browser = flash_browser
    serve("bootstrap")
    browser.find("#register[disabled]")
    browser.type("#email", "ada")
    browser.wait_for_text("#email-wrong", "That is no e-mail address")
    browser.type("#email", "@example.org")
    browser.wait_for_text(".valid-feedback", "Looks right")
    browser.find("#register[disabled]")
    browser.click("#terms input")
    browser.find("#register:not([disabled])")

    assert not browser.find("#note").is_displayed()
    browser.click("#more")
    browser.wait_for_text("#more", "Less")
    browser.type("#note", "By the window")
    browser.click("#time .form-check:nth-child(2) input")

    browser.click("#register")
    browser.wait_for_text("#thanks", "ada@example.org is in Drawing, evenings")
    browser.click("#close")
    browser.wait_for_no("#thanks")

    browser.click(".tab-list .nav-link")
    wait_for_texts(
        browser, "#registered td", ["ada@example.org", "Drawing", "Evening", "By the window"]
    )
    assert not browser.find("#form-side").is_displayed()
    browser.click(".tab-form .nav-link")
    browser.wait_for(lambda: browser.find("#note").is_displayed(), "the form")


def test_an_alert_of_an_empty_list_is_dismissed(serve, flash_browser):
    browser = flash_browser
    serve("bootstrap")
    browser.click(".tab-list .nav-link")
    browser.wait_for_text("#nobody", re.compile("Nobody yet"))
    browser.click("#nobody .btn-close")
    browser.wait_for_no("#nobody")


# -- dash-extensions


def test_the_transforms_of_dash_extensions_apply(serve, flash_browser):
    browser = flash_browser
    serve("enriched")
    # MultiplexerTransform: one output, two callbacks; TriggerTransform: no argument.
    browser.wait_for_text("#side", "Nowhere")
    browser.click("#left")
    browser.wait_for_text("#side", "Left")
    browser.click("#right")
    browser.wait_for_text("#side", "Right, 1")
    # ServersideOutputTransform: only the name of the object travels.
    browser.click("#make")
    browser.wait_for_text("#sum", "The sum is 10")
    # CycleBreakerTransform: two inputs that follow each other.
    value = "return document.querySelector(arguments[0]).value"
    browser.type("#fahrenheit", "212", clear=True, enter=True)
    browser.wait_for(lambda: browser.run_js(value, "#celsius") == "100", "100 °C")
    browser.type("#celsius", "10", clear=True, enter=True)
    browser.wait_for(lambda: browser.run_js(value, "#fahrenheit") == "50", "50 °F")
    # BlockingCallbackTransform: started by the browser when the one before has ended.
    browser.wait_for_text("#worked", "Worked 0")
    for _ in range(3):
        browser.click("#work")
    browser.wait_for_text("#worked", "Worked 3")


def test_a_blueprint_and_components_of_dash_extensions_work(serve, flash_browser):
    browser = flash_browser
    serve("enriched")
    browser.click("#clock-tick")
    browser.wait_for_text("#clock-ticks", "1 ticks")
    browser.click("#field")
    browser.wait_for_text("#event", "1 click")
    browser.wait_for_text("b", "bold")
    assert browser.run_js("return window.unsafe") is None


# -- what happens in the browser


def test_a_table_is_uploaded_filtered_in_the_browser_and_downloaded(
    serve, flash_browser, tmp_path: Path
):
    browser = flash_browser
    serve("spreadsheet")
    browser.wait_for_text("#ticks", re.compile(r"[1-9]\d* ticks in the browser"))
    browser.wait_for_text("#halves", re.compile(r"[1-9]\d* halves on the server"))
    browser.wait_for_text("#shown", "0 of 0 rows shown")
    source = tmp_path / "towns.csv"
    source.write_text("town,people\nUlm,130\nBonn,330\nBern,130\n")
    browser.find("#upload input").send_keys(str(source))
    browser.wait_for_text("#about", "towns.csv: 3 rows")
    browser.wait_for_text("#shown", "3 of 3 rows shown")
    browser.type("#filter", "B")
    browser.wait_for_text("#shown", "2 of 3 rows shown")
    browser.wait_for(
        lambda: len(browser.find_all("#chart .point")) == 2, "a bar for each of two towns"
    )

    browser.driver.execute_cdp_cmd(
        "Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.click("#download")
    saved = tmp_path / "shown.csv"
    browser.wait_for(saved.exists, "the download")
    assert saved.read_text().split() == ["town,people", "Bonn,330", "Bern,130"]

    browser.reload()
    browser.wait_for_text("#shown", "3 of 3 rows shown")
    browser.click("#forget")
    browser.wait_for_text("#shown", "0 of 0 rows shown")


# -- in the background


@pytest.mark.parametrize("manager", ["async", "diskcache"])
def test_a_background_job_shows_progress_ends_and_is_cancelled(flash_browser, tmp_path, manager):
    browser = flash_browser
    env = {"JOBS_FOLDER": str(tmp_path)} if manager == "diskcache" else {}
    browser.serve(APPS / "report" / "app.py", env=env)
    browser.wait_for_text("#report", "No report yet")
    browser.click("#write")
    browser.wait_for_text("#log", "Report 1 begun")
    browser.wait_for_text("#report", re.compile("Chapter 1.*Chapter 6", re.DOTALL))
    browser.wait_for_text("#now-at", "Not writing")
    browser.find("#write:not([disabled])")

    browser.type("#chapters", "5000", clear=True)
    browser.click("#write")
    browser.wait_for_text("#now-at", re.compile(r"Chapter \d+ of 5000"))
    browser.find("#write[disabled]")
    browser.wait_for_text("#log", "Report 2 begun")
    browser.click("#ask")
    browser.wait_for_text("#answer", "Answer 1")
    browser.click("#stop")
    browser.find("#write:not([disabled])")
    browser.find("#stop[disabled]")
    browser.wait_for_text("#report", re.compile("Chapter 6$"))
