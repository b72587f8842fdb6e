"""How calls of callbacks are counted: each once, by how it ended."""

from __future__ import annotations

import asyncio

import pytest
from dash.exceptions import PreventUpdate

from flash import BadRequest, Flash, Input, Output, State, html
from flash.callbacks import counts
from flash.callbacks.counts import CallbackCounts, outcome_of
from flash.callbacks.execution import Superseded
from flash.errors import CallbackTimeout, Overloaded
from flash.testing import CallbackFailed, FlashClient


@pytest.fixture
def app():
    app = Flash(__name__)
    begun = app.begun = asyncio.Event()
    app.layout = html.Div([html.P(id=name) for name in "abcde"])

    @app.callback(Output("a", "children"), Input("b", "children"), State("c", "children"))
    async def answer(kind, seconds):
        if kind == "nothing":
            raise PreventUpdate
        if kind == "wrong":
            raise ValueError(kind)
        begun.set()
        await asyncio.sleep(seconds or 0)
        return kind

    @app.callback(Output("d", "children"), Input("b", "children"), timeout=0.01)
    async def slow(_):
        await asyncio.sleep(60)

    return app


async def test_each_call_is_counted_by_how_it_ended(app):
    async with FlashClient(app) as client:
        for kind in ("fine", "fine", "nothing"):
            await client.call("a.children", {"b.children": kind})
        for output in ("a.children", "d.children"):
            with pytest.raises(CallbackFailed):
                await client.call(output, {"b.children": "wrong"})
        answer = await client.post("/_dash-update-component", json={"output": "none.such"})
        assert answer.status in (400, 404)
        counts = app.dispatcher.counts
        assert counts.by_outcome == {
            "ok": 2,
            "no_update": 1,
            "error": 1,
            "timeout": 1,
            "rejected": 1,
        }
        assert counts.seconds > 0.01


async def test_a_page_that_goes_is_counted_as_cancelled(app):
    async with FlashClient(app) as client:
        call = asyncio.create_task(client.call("a.children", {"b.children": "x", "c.children": 60}))
        await asyncio.wait_for(app.begun.wait(), 10)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        async with asyncio.timeout(10):
            while not app.dispatcher.counts.by_outcome:  # noqa: ASYNC110 — nothing tells of it.
                await asyncio.sleep(0.01)
    assert app.dispatcher.counts.by_outcome == {"cancelled": 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PreventUpdate(), "no_update"),
        (Superseded(), "no_update"),
        (asyncio.CancelledError(), "cancelled"),
        (BadRequest("no"), "rejected"),
        (Overloaded(1, 2), "refused"),
        (CallbackTimeout("a.b", 1.0), "timeout"),
        (TimeoutError(), "error"),
        (SystemExit(), "error"),
    ],
)
def test_what_a_call_raises_says_how_it_ended(error, outcome):
    assert outcome_of(error) == outcome


def test_calls_and_the_times_of_calls_are_added_up(monkeypatch):
    monkeypatch.setattr(counts.time, "perf_counter", lambda: 100.0)
    counted = CallbackCounts()
    assert (counted.running, counted.by_outcome, counted.seconds) == (0, {}, 0.0)
    for outcome, began in [("ok", 99.0), ("error", 98.0), ("ok", 100.0)]:
        counted.add(outcome, began)
    assert (counted.by_outcome, counted.seconds) == ({"ok": 2, "error": 1}, 3.0)
