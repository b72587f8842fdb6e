"""A chat with a language model: the answer grows as it is written, and can be stopped.

On workers: ``FLASH_REDIS_URL=redis://… flash run chat:app --workers 3``.
"""

import asyncio
import random

from flash import Flash, Input, Output, State, dcc, html, live, set_props

SAID = {
    "link": "A **live link** is one connection for each page. The server can send over it at any "
    "time:\n\n- pushes and notices,\n- the pieces of an answer,\n- what other pages have changed.",
    "stop": "Stopping cancels the generator at its `await`, so that nothing is paid for that "
    "nobody reads. What has come stays.",
    "break": "If the connection breaks, the generator **waits**. When the page is back it gets "
    "what it has missed, and the text goes on without a hole.",
}
ELSE = "I am a small model and know three words: **link**, **stop** and **break**."
app = Flash(__name__, title="Chat")

app.layout = html.Main(
    [
        html.Header([html.H1("Chat"), html.Span("idle", id="state", className="badge")]),
        html.Section(
            dcc.Markdown("Ask me about the *link*, the *break* or *stop*.", id="talk"),
            className="card talk",
        ),
        html.Section(
            [
                dcc.Input(
                    id="question",
                    value="What is a live link?",
                    placeholder="Your question",
                    style={"flex": "1", "minWidth": "240px"},
                ),
                html.Button("Ask", id="ask"),
                html.Button("Stop", id="stop", disabled=True),
            ],
            className="card row",
        ),
        html.P(
            "Every page has a talk of its own. Put the client of your model in the place of "
            "model().",
            className="quiet",
        ),
    ]
)


async def model(question):
    """Stands for the client of a model: an answer in pieces, at an uneven pace."""
    chance = random.Random(len(question))
    answer = next((text for word, text in SAID.items() if word in question.lower()), ELSE)
    for piece in answer.split(" "):
        await asyncio.sleep(chance.uniform(0.02, 0.12))
        yield f"{piece} "


@live.text_stream(
    Output("talk", "children"),
    Input("ask", "n_clicks"),
    Input("question", "n_submit"),
    State("question", "value"),
    State("talk", "children"),
    running=[
        (Output("ask", "disabled"), True, False),
        (Output("stop", "disabled"), False, True),
        (Output("state", "children"), "writing", "idle"),
    ],
    cancel=[Input("stop", "n_clicks")],
    error="\n\n*The model has failed. Ask again.*",
)
async def answer(clicks, submits, question, before):
    question = (question or "Nothing")[:500]
    set_props("question", {"value": ""})
    yield f"{(before or '')[-50_000:]}\n\n**You:** {question}\n\n"
    async for piece in model(question):
        yield piece


if __name__ == "__main__":
    app.run()
