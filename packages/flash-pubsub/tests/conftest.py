"""The stores that every broker is asked on."""

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "broker_worlds", Path(__file__).with_name("broker_worlds.py")
)
broker_worlds = sys.modules["broker_worlds"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(broker_worlds)


@pytest.fixture
async def memory_world():
    world = broker_worlds.MemoryWorld()
    yield world
    await world.close()
