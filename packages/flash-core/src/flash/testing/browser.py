"""The browser of tests: headless Chromium, with the app in a separate process."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urljoin, urlsplit

from flash.serving.options import DEFAULT_SERVER
from flash.testing.errors import BrowserMissing, UnexpectedConsoleErrors, WaitTimeout
from flash.testing.process import AppProcess

try:
    from selenium.common.exceptions import (
        NoSuchElementException,
        StaleElementReferenceException,
        WebDriverException,
    )
    from selenium.webdriver import Chrome, ChromeOptions, Keys
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.remote.command import Command
except ImportError as error:
    raise ImportError(
        "flash.testing.browser needs Selenium: pip install 'flash-core[testing]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    # Tabs in the background must run as fast as the tab in front.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    # Chromium renders these in an extra page per window, which can cost more than the tested page.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
    "--window-size=1280,900",
)
_POLL_INTERVAL = 0.05
# Selenium looks this often for the answer to a command of BiDi, in seconds; by itself ten times a
# second, while an answer takes milliseconds.
_BIDI_POLL_INTERVAL = 0.005
# The time limit, in seconds, for loading a page and for a script's promise.
_PAGE_TIMEOUT = 60
# What chromedriver says if a page is replaced while a command reads it.
_NAVIGATED = re.compile(r"aborted by navigation|no such execution context")
# What Chromium says of a connection that is cut or cannot be opened, whatever it has got to.
_LOST = re.compile(
    r"net::ERR_(CONNECTION|SOCKET|NETWORK|INTERNET|EMPTY_RESPONSE|INCOMPLETE|TIMED_OUT|FAILED)"
    r"|WebSocket connection to .* failed|Failed to fetch"
)
# The number of characters of a page's text that a failed wait shows.
_SHOWN = 1_000


@dataclass(frozen=True, slots=True)
class ConsoleEntry:
    """One entry of the browser's console; ``level`` is SEVERE (errors), WARNING, INFO or DEBUG."""

    level: str
    message: str


class Chromium:
    """A running Chromium, controlled by chromedriver; one is enough for a test session.

    Raises `BrowserMissing` if one of the two is not on the PATH. Nothing is downloaded.
    """

    def __init__(self, profile: Path) -> None:
        options = ChromeOptions()
        options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # The BiDi protocol offers isolated user contexts within one browser.
        options.enable_bidi = True
        # With an explicit path, Selenium does not search for a driver.
        self._service = Service(executable_path=_program("chromedriver"))
        # Selenium's driver, for operations without a method here.
        self.driver = Chrome(options=options, service=self._service)
        # Early releases of Selenium have no such setting.
        config = getattr(self.driver.command_executor, "client_config", None)
        if config is not None:
            config.websocket_interval = _BIDI_POLL_INTERVAL
        self._base = self.driver.current_window_handle
        self.driver.set_page_load_timeout(_PAGE_TIMEOUT)
        self.driver.set_script_timeout(_PAGE_TIMEOUT)

    def to_base(self) -> None:
        """Switch to Chromium's first tab; the driver needs one open tab."""
        self.driver.switch_to.window(self._base)

    def quit(self) -> None:
        """Close the browser and its driver."""
        # Chromedriver ends first, and the socket of BiDi with it: where Selenium closes the socket
        # itself, it may wait ten seconds until its own thread has noticed.
        self.driver.execute(Command.QUIT)
        self._service.stop()
        self.driver.quit()


