"""Texts that grow on the page that asked for them (issue 14, number 10)."""

import asyncio
import re

import pytest
from page import Page, connected, serving

from flash import ALL, ConfigurationError, Flash, Input, Output, State, html
from flash_ws import Live
from flash_ws.callbacks import text_stream
from flash_ws.callbacks.text_stream import ERROR_TEXT, MAX_WAITING


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div([html.Button(id="ask"), html.P(id="answer")])
    return app


@pytest.fixture
def live(app):
    return Live(app)


def answer(live, **options):
    """Register what is decorated as a text stream of the paragraph."""
    return live.text_stream(Output("answer", "children"), Input("ask", "n_clicks"), **options)


def ask(page, live, number=1, value=1, state=()):
    (name,) = list(live._event_callbacks._callbacks)[:1]
    body = {
        "callback": name,
        "inputs": [{"id": "ask", "property": "n_clicks", "value": value}],
        "state": [{"id": "x", "property": "y", "value": each} for each in state],
        "changedPropIds": ["ask.n_clicks"],
    }
    page.send({"t": "call", "id": number, "body": body})


class Shown:
    """What a page shows, and how each message has changed it."""

    def __init__(self, page):
        self.page = page
        self.values = {}
        self.additions = self.wholes = 0
        self.states = []

    def apply(self, frame):
        if frame["t"] == "call":
            self.states.append((frame["id"], frame["state"]))
        for component, props in frame.get("u", ()):
            for prop, value in props.items():
                key = f"{component}.{prop}"
                if not isinstance(value, dict):
                    self.values[key] = value
                    self.wholes += key == "answer.children"
                    continue
                (step,) = value["operations"]
                assert (step["operation"], step["location"]) == ("Add", [])
                self.values[key] += step["params"]["value"]
                self.additions += 1

    @property
    def text(self):
        return self.values.get("answer.children")

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self.apply(await self.page.frame())

    async def until_ended(self, number=1):
        await self.until(lambda: any(each[0] == number for each in self.ended))
        return dict(self.ended)[number]

    @property
    def ended(self):
        return [each for each in self.states if each[1] != "running"]


async def test_14_10_pieces_grow_the_text_and_states_say_that_it_runs(app, live):
    go = asyncio.Event()

    @answer(live, running=[(Output("ask", "disabled"), True, False)])
    async def words(clicks):
        yield "one "
        await go.wait()
        yield "two "
        yield ""
        yield "three"

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        await shown.until(lambda: shown.text == "one ")
        assert shown.values["ask.disabled"] is True
        go.set()
        assert await shown.until_ended() == "done"
        assert shown.values == {"answer.children": "one two three", "ask.disabled": False}
        # The empty text at the beginning, and additions.
        assert shown.wholes == 1
        await page.leave()


async def test_14_10_pieces_that_come_together_are_sent_together(app, live):
    @answer(live)
    async def words(clicks):
        for number in range(1000):
            yield f"{number} "

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        await shown.until_ended()
        assert shown.text == "".join(f"{number} " for number in range(1000))
        assert shown.additions <= 3
        await page.leave()


async def test_14_10_state_and_several_inputs_arrive_by_name(app, live):
    @live.text_stream(
        Output("answer", "children"),
        inputs={"clicks": Input("ask", "n_clicks"), "question": State("x", "y")},
    )
    async def words(question, clicks):
        yield f"{question}{clicks}"

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live, state=("why",))
        await shown.until_ended()
        assert shown.text == "why1"
        await page.leave()


async def test_14_10_a_page_that_lost_messages_gets_the_whole_text(app, live):
    go = asyncio.Event()

    @answer(live)
    async def words(clicks):
        yield "one "
        await go.wait()
        yield "two "
        yield "three"

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        await shown.until(lambda: shown.text == "one ")
        await page.leave()
        # It has forgotten what it was sent, and no history brings it back.
        page = await Page(app).open()
        await page.hello(shown.page.token, {"all": ("another epoch", 1)}, new=False)
        assert page.welcome["recovered"] is False
        late = Shown(page)
        late.values["answer.children"] = "wrong"
        go.set()
        await late.until_ended()
        assert late.text == "one two three"
        await page.leave()


async def test_14_10_a_text_that_ends_while_its_page_changes_its_connection_is_whole(app, live):
    go = asyncio.Event()

    @answer(live)
    async def words(clicks):
        yield "one "
        await go.wait()

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        await shown.until(lambda: shown.text == "one ")
        await page.leave()
        page = await Page(app).open()
        await page.hello(shown.page.token, {"all": ("another epoch", 1)}, new=False)
        late = Shown(page)
        late.values["answer.children"] = "wrong"
        go.set()
        await late.until_ended()
        assert late.text == "one "
        await page.leave()


