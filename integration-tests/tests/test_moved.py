"""Real Dash apps, each served by Dash and, with its import line changed, by Flash.

The same user does the same on both; then what is on the page must be the same: its text, the data
of its figures, its address, the cookies.
"""

import json
import re
import shutil
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from zlib import decompress

import pytest
from selenium.webdriver import ActionChains, Keys
from stock_dash import stock_dash

from flash.testing import AppProcess
from flash.testing.browser import Browser, Tab

pytest_plugins = ["flash.testing.plugin"]

APPS = Path(__file__).parents[1] / "apps" / "moved"

# All figures of the page as Plotly has them, numbers decoded. Left out is what the drawing makes of
# the size of its place: Plotly takes height and width away while it draws anew.
FIGURES = """
const plain = (key, value) =>
    key.startsWith("_") || key === "uid" ? undefined
    : ArrayBuffer.isView(value) ? Array.from(value)
    : value && value.autorange ? {...value, range: undefined}
    : value;
const drawn = {height: undefined, width: undefined, autosize: undefined};
return JSON.stringify([...document.querySelectorAll(".js-plotly-plot")].map(
    graph => [graph.closest(".dash-graph").id, graph.data, {...graph.layout, ...drawn}]), plain);
"""
# The text beside the figures, whose labels stand in the order in which they were drawn.
TEXT = """
const plots = [...document.querySelectorAll(".js-plotly-plot")];
plots.forEach(plot => plot.style.visibility = "hidden");
const text = document.body.innerText;
plots.forEach(plot => plot.style.visibility = "");
return [text, [...document.querySelectorAll("input")].map(input => [input.value, input.checked])];
"""
# Whether callbacks wait or run, or a figure is still to be drawn.
BUSY = """
const count = css => document.querySelectorAll(css).length;
const calls = window.store ? window.store.getState().callbacks : {};
const stages = ["requested", "prioritized", "blocked", "executing", "watched", "executed"];
return stages.some(stage => calls[stage] && calls[stage].length)
    || count(".dash-graph") !== count(".dash-graph .main-svg .layer-above");
"""
# How often in succession a page that has settled looks the same, as the page itself sees it.
STILL = 4
SETTLED = f"""
const busy = () => {{ {BUSY} }};
const text = () => {{ {TEXT} }};
const figures = () => {{ {FIGURES} }};
let before = null;
for (let still = 0, end = Date.now() + 5000; Date.now() < end; ) {{
    const now = busy() ? null
        : JSON.stringify([location.href, document.title, document.cookie, text(), figures()]);
    still = now !== null && now === before ? still + 1 : 0;
    if (still === arguments[0]) return true;
    before = now;
    await new Promise((done) => setTimeout(done, 50));
}}
return false;
"""
# Of a page, which is compared by looking at it, only where it is.
ASK = """
return fetch(arguments[0]).then(async response => {
    const kind = response.headers.get("content-type");
    const body = kind.startsWith("text/html") ? new URL(response.url).pathname
        : await response.text();
    return [response.status, kind, body, response.headers.get("x-currency"),
            response.headers.get("content-disposition")];
});
"""


@dataclass
class Visitor:
    """A user on one of the two servers, and what they have seen."""

    tab: Tab
    address: str
    folder: Path
    seen: list[object] = field(default_factory=list)

    def open(self, path: str = "/") -> None:
        self.tab.open(self.address + path)

    def look(self) -> None:
        """Note all that is on the page once it no longer changes."""
        self.tab.wait_for(lambda: self.tab.run_js(SETTLED, STILL), "the page to settle")
        self.seen.append(self._page())

    def ask(self, path: str) -> None:
        """Note what the server answers to a request of the page."""
        self.seen.append(self.tab.run_js(ASK, path))

    def drawn(self, graph: str) -> None:
        """Wait until a graph has data."""
        script = f"const it = document.querySelector('#{graph} .js-plotly-plot');"
        self.tab.wait_for(
            lambda: self.tab.run_js(f"{script} return it && it.data && it.data.length > 0"),
            f"a figure in {graph}",
        )

    def _page(self) -> list[object]:
        tab = self.tab
        url = urlsplit(tab.url)
        return [
            [url.path, url.query],
            tab.title,
            tab.run_js(TEXT),
            json.loads(tab.run_js(FIGURES)),
            sorted(cookie(each) for each in tab.driver.get_cookies()),
        ]


def cookie(given: dict) -> tuple[str, str, str, bool, str, bool]:
    """Return a cookie without the time at which it was made."""
    value = given["value"]
    if given["name"] == "session":
        is_packed = value.startswith(".")
        body = value.lstrip(".").partition(".")[0]
        value = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        value = json.dumps(json.loads(decompress(value) if is_packed else value), sort_keys=True)
        # Keys that an app makes at random.
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a UUID", value)
    lasting = "expiry" in given
    same_site = given.get("sameSite", "")
    return given["name"], value, given["path"], given["httpOnly"], same_site, lasting