class Tab:
    """One tab. Methods that take a CSS selector wait for a match, up to ``timeout`` seconds."""

    def __init__(self, browser: Browser, context: str) -> None:
        # The browser of the tab.
        self.browser = browser
        # The time limit of each wait, in seconds.
        self.timeout = browser.timeout
        self._chromium = browser.chromium
        self._context = context
        self._handle: str = self._chromium.driver.browsing_context.create(
            type="tab", user_context=context
        )

    # Navigation

    @property
    def driver(self) -> Chrome:
        """Selenium's driver, switched to this tab."""
        driver = self._chromium.driver
        if driver.current_window_handle != self._handle:
            driver.switch_to.window(self._handle)
        return driver

    @property
    def url(self) -> str:
        """The URL of the tab."""
        return self.driver.current_url

    @property
    def title(self) -> str:
        """The page's title."""
        return self.driver.title

    def open(self, path: str = "/") -> None:
        """Open a path of the served app, or a URL, and wait until the page is loaded."""
        self.driver.get(urljoin(self.browser.address, path))

    def reload(self) -> None:
        """Reload the page."""
        self.driver.refresh()

    def back(self) -> None:
        """Go back one step in the tab's history."""
        self.driver.back()

    def close(self) -> None:
        """Close the tab as a user would."""
        self.driver.close()
        self._chromium.to_base()

    def is_one_of(self, handles: set[str]) -> bool:
        """Whether the tab's window handle is one of ``handles``."""
        return self._handle in handles

    # What the page shows

    def find(self, css: str) -> WebElement:
        """Return the first matching element; wait until there is one."""
        return self.wait_for(lambda: self._present(css), f"an element {css!r}")

    def find_all(self, css: str) -> list[WebElement]:
        """Return the elements that match now, maybe none; does not wait."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        """Return the visible text of the first matching element; wait until there is one."""
        return self.wait_for(lambda: (self._present(css).text,), f"an element {css!r}")[0]

    def wait_for_text(self, css: str, text: str | re.Pattern[str]) -> None:
        """Wait until the first match's visible text is ``text``, or contains the pattern."""

        def shows() -> bool:
            seen = self._present(css).text
            return seen == text if isinstance(text, str) else text.search(seen) is not None

        try:
            self.wait_for(shows, "")
        except WaitTimeout as timeout:
            found = [element.text for element in self.find_all(css)]
            raise WaitTimeout(
                f"{css!r} to show {text!r}",
                self.timeout,
                f"its text is {found[0]!r}" if found else timeout.seen,
            ) from None

    def wait_for_no(self, css: str) -> None:
        """Wait until no element matches."""
        self.wait_for(lambda: not self.find_all(css), f"no element {css!r}")

    def wait_for(
        self,
        condition: Callable[[], T],
        awaited: str = "a condition",
        *,
        timeout: float | None = None,
    ) -> T:
        """Call ``condition`` until it returns a true value, and return that value.

        It may use elements that do not exist yet or are being replaced, and a page that gives way
        to another. ``awaited`` describes the condition in the `WaitTimeout`. ``timeout`` is in
        seconds.
        """
        timeout = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while True:
            try:
                value = condition()
                if value:
                    return value
            except (NoSuchElementException, StaleElementReferenceException):
                # The element does not exist yet, or was replaced while it was read.
                pass
            except WebDriverException as error:
                if not _is_navigation(error):
                    raise
            if time.monotonic() > deadline:
                raise WaitTimeout(awaited, timeout, self._seen())
            time.sleep(_POLL_INTERVAL)

    def screenshot(self, name: str) -> Path:
        """Save a screenshot to ``screenshots/<name>.png`` and return that path."""
        path = self.browser.screenshots / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))
        return path

    # What a user does

    def click(self, css: str) -> None:
        """Click the first matching element; wait until it exists and nothing covers it."""
        refused: list[str] = []

        def clicked() -> bool:
            try:
                self._present(css).click()
            except (NoSuchElementException, StaleElementReferenceException):
                raise
            except WebDriverException as error:
                refused.append(str(error.msg))
                return False
            return True

        try:
            self.wait_for(clicked, f"{css!r} to be clicked")
        except WaitTimeout as timeout:
            seen = refused[-1] if refused else timeout.seen
            raise WaitTimeout(timeout.awaited, timeout.seconds, seen) from None

    def type(self, css: str, text: str, *, clear: bool = False, enter: bool = False) -> None:
        """Type into the first matching element; ``clear`` first deletes its text by key presses."""
        keys = (Keys.CONTROL, "a", Keys.NULL, Keys.DELETE) if clear else ()

        def typed() -> bool:
            element = self._present(css)
            try:
                element.send_keys(*keys, text, *([Keys.ENTER] if enter else []))
            except WebDriverException as error:
                # Enter may replace the page; another attempt would type into the next one.
                if not (enter and _is_navigation(error)):
                    raise
            return True

        self.wait_for(typed, f"an element {css!r}")

    def run_js(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page; return its value, after awaiting a promise."""
        return self.driver.execute_script(script, *arguments)

    def set_viewport(self, width: int, height: int) -> None:
        """Set the page's size in CSS pixels; it may be as small as a phone's."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def new_tab(self, path: str | None = None) -> Tab:
        """Open another tab of the same user; it shares cookies, storage and shared workers."""
        tab = Tab(self.browser, self._context)
        self.browser.tabs.append(tab)
        if path is not None:
            tab.open(path)
        return tab

    def _present(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def _seen(self) -> str:
        try:
            text = cast("str", self.run_js("return document.body ? document.body.innerText : ''"))
            return f"the page at {self.url} shows: {text[:_SHOWN]!r}"
        except WebDriverException as error:
            # The tab is closed, has crashed or shows a dialog.
            return f"the page cannot be read: {error.msg}"


class Browser(Tab):
    """The fixture ``flash_browser``: the first tab of a user, and the apps served for it.

    Each browser has its own cookies, storage, cache and workers; closing it deletes them.
    """

    def __init__(
        self, chromium: Chromium, *, screenshots: Path | None = None, timeout: float = 10.0
    ) -> None:
        self.chromium = chromium
        # The directory of screenshots.
        self.screenshots = screenshots or Path("screenshots")
        # The time limit of each wait, in seconds; also for tabs opened later.
        self.timeout = timeout
        # The URL to which paths are relative.
        self.address = "about:blank"
        # The apps that this browser has opened.
        self.servers: list[AppProcess] = []
        # All tabs opened so far; this one is the first.
        self.tabs: list[Tab] = [self]
        self._console: list[ConsoleEntry] = []
        self._expected: list[re.Pattern[str]] = []
        self._contexts: list[str] = []
        self._running = ExitStack()
        # Discard entries of earlier tests from the driver's log.
        chromium.driver.get_log("browser")
        super().__init__(self, self._new_context())

    def serve(
        self,
        target: str | Path,
        server: str = DEFAULT_SERVER,
        *,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        path: str | None = "/",
    ) -> AppProcess:
        """Serve an app in a separate process until the test ends, and open ``path``.

        ``target`` and ``arguments`` are those of `AppProcess`. If ``path`` is None, no page is
        opened.
        """
        process = self._running.enter_context(
            AppProcess(target, server=server, env=env, arguments=arguments)
        )
        self.visit(process, path)
        return process

    def visit(self, process: AppProcess, path: str | None = "/") -> None:
        """Open an app that already runs and outlives the test, such as one for a whole module."""
        self.servers.append(process)
        self.address = process.url
        if path is not None:
            self.open(path)

    def new_user(self, path: str | None = None) -> Tab:
        """Open a tab of another user, which shares nothing, as in a second browser."""
        tab = Tab(self, self._new_context())
        self.tabs.append(tab)
        if path is not None:
            tab.open(path)
        return tab

    def console(self, level: str | None = None) -> list[ConsoleEntry]:
        """Return the console entries of all tabs since the start of the test, oldest first."""
        for entry in cast("list[dict[str, Any]]", self.chromium.driver.get_log("browser")):
            self._console.append(ConsoleEntry(entry["level"], entry["message"]))
        return [entry for entry in self._console if level in (None, entry.level)]

    def expect_console_errors(self, pattern: str = "") -> None:
        """Allow errors in the console whose text matches this regular expression."""
        self._expected.append(re.compile(pattern))

    def expect_lost_connections(self) -> None:
        """Allow errors in the console of connections that are cut or cannot be opened.

        For tests with proxies or networks that fail. Connections to a server that the test has
        ended are always allowed.
        """
        self._expected.append(_LOST)

    def check_console(self) -> None:
        """Raise `UnexpectedConsoleErrors` if the console contains errors that are not expected.

        Expected are those that `expect_console_errors` allowed, and connections that failed because
        a test ended the server before its pages were closed.
        """
        ended = [urlsplit(process.url).netloc for process in self.servers if not process.is_running]
        errors = [
            entry.message
            for entry in self.console("SEVERE")
            if not any(pattern.search(entry.message) for pattern in self._expected)
            and not (_LOST.search(entry.message) and any(host in entry.message for host in ended))
        ]
        if errors:
            raise UnexpectedConsoleErrors(errors)

    def keep(self, name: str) -> list[Path]:
        """Save each open tab's screenshot and source, and each server's output.

        Returns the paths: ``<name>.png``, ``<name>.html`` and ``<name>.log``; those of the second
        and later tabs and servers have a number.
        """
        self.screenshots.mkdir(parents=True, exist_ok=True)
        kept: list[Path] = []
        open_tabs = set(self.chromium.driver.window_handles)
        for number, tab in enumerate(self.tabs, start=1):
            if not tab.is_one_of(open_tabs):
                continue
            stem = name if number == 1 else f"{name}-{number}"
            # A tab that has crashed or shows a dialog has no screenshot; the others do.
            with suppress(WebDriverException):
                kept.append(tab.screenshot(stem))
                source = self.screenshots / f"{stem}.html"
                source.write_text(tab.driver.page_source, encoding="utf-8")
                kept.append(source)
        for number, process in enumerate(self.servers, start=1):
            log = self.screenshots / f"{name if number == 1 else f'{name}-{number}'}.log"
            log.write_text(process.output, encoding="utf-8")
            kept.append(log)
        return kept

    def quit(self) -> None:
        """Close all tabs, delete their storage and stop the servers.

        Raises `ServerDied` or `ServerStuck` as `AppProcess.terminate` does.
        """
        with self._running:
            # Close the pages first, so that no server waits for their connections.
            while self._contexts:
                self.chromium.driver.browser.remove_user_context(self._contexts.pop())
            self.chromium.to_base()

    def _new_context(self) -> str:
        context = cast("str", self.chromium.driver.browser.create_user_context())
        self._contexts.append(context)
        return context


def _is_navigation(error: WebDriverException) -> bool:
    return _NAVIGATED.search(error.msg or "") is not None


def _program(*names: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    raise BrowserMissing(names[0])