async def test_14_10_the_whole_text_is_sent_from_time_to_time(app, live, monkeypatch):
    monkeypatch.setattr(text_stream, "BATCH_SECONDS", 0.0)
    taken = asyncio.Event()

    @answer(live)
    async def words(clicks):
        for number in range(60):
            yield f"{number} "
            taken.clear()
            await taken.wait()

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        for number in range(60):
            await shown.until(lambda end=f"{number} ": (shown.text or "").endswith(end))
            taken.set()
        await shown.until_ended()
        assert shown.text == "".join(f"{number} " for number in range(60))
        # At the beginning, and after 50 additions.
        assert shown.wholes == 2
        await page.leave()


async def test_14_10_a_new_question_replaces_the_text_and_closes_the_generator(app, live):
    closed = []

    @answer(live)
    async def words(clicks):
        try:
            yield f"{clicks}: "
            if clicks == 1:
                await asyncio.Event().wait()
            yield "end"
        finally:
            closed.append(clicks)

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        await shown.until(lambda: shown.text == "1: ")
        ask(page, live, number=2, value=2)
        assert await shown.until_ended(2) == "done"
        assert shown.text == "2: end"
        assert closed == [1, 2]
        assert (1, "cancelled") in shown.states
        await page.leave()


async def test_14_10_a_page_that_goes_closes_the_generator(app, live):
    closed = asyncio.Event()

    @answer(live)
    async def words(clicks):
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        await shown.until(lambda: shown.text == "one")
        await live.disconnect(client=page.welcome["id"])
        await page.closed()
        await page.leave()
    async with asyncio.timeout(5):
        await closed.wait()


async def test_14_10_a_generator_may_hold_a_time_out_over_its_pieces(app, live):
    @answer(live)
    async def words(clicks):
        try:
            async with asyncio.timeout(0.05):
                yield "begun "
                await asyncio.Event().wait()
        except TimeoutError:
            yield "late"

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        assert await shown.until_ended() == "done"
        assert shown.text == "begun late"
        await page.leave()


async def test_14_10_a_generator_that_is_faster_than_its_page_waits(app, live):
    yielded = [0]

    @answer(live, max_chars=50 * MAX_WAITING)
    async def words(clicks):
        for _ in range(40):
            yielded[0] += 1
            yield "x" * MAX_WAITING

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        await shown.until(lambda: len(shown.text or "") == MAX_WAITING)
        assert yielded[0] <= 3
        await page.leave()


@pytest.mark.parametrize(
    ("piece", "told"),
    [
        (None, r"yielded None \(.*test_text_stream\.py:\d+\), a NoneType; yield str"),
        ({"a": 1}, r"yielded \{'a': 1\}.*a dict; yield str"),
    ],
)
async def test_14_10_what_is_no_text_is_an_error_with_its_line(app, live, caplog, piece, told):
    @answer(live)
    async def words(clicks):
        yield "begun"
        yield piece

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        assert await shown.until_ended() == "failed"
        assert shown.text == f"begun{ERROR_TEXT}"
        await page.leave()
    assert re.search(told, caplog.text)


async def test_14_10_errors_are_shown_as_the_app_says(app, live, caplog):
    told = []

    @answer(live, error=" (broken)", on_error=told.append)
    async def words(clicks):
        yield "begun"
        raise LookupError("hunter2")

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        assert await shown.until_ended() == "failed"
        assert shown.text == "begun (broken)"
        await page.leave()
    assert [each.args for each in told] == [("hunter2",)]
    assert "hunter2" in caplog.text


async def test_14_10_a_text_that_is_too_long_is_cut(app, live, caplog):
    closed = []

    @answer(live, max_chars=10, error="…")
    async def words(clicks):
        try:
            while True:
                yield "1234"
        finally:
            closed.append(True)

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        assert await shown.until_ended() == "failed"
        assert shown.text == "1234123412…"
        await page.leave()
    assert "longer than 10 characters and was cut" in caplog.text
    assert closed == [True]


async def test_14_10_a_text_of_exactly_the_limit_is_no_error(app, live):
    @answer(live, max_chars=8)
    async def words(clicks):
        yield "1234"
        yield "5678"
        yield ""

    async with serving(app):
        shown = Shown(page := await connected(app))
        ask(page, live)
        assert await shown.until_ended() == "done"
        assert shown.text == "12345678"
        await page.leave()


def test_14_10_wrong_settings_are_refused_where_they_are_given(live):
    async def words(clicks):
        yield "x"

    def plain(clicks):
        return "x"

    ok, go = Output("answer", "children"), Input("ask", "n_clicks")
    for arguments, options, function, told in (
        ((ok, go), {}, plain, "must be an async generator that yields str"),
        ((go, go), {}, words, r"must be an Output.*test_text_stream"),
        ((Output({"i": ALL}, "children"), go), {}, words, "without ALL or MATCH"),
        ((ok,), {}, words, "needs an Input"),
        ((ok, go), {"max_chars": 0}, words, "max_chars=0: must be"),
        ((ok, go), {"error": None}, words, "error=None: must be a str"),
        ((ok, go), {"running": [(ok, True)]}, words, "must be a list of .Output, value while"),
        ((ok, go), {"running": [(go, True, False)]}, words, "must be an Output"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            live.text_stream(*arguments, **options)(function)
