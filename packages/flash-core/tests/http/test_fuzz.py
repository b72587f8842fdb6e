"""Whatever is sent to a callback: no server error, no task left, and the server goes on."""

import asyncio
import copy
import json
from urllib.parse import quote

import dash
import pytest
from dash import ALL, ALLSMALLER, MATCH, Input, Output, State, ctx, html
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flash import Flash
from flash.background import AsyncManager
from flash.testing import FlashClient

PATH = "/_dash-update-component"
SECONDS = 20


def look():
    """Look at everything there is to see of a call."""
    return [
        repr(each)
        for each in (
            ctx.triggered,
            ctx.triggered_id,
            ctx.triggered_prop_ids,
            ctx.inputs,
            ctx.states,
            ctx.args_grouping,
            ctx.outputs_grouping,
            ctx.using_args_grouping,
            ctx.cookies,
            ctx.headers,
            ctx.args,
            ctx.path,
            ctx.origin,
            ctx.remote,
            ctx.custom_data,
        )
    ]


def an_app(*, watched):
    """An app with a callback of every form, none of which raises, whatever it is given."""
    app = Flash(
        __name__, suppress_callback_exceptions=True, background_callback_manager=AsyncManager()
    )
    app.layout = html.Div()

    @app.callback(Output("out", "children"), Input("in", "value"), State("in", "type"))
    async def one(*values):
        return [*look(), repr(values)]

    @app.callback([Output("out", "x"), Output("out", "y")], Input("in", "value"))
    def two(*values):
        return [look(), repr(values)]

    @app.callback(
        output={"a": Output("out", "a"), "b": (Output("out", "b"), Output("out", "c"))},
        inputs={"pair": (Input("in", "value"), State("s", "data")), "rest": [Input("in", "x")]},
    )
    async def grouped(**values):
        return {"a": look(), "b": (repr(values), dash.no_update)}

    @app.callback(
        Output({"type": "row", "index": ALL}, "children"),
        Input({"type": "item", "index": ALL}, "value"),
    )
    async def every(*values):
        return [repr(values)] * len(ctx.outputs_list)

    @app.callback(
        Output({"type": "cell", "index": MATCH}, "children"),
        Input({"type": "item", "index": MATCH}, "value"),
        State({"type": "item", "index": ALLSMALLER}, "value"),
    )
    async def matching(*values):
        return [*look(), repr(values)]

    @app.callback(
        Output("dup", "x", allow_duplicate=True),
        Input("in", "value"),
        prevent_initial_call=True,
        supersede=True,
    )
    async def superseding(*values):
        return repr(values)

    @app.callback(Output("shared", "x"), Input("in", "value"), coalesce=True)
    async def coalescing(*values):
        return repr(values)

    @app.callback(Output("job", "x"), Input("in", "value"), background=True)
    async def background(*values):
        return repr(values)

    @app.callback(Input("in", "n_blur"))
    async def none(*values):
        dash.set_props("out", {"children": repr(values)})

    app.clientside_callback("function(x) { return x }", Output("c", "x"), Input("in", "value"))
    if watched:

        @app.server.before_request
        async def watch():
            """Send every request through Quart."""

    return app


def slot(component, prop, *value):
    return {"id": component, "property": prop, **({"value": value[0]} if value else {})}


IN = slot("in", "value", 1)
ITEM = slot({"type": "item", "index": 1}, "value", "one")


def valid_bodies(app):
    """One body for each callback, as its page would send it."""
    ids = list(app.callback_map)
    none = next(each for each in ids if "." not in each)
    duplicate = next(each for each in ids if each.startswith("dup."))
    return [
        {
            "output": "out.children",
            "outputs": slot("out", "children"),
            "inputs": [IN],
            "state": [slot("in", "type", "text")],
            "changedPropIds": ["in.value"],
        },
        {
            "output": "..out.x...out.y..",
            "outputs": [slot("out", "x"), slot("out", "y")],
            "inputs": [IN],
            "changedPropIds": ["in.value"],
        },
        {
            "output": "..out.a...out.b...out.c..",
            "outputs": [slot("out", each) for each in "abc"],
            "inputs": [IN, slot("in", "x")],
            "state": [slot("s", "data", {"a": [1]})],
        },
        {
            "output": '{"index":["ALL"],"type":"row"}.children',
            "outputs": [slot({"type": "row", "index": each}, "children") for each in (1, 2)],
            "inputs": [[ITEM, ITEM]],
            "changedPropIds": ['{"index":1,"type":"item"}.value'],
        },
        {
            "output": '{"index":["MATCH"],"type":"cell"}.children',
            "outputs": slot({"type": "cell", "index": 1}, "children"),
            "inputs": [ITEM],
            "state": [[ITEM]],
            "changedPropIds": ['{"index":1,"type":"item"}.value'],
        },
        {"output": duplicate, "outputs": slot("dup", duplicate.partition(".")[2]), "inputs": [IN]},
        {"output": "shared.x", "outputs": slot("shared", "x"), "inputs": [IN]},
        {"output": "job.x", "outputs": slot("job", "x"), "inputs": [IN]},
        {"output": none, "inputs": [slot("in", "n_blur", 1)]},
        {"output": "c.x", "outputs": slot("c", "x"), "inputs": [IN]},
    ]


