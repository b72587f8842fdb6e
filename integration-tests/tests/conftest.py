"""What all tests in a browser share."""

import pytest


@pytest.fixture(scope="session")
def flash_browser_timeout():
    """A wait ends when it has what it waits for; that long only where something is broken."""
    return 60.0
