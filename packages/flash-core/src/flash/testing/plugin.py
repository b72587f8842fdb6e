"""The pytest plugin; it loads where asked for: ``pytest_plugins = ["flash.testing.plugin"]``.

Fixtures:

- ``flash_browser``: a `flash.testing.browser.Browser`, fresh for each test.
- ``flash_browser_timeout``: how long its waits may take, in seconds; 10 unless a ``conftest.py``
  has a fixture of that name that returns something else.

A test that leaves errors in the browser's console fails, unless it announced them. When a test
fails, what its tabs show and what its servers wrote is kept in ``screenshots/``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from flash.testing.browser import Browser, Chromium

if TYPE_CHECKING:
    from collections.abc import Generator

_BROWSER = pytest.StashKey[Browser]()


@pytest.fixture(scope="session")
def flash_chromium(tmp_path_factory: pytest.TempPathFactory) -> Generator[Chromium]:
    """One Chromium for all tests, with an empty profile."""
    chromium = Chromium(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="session")
def flash_browser_timeout() -> float:
    """How long each wait of ``flash_browser`` may take, in seconds."""
    return 10.0


@pytest.fixture
def flash_browser(
    request: pytest.FixtureRequest, flash_chromium: Chromium, flash_browser_timeout: float
) -> Generator[Browser]:
    """A browser without a past, and apps served for it: ``flash_browser.serve("app.py")``."""
    screenshots = request.config.rootpath / "screenshots"
    browser = Browser(flash_chromium, screenshots=screenshots, timeout=flash_browser_timeout)
    node: pytest.Item = request.node
    node.stash[_BROWSER] = browser
    yield browser
    del node.stash[_BROWSER]
    browser.quit()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that passed but left errors in the console."""
    result = yield
    browser = item.stash.get(_BROWSER, None)
    if browser is not None:
        browser.check_console()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a failed test's browser shows, and say where."""
    report = yield
    browser = item.stash.get(_BROWSER, None)
    if browser is not None and call.when == "call" and report.failed:
        try:
            kept = browser.keep(re.sub(r"[^\w.-]+", "-", item.name))
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
            # A browser that hangs may be why the test failed; that is the failure to report.
            report.sections.append(("flash_browser kept nothing", repr(error)))
        else:
            report.sections.append(("flash_browser kept", "\n".join(map(str, kept))))
    return report