BODIES = valid_bodies(an_app(watched=False))

# Words that mean something somewhere.
WORDS = st.sampled_from(
    [
        "output",
        "outputs",
        "inputs",
        "state",
        "changedPropIds",
        "id",
        "property",
        "value",
        "in",
        "in.value",
        "",
        ".",
        "..",
        "...",
        "{",
        "{}.x",
        '{"index":1,"type":"item"}.value',
        "ALL",
        "MATCH",
        "__proto__",
        "\ud800",
        "\x00",
        "\u2028",
        "1" * 400,
        "cancelJob",
        "parsedChangedPropsIds",
    ]
)
TEXTS = WORDS | st.text(st.characters(exclude_categories=()), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**63, 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def places(value, path=()):
    """Yield the path of everything in a JSON value, itself first."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*path, index))


@st.composite
def mutated_bodies(draw):
    """A body that a page would send, changed in one to three places."""
    body = copy.deepcopy(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(body))))
        if not path:
            body = draw(JSON) if draw(st.integers(0, 9)) == 0 else body
            continue
        holder = body
        for key in path[:-1]:
            holder = holder[key]
        change = draw(st.sampled_from(["replace", "delete", "wrap", "repeat", "swap", "rename"]))
        key, value = path[-1], holder[path[-1]]
        if change == "replace":
            holder[key] = draw(JSON)
        elif change == "delete":
            del holder[key]
        elif change == "wrap":
            holder[key] = [value]
        elif change == "repeat" and isinstance(holder, list):
            holder.append(copy.deepcopy(value))
        elif change == "swap":
            other = draw(st.sampled_from(BODIES))
            holder[key] = copy.deepcopy(draw(st.sampled_from(list(other.values()))))
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(TEXTS)] = holder.pop(key)
    return body


@st.composite
def mutated_bytes(draw):
    """The bytes of a body, some of them others."""
    raw = bytearray(json.dumps(draw(st.sampled_from(BODIES))).encode())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        raw[start : start + draw(st.integers(0, 5))] = draw(st.binary(max_size=6))
    return bytes(raw)


def written(value):
    # With escapes, since half a surrogate pair has no other form.
    return json.dumps(value).encode()


REQUESTS = st.one_of(
    mutated_bodies().map(written),
    JSON.map(written),
    mutated_bytes(),
    st.binary(max_size=200),
)
NAMES = st.sampled_from(["endId", "cacheKey", "job", "oldJob", "cancelJob", "x"])
QUERIES = st.lists(st.tuples(NAMES, st.text(st.characters(codec="utf-8"), max_size=10)), max_size=3)
CONTENT_TYPES = st.one_of(
    *[st.just("application/json")] * 9,
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), max_size=20),
)
CODINGS = st.sampled_from([*[None] * 12, "gzip", "br", "identity", "\xff"])


def fuzzed(max_examples, **options):
    return settings(
        max_examples=max_examples,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
        **options,
    )


@pytest.fixture(params=[False, True], ids=["direct", "through Quart"])
def app(request):
    # Made outside of the loop: Dash reads the source of background callbacks.
    return an_app(watched=request.param)


@pytest.fixture
async def client(app):
    async with FlashClient(app) as client:
        yield client


async def check(client, body, query, content_type, coding):
    before = asyncio.all_tasks()
    headers = {"content-type": content_type}
    if coding is not None:
        headers["content-encoding"] = coding
    path = f"{PATH}?{'&'.join(f'{name}={quote(value)}' for name, value in query)}"
    async with asyncio.timeout(SECONDS):
        answer = await client.post(path, body=body, headers=headers)
        assert answer.status in (200, 204, 400, 404, 413, 415), (answer.status, answer.text)
        if answer.status >= 400:
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert len(answer.text.splitlines()) == 1
            assert len(answer.text) < 500
        elif answer.status == 200:
            answer.json()
        # The server goes on.
        assert (await client.post(PATH, json=BODIES[0])).status == 200
        jobs = {task for task in asyncio.all_tasks() - before if not task.done()}
        if jobs:
            await asyncio.wait(jobs)
    assert asyncio.all_tasks() <= before
    statistics = client._app.statistics()
    assert (statistics.running, statistics.waiting, statistics.abandoned) == (0, 0, 0)


@fuzzed(300, derandomize=True)
@given(body=REQUESTS, query=QUERIES, content_type=CONTENT_TYPES, coding=CODINGS)
async def test_nothing_sent_is_a_server_error(client, body, query, content_type, coding):
    await check(client, body, query, content_type, coding)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@fuzzed(20_000)
@given(body=REQUESTS, query=QUERIES, content_type=CONTENT_TYPES, coding=CODINGS)
async def test_nothing_sent_for_many_minutes_is_a_server_error(
    client, body, query, content_type, coding
):
    await check(client, body, query, content_type, coding)


async def test_the_bodies_that_are_changed_are_answered_unchanged(client):
    for body in BODIES[:-1]:
        answer = await client.post(PATH, json=body)
        assert answer.status == 200, (body, answer.text)
