"""The pytest plugin; enable it with ``pytest_plugins = ["flash.testing.plugin"]``.

Fixtures:

- ``flash_browser``: a new `flash.testing.browser.Browser` for each test.
- ``flash_browser_timeout``: the time limit of its waits in seconds; 10 by default. Define a fixture
  of this name in a ``conftest.py`` to change it.

A test fails if the browser's console contains errors that it did not expect. When a test fails, the
content of its tabs and the output of its servers are saved in ``screenshots/``.
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
    """One Chromium with an empty profile, for all tests of the session."""
    chromium = Chromium(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="session")
def flash_browser_timeout() -> float:
    """The time limit of each wait of ``flash_browser``, in seconds."""
    return 10.0


@pytest.fixture
def flash_browser(
    request: pytest.FixtureRequest, flash_chromium: Chromium, flash_browser_timeout: float
) -> Generator[Browser]:
    """A browser without cookies, storage or cache; serve an app with ``serve("app.py")``."""
    screenshots = request.config.rootpath / "screenshots"
    browser = Browser(flash_chromium, screenshots=screenshots, timeout=flash_browser_timeout)
    node: pytest.Item = request.node
    node.stash[_BROWSER] = browser
    yield browser
    del node.stash[_BROWSER]
    browser.quit()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that passed if the console contains unexpected errors."""
    result = yield
    browser = item.stash.get(_BROWSER, None)
    if browser is not None:
        browser.check_console()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Save what a failed test's browser shows, and add the paths to the report."""
    report = yield
    browser = item.stash.get(_BROWSER, None)
    if browser is not None and call.when == "call" and report.failed:
        try:
            kept = browser.keep(re.sub(r"[^\w.-]+", "-", item.name))
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001
            # A hanging browser may be the cause; the test's own failure is what is reported.
            report.sections.append(("flash_browser saved nothing", repr(error)))
        else:
            report.sections.append(("flash_browser saved", "\n".join(map(str, kept))))
    return report
