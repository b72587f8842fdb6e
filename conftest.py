"""What every test of the workspace runs under: nothing of Flash may block the event loop."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster
from pytest_asyncio import is_async_test

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("flash", "flash_lazy", "flash_pubsub", "flash_ws")


@pytest.fixture(scope="session")
def blocking_call_detector() -> BlockBuster:
    """Raises where a call that blocks is made on the loop with a frame of Flash on the stack.

    What a test itself does on its loop is its own business, and so is what pytest does.
    """
    installed = [name for name in PACKAGES if importlib.util.find_spec(name)]
    detector = BlockBuster(installed)
    for function in detector.functions.values():
        # A test builds its app inside its loop; in production an app is built before there is
        # a loop, and building one reads the assets folder, the pages and package metadata.
        function.can_block_in("flash/app.py", {"__init__", "init_app"})
        # So are its callbacks registered, and Dash reads a background callback's source then.
        function.can_block_in("flash/registration.py", {"register"})
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