@contextmanager
def served_by_flash(folder: Path):
    with AppProcess(folder / "app.py") as process:
        yield process.url


SERVERS = {"dash": stock_dash, "flash": served_by_flash}


def written_for(package: str, name: str, folder: Path) -> Path:
    """Copy an app, its import line written for the package."""
    source = APPS / name
    if source.is_dir():
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__*"))
    else:
        folder.mkdir()
        shutil.copy(source.with_suffix(".py"), folder / "app.py")
    for file in folder.rglob("*.py"):
        text, changes = re.subn(
            "^from dash import", f"from {package} import", file.read_text(), flags=re.MULTILINE
        )
        assert changes == 1, f"{file} has {changes} import lines"
        file.write_text(text)
    return folder


Story = Callable[[Visitor], None]


@pytest.fixture
def same_on_both(flash_browser: Browser, tmp_path: Path) -> Callable[[str, Story], None]:
    """Let a user do the same on both servers, and compare what they saw."""
    # What an app answers with 401 or 404 is compared; the console tells of it as well.
    flash_browser.expect_console_errors("status of 40[14]")

    def compare(name: str, story: Story) -> None:
        seen: dict[str, list[object]] = {}
        with ExitStack() as running, ThreadPoolExecutor() as threads:

            def start(package: str) -> str:
                folder = written_for(package, name, tmp_path / package)
                return running.enter_context(SERVERS[package](folder))

            # Both at once.
            addresses = dict(zip(SERVERS, threads.map(start, SERVERS), strict=True))
            for package, address in addresses.items():
                visitor = Visitor(flash_browser.new_user(), address, tmp_path)
                story(visitor)
                flash_browser.check_console()
                visitor.tab.close()
                seen[package] = visitor.seen
        assert len(seen["dash"]) > 1
        found = list(differences(seen["dash"], seen["flash"]))
        assert not found, "\n".join(["where: on Dash, on Flash", *found[:20]])

    return compare


def differences(ours: object, theirs: object, where: str = "") -> Iterator[str]:
    """Tell where two values of JSON differ, by path."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours.keys() | theirs.keys():
            yield from differences(ours.get(key), theirs.get(key), f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{where}[{number}]")
    elif ours != theirs:
        yield f"{where}: {str(ours)[:200]!r}, {str(theirs)[:200]!r}"


def click_on_plot(tab: Tab, graph: str, x: int, y: int) -> None:
    """Click on a plot, so many pixels from its centre."""
    plot = tab.find(f"#{graph} .nsewdrag")
    ActionChains(tab.driver).move_to_element_with_offset(plot, x, y).pause(0.2).click().perform()


def pick(tab: Tab, dropdown: str, text: str) -> None:
    """Pick an option of a dropdown."""
    tab.click(f"#{dropdown}")
    tab.type(".dash-dropdown-search", text)
    tab.wait_for(lambda: len(tab.find_all(".dash-dropdown-option")) == 1, "one option")
    tab.click(".dash-dropdown-option")


def test_a_dashboard_with_dates_and_a_click_on_a_heatmap(same_on_both):
    def story(user: Visitor) -> None:
        user.open()
        user.drawn("heatmap")
        user.tab.wait_for_text("#total", re.compile("visits of Eyes$"))
        user.look()
        pick(user.tab, "departments", "Skin")
        user.tab.wait_for_text("#total", re.compile("visits of Eyes, Skin$"))
        user.tab.click("h1")
        click_on_plot(user.tab, "heatmap", 20, 10)
        user.tab.wait_for_text("#selected", re.compile("at"))
        user.tab.wait_for(lambda: len(user.tab.find_all("#waits td")) == 6, "two rows")
        user.look()
        user.tab.click("#clear")
        user.tab.wait_for_text("#selected", "")
        user.look()

    same_on_both("clinic", story)


def test_figures_that_follow_an_interval_and_a_database(same_on_both):
    def story(user: Visitor) -> None:
        user.open()
        user.tab.wait_for_text("#now", re.compile("^reading 4 of 4"))
        for graph in ("speed", "direction", "histogram"):
            user.drawn(graph)
        user.look()
        user.tab.click("#auto input")
        user.tab.wait_for_text("#bins-text", "bins: 10")
        user.look()

    same_on_both("wind", story)


def test_tabs_rows_by_pattern_an_editable_table_and_patches(same_on_both):
    def story(user: Visitor) -> None:
        tab = user.tab
        user.open()
        tab.wait_for(lambda: len(tab.find_all("tr")) == 3, "three rows")
        tab.wait_for_text("tr td:nth-child(2)", re.compile("%$"))
        user.look()
        tab.click("tr:nth-child(2) button")
        user.drawn("chart")
        tab.click("#more")
        tab.wait_for_text("#chart .gtitle", "speed, 60 batches")
        tab.type("tr:nth-child(3) input", "too warm", enter=True)
        tab.wait_for_text("tr:nth-child(3) td:nth-child(4)", "warmth: too warm")
        tab.wait_for_text("#letters", "8 letters of notes")
        user.look()
        tab.click(".tab:nth-child(2)")
        cell = "#table td[data-dash-column='low'][data-dash-row='0']"
        tab.click(cell)
        ActionChains(tab.driver).send_keys("49\n").perform()
        tab.wait_for_text(cell, "49")
        tab.click("#save")
        tab.wait_for_text("#message", "limits saved")
        tab.click(".tab:nth-child(1)")
        tab.wait_for_text("tr td:nth-child(2)", re.compile("%$"))
        user.look()

    same_on_both("factory", story)


ZOOM = """
return Plotly.relayout(document.querySelector("#signal .js-plotly-plot"),
    {"xaxis.range[0]": arguments[0], "xaxis.range[1]": arguments[1]}).then(() => true);
