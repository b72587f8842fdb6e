"""What every test of the workspace runs under: nothing of Flash may block the event loop."""

from __future__ import annotations

import importlib.util
import signal
from typing import TYPE_CHECKING, Any

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings
from pytest_asyncio import is_async_test

from flash.log_limit import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says more of the machine than of the code.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

PACKAGES = ("flash", "flash_lazy", "flash_pubsub", "flash_ws")


@pytest.fixture(scope="session")
def blocking_call_detector() -> BlockBuster:
    """Raises where a call that blocks is made on the loop with a frame of Flash on the stack.

    What a test itself does on its loop is its own business, and so is what pytest does.
    """
    installed = [name for name in PACKAGES if importlib.util.find_spec(name)]
    # Tasks of the test too run through the guard of exits, on a loop that an app has used.
    detector = BlockBuster(installed, excluded_modules=["flash.exits"])
    for function in detector.functions.values():
        # A test builds its app inside its loop; in production an app is built before there is
        # a loop, and building one reads the assets folder, the pages and package metadata.
        function.can_block_in("flash/app.py", {"__init__", "init_app"})
        # So are its callbacks registered, and Dash reads a background callback's source then.
        function.can_block_in("flash/callbacks/registration.py", {"register"})
        # Garbage is collected wherever Python happens to be, finalizers of other tests' included.
        function.can_block_in("weakref.py", {"__call__"})
    return detector


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the detector on for the length of every async test, its async fixtures included."""
    if not is_async_test(request.node):
        yield
        return
    detector: BlockBuster = request.getfixturevalue("blocking_call_detector")
    detector.activate()
    try:
        yield
    finally:
        detector.deactivate()


@pytest.fixture(autouse=True)
def every_test_may_log() -> None:
    """Let each test see its log lines: those of earlier tests do not count."""
    LIMIT.reset()


@pytest.fixture(autouse=True)
def nobody_uses_an_add_on_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which modules imported `flash.live`, so that test modules do not count as an app's."""
    monkeypatch.setattr("flash.addons._importers", {})


# -- several test processes (pytest-xdist)


class Breakdown:
    """Fails a run in which a test process broke down, which pytest-xdist ends as if all passed."""

    def __init__(self) -> None:
        # Whether it has happened.
        self.seen = False

    def pytest_internalerror(self) -> None:
        """Note one, of a worker or of this process."""
        self.seen = True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Have the last word on the exit code."""
        if self.seen:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_configure(config: pytest.Config) -> None:
    """Watch over the whole run."""
    config.pluginmanager.register(Breakdown())
    # What a shell starts in the background ignores Ctrl-C, and would hand that on to the servers
    # that tests stop by it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """Let a report reach the process that prints it, whatever the test had logged.

    Reports travel as UTF-8, and half a surrogate pair in a log or an error's text would break the
    process down.
    """
    return encodable((yield))


def encodable(value: Any) -> Any:
    """The same with what UTF-8 cannot write as escapes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(encodable(item) for item in value)
    return value
