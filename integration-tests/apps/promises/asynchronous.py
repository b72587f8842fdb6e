"""Whatever an app defines is `async def`, and waits for something on the loop."""

import asyncio

from flash import (
    Flash,
    Input,
    Output,
    callback,
    ctx,
    dcc,
    hooks,
    html,
    page_container,
    register_page,
    set_props,
)

started = []


async def wait():
    """Give way on the loop, which a thread has none of."""
    asyncio.get_running_loop()
    await asyncio.sleep(0)


@hooks.setup()
async def set_up(app):
    await wait()
    started.append(app.title)


@hooks.layout()
async def frame(layout):
    await wait()
    return html.Div([layout, html.P(f"set up {started}", id="by-hook")])


@hooks.index()
async def note(index):
    await wait()
    return index.replace("</body>", '<p id="in-index">an index hook was here</p></body>')


@hooks.custom_data("visitor")
async def visitor(_):
    await wait()
    return "Alma"


@hooks.error()
async def tell(error):
    await wait()
    set_props("told", {"children": f"hook: {error}"})


async def handle(error):
    await wait()
    return f"on_error: {error}"


app = Flash(__name__, use_pages=True, pages_folder="", title="Async", on_error=handle)


async def layout():
    await wait()
    return html.Div(
        [
            dcc.Link("Item 7", "/items/7?colour=red", id="to-item"),
            html.Button("Ask", id="ask"),
            html.Button("Fail", id="fail"),
            html.P(id="answer"),
            html.P(id="failed"),
            html.P(id="told"),
            page_container,
        ]
    )


app.layout = layout


async def home():
    await wait()
    return html.H1("Home", id="page")


async def item(number=None, colour="", **_):
    await wait()
    return html.H1(f"Item {number} {colour}", id="page")


async def title_of_item(number=None):
    await wait()
    return f"No. {number}"


register_page("home", path="/", layout=home)
register_page("item", path_template="/items/<number>", layout=item, title=title_of_item)


@callback(Output("answer", "children"), Input("ask", "n_clicks"), prevent_initial_call=True)
async def answer(clicks):
    await wait()
    return f"answer {clicks} for {ctx.custom_data.visitor}"


@callback(Output("failed", "children"), Input("fail", "n_clicks"), prevent_initial_call=True)
async def fail(_):
    await wait()
    raise ValueError("told to")
