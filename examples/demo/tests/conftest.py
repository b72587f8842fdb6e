"""The demo is a folder of modules beside app.py, as Python sees it when app.py is started."""

import sys
from pathlib import Path

import pytest

from flash.testing import AppProcess

DEMO = Path(__file__).parents[1]

sys.path.insert(0, str(DEMO))


@pytest.fixture(scope="session")
def demo_settings():
    """The environment of each demo: a tenth of the orders, which is less to fill."""
    return {"ORDERS": "100000"}


@pytest.fixture(scope="module")
def demo(demo_settings):
    """The demo itself; it fills its database first where no test has started it before."""
    env = {"FLASH_REDIS_URL": "memory://", **demo_settings}
    with AppProcess(DEMO / "app.py", env=env) as process:
        yield process