"""


def test_a_million_samples_that_are_reduced_to_what_is_visible(same_on_both):
    def story(user: Visitor) -> None:
        user.open()
        for graph in ("signal", "spread"):
            user.drawn(graph)
        user.tab.wait_for_text("#window", re.compile("^1,000,000 samples"))
        user.look()
        for start, end in ((400_000, 500_000), (450_000, 451_500)):
            user.tab.run_js(ZOOM, start, end)
            user.tab.wait_for_text("#window", re.compile(f"^{end - start:,} samples"))
            user.look()

    same_on_both("signals", story)


def test_a_figure_of_megabytes_with_a_filter_on_the_server(same_on_both):
    def story(user: Visitor) -> None:
        user.open()
        user.drawn("plot")
        user.tab.wait_for_text("#summary", re.compile("^149,999 stars"))
        user.look()
        # Ten steps.
        user.tab.find("#range [role=slider]").send_keys(Keys.PAGE_UP)
        user.tab.wait_for_text("#summary", re.compile("^8\\d,\\d{3} stars"))
        user.look()
        user.tab.click("#view label:nth-of-type(2) input")
        user.tab.wait_for(lambda: len(user.tab.find_all("#plot .legend .traces")) == 3, "3 bars")
        user.look()

    same_on_both("stars", story)


def test_pages_for_members_with_flask_login(same_on_both):
    def story(user: Visitor) -> None:
        tab = user.tab
        user.open()
        tab.wait_for_text("#to-login", "Log in")
        user.look()
        tab.click("#to-accounts")
        tab.type("#name", "ada")
        user.look()
        tab.type("#password", "wrong")
        tab.click("#submit")
        user.look()
        tab.click("#again")
        tab.type("#name", "ada")
        tab.type("#password", "engine")
        tab.click("#submit")
        tab.wait_for_text("#accounts", "Accounts of ada")
        tab.wait_for_text("#balance", "ada has 307 in savings")
        tab.click("#account label:nth-of-type(2) input")
        tab.wait_for_text("#balance", "ada has 306 in shares")
        user.look()
        user.ask("/card")
        other = tab.browser.new_user(user.address + "/accounts")
        other.wait_for(lambda: urlsplit(other.url).path == "/login", "the login page")
        other.close()
        # A member who comes back without a session is remembered by a cookie.
        tab.driver.delete_cookie("session")
        user.ask("/card")
        tab.click("#leave")
        tab.wait_for_text("#bye", "Good bye, ada")
        user.look()
        user.ask("/card")

    same_on_both("members", story)


def test_pages_behind_basic_authentication(same_on_both):
    def story(user: Visitor) -> None:
        tab = user.tab
        # Chromium keeps the password for the address.
        tab.driver.get(user.address.replace("//", "//ada:engine@") + "/_dash-layout")
        user.open()
        tab.wait_for_text("#reader", "ada reads /")
        tab.wait_for_text("h2", "Shelf by title")
        user.look()
        tab.click("#by-year")
        tab.wait_for_text("h2", "Shelf by year")
        user.look()
        tab.click("li:nth-child(3) a")
        tab.wait_for_text("#book", "Flatland")
        tab.wait_for(lambda: tab.title == "Book 1", "the book's title")
        tab.wait_for_text("#pace", "13.7 pages a day")
        tab.type("#days", "12", clear=True)
        tab.wait_for_text("#pace", "8.0 pages a day")
        tab.wait_for_text("#reader", "ada reads /book/1")
        user.look()
        tab.back()
        tab.wait_for_text("h2", "Shelf by year")
        for path, css in (("/numbers", "#bars .bars"), ("/book/9", "#missing"), ("/x", "#nothing")):
            user.open(path)
            tab.find(css)
            tab.wait_for_text("#reader", re.compile("ada reads"))
            user.look()

    same_on_both("library", story)


def test_a_background_callback_with_progress_and_cancellation(same_on_both):
    def story(user: Visitor) -> None:
        tab = user.tab
        user.open()
        tab.wait_for_text("#state", "idle")
        user.look()
        # The page keeps what it shows: a look from outside may come too late.
        tab.run_js(
            "window.shown = []; new MutationObserver(() => shown.push(state.textContent))"
            ".observe(state, {subtree: true, childList: true, characterData: true});"
        )
        tab.click("#write")
        tab.wait_for_text("#text", re.compile("Chapter 3 of click 1"))
        tab.wait_for_text("#state", "idle")
        assert "writing" in tab.run_js("return shown")
        user.look()
        # The chapters are the key of the cache, the clicks are not.
        tab.click("#write")
        tab.wait_for(lambda: tab.find("#write").is_enabled(), "the end")
        user.look()
        tab.type("#chapters", "500", clear=True)
        tab.click("#write")
        tab.wait_for(lambda: tab.find("#bar").get_attribute("max") == "500", "progress")
        tab.click("#cancel")
        tab.wait_for_text("#state", "idle")
        tab.wait_for(lambda: tab.find("#write").is_enabled(), "the end")
        tab.type("#chapters", "2", clear=True)
        tab.click("#write")
        tab.wait_for_text("#text", re.compile("Chapter 2 of click 4$"))
        tab.wait_for_text("#state", "idle")
        user.look()

    same_on_both("report", story)


def test_uploads_that_are_cached_on_the_server(same_on_both):
    def story(user: Visitor) -> None:
        tab = user.tab
        table = user.folder / "rivers.csv"
        table.write_text("river,km,depth\nLoire,1006,5\nRhine,1233,12\nTiber,405,7\nAar,288,9\n")
        user.open()
        tab.find("#upload")
        user.look()
        user.ask("/export.csv")
        tab.find("#upload input[type=file]").send_keys(str(table))
        tab.wait_for_text("#summary", "rivers.csv, km: 4 values, mean 733.0, to 1233.0")
        user.drawn("plot")
        tab.wait_for_text("#computed", "computed 1 times")
        user.look()
        pick(tab, "column", "depth")
        tab.wait_for_text("#summary", "rivers.csv, depth: 4 values, mean 8.25, to 12.0")
        pick(tab, "column", "km")
        tab.wait_for_text("#summary", re.compile("km:"))
        tab.wait_for_text("#computed", "computed 2 times")
        user.look()
        user.ask("/export.csv")

    same_on_both("sheets", story)


def test_a_websocket_beside_the_app(same_on_both):
    def story(user: Visitor) -> None:
        tab = user.tab
        user.open()
        tab.wait_for_text("#state", "connected")
        tab.wait_for_text("#lines", "house: Good day")
        user.look()
        for number, line in enumerate(("tea", "star"), start=1):
            tab.type("#line", line, enter=True)
            tab.wait_for_text("#lines", re.compile(f"house: {number}\\. {line[::-1]}$"))
        user.look()

    same_on_both("chat", story)


def test_a_flask_server_with_an_api_guards_and_pages_of_its_own(same_on_both):
    def story(user: Visitor) -> None:
        tab = user.tab
        user.open("/desk/")
        tab.type("#name", "x")
        tab.click("#enter")
        tab.wait_for_text("#error", "A name has two letters at least")
        user.look()
        tab.type("#name", "Ada")
        tab.click("#enter")
        tab.wait_for_text("h1", "Ada's cart")
        tab.wait_for_text("#sum", "0 EUR for Ada")
        for number in (1, 3, 3):
            before = tab.text("#sum")
            tab.click(f"button:nth-of-type({number})")
            tab.wait_for(lambda shown=before: tab.text("#sum") != shown, "another sum")
        user.drawn("bars")
        user.look()
        tab.click("#currency label:nth-of-type(2) input")
        tab.wait_for_text("#paid-in", "from now on in CHF")
        tab.wait_for_text("#sum", "21 CHF for Ada")
        user.look()
        for path in ("/api/cart", "/api/price/bread", "/api/price/salt", "/api/none"):
            user.ask(path)

    same_on_both("shop", story)
