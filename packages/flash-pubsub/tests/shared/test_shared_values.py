"""Shared values as server code reads and sets them."""

import pytest

from flash import ConfigurationError
from flash_pubsub.shared.values import SharedValues


class State:
    """The shared state of one worker, which knows one value once it is up to date."""

    def __init__(self):
        self.known = {}
        self.was_set = []

    async def up_to_date(self):
        self.known = {('{"a":1}', "value"): 5}

    def value(self, key, default=None):
        return self.known.get(key, default)

    async def set(self, key, value):
        self.was_set.append((key, value))


async def test_a_value_is_read_up_to_date_by_id_and_property_or_is_the_default():
    shared = SharedValues(State())
    assert await shared[{"a": 1}, "value"].get() == 5
    assert await shared[{"a": 1}, "value"] == 5
    assert await shared[{"a": 1}, "title"].get("none") == "none"
    assert await shared["a", "value"] is None


async def test_a_value_is_set_by_id_and_property():
    state = State()
    await SharedValues(state)["lamp", "title"].set("on")
    assert state.was_set == [(("lamp", "title"), "on")]


def test_a_room_before_there_is_an_app_is_refused_with_the_remedy():
    with pytest.raises(ConfigurationError, match=r"no app yet: PubSub\(app\), or init_app\(app\)"):
        SharedValues(State()).room("desk/7")
