"""A page hears of a shared callback that meets a `BaseException`, and the next change runs."""

import asyncio

import pydantic
from pubsub_worlds import World, pages

from flash import Input, Output


class PanicException(BaseException):
    """What pydantic and polars raise when their native code panics."""


class Panics:
    """A result whose conversion to JSON panics."""

    def to_plotly_json(self):
        raise PanicException("native code")


class Level(pydantic.BaseModel):
    """A schema with a validator that fails in its own way."""

    value: int

    @pydantic.field_validator("value")
    @classmethod
    def check(cls, value):
        if value == 0:
            raise PanicException("native code")
        if value == 1:
            raise KeyError("a fault of the validator")
        return value


def change(page, pubsub, number, value):
    (name,) = pubsub.app.page_extras["flash_pubsub"]["shared"]
    page.send({"t": "share", "cb": name, "k": number, "v": [value], "s": [], "changed": [0]})


async def answer(page, number):
    """The answer to a change: the reason of a failure, or what is shown."""
    async with asyncio.timeout(10):
        while True:
            frame = await page.frame()
            if frame["t"] == "shared" and frame["k"] >= number:
                return frame.get("failed")
            if frame.get("o", {}).get(page.welcome["id"], 0) >= number:
                return frame["u"]


async def test_11_7_a_result_that_panics_fails_its_change_and_the_next_runs(caplog):
    def define(pubsub):
        @pubsub.shared_callback(
            Output("lamp", "children"), Input("slider", "value"), prevent_initial_call=True
        )
        async def lamp(value):
            return Panics() if value == 0 else value

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        change(page, world.pubsubs[0], 1, 0)
        assert await answer(page, 1) == "it failed"
        change(page, world.pubsubs[0], 2, 5)
        assert ["lamp", {"children": 5}] in await answer(page, 2)
    assert "shared callback" in caplog.text


async def test_11_7_a_schema_that_fails_refuses_the_change_and_the_link_stays(caplog):
    def define(pubsub):
        @pubsub.shared_callback(
            Output("lamp", "children"),
            Input("slider", "value"),
            prevent_initial_call=True,
            schema=Level,
        )
        async def lamp(value):
            return value["value"]

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        for number in (0, 1):
            change(page, world.pubsubs[0], number + 1, {"value": number})
            assert await answer(page, number + 1) == "its values could not be checked"
        change(page, world.pubsubs[0], 3, {"value": 5})
        assert ["lamp", {"children": 5}] in await answer(page, 3)
    assert caplog.text.count("schema= of the shared callback") == 2
