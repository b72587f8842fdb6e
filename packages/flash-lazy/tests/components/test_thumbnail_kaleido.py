"""Thumbnails drawn by kaleido itself, with the Chromium of this machine."""

import plotly.graph_objects as go

from flash import Flash, dcc, html
from flash.testing import FlashClient
from flash_lazy import LazyLoad

# Width and height as the lossy, lossless and extended kinds of a WebP file have them.
KINDS = {
    b"VP8 ": lambda data: [int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28)],
    b"VP8L": lambda data: [
        (int.from_bytes(data[21:25], "little") >> shift & 0x3FFF) + 1 for shift in (0, 14)
    ],
    b"VP8X": lambda data: [int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27)],
}


def size_of(picture):
    assert (picture[:4], picture[8:12]) == (b"RIFF", b"WEBP")
    return KINDS[picture[12:16]](picture)


async def test_kaleido_draws_the_figures_of_a_page(caplog):
    app = Flash(__name__)
    app.layout = html.Div(
        [
            LazyLoad(
                dcc.Graph(figure=go.Figure(trace)), height=180, width=320, placeholder="thumbnail"
            )
            for trace in (go.Bar(y=[1, 3, 2]), go.Scatter(y=[5, 1, 4]))
        ]
    )
    async with FlashClient(app) as client:
        layout = await client.layout()
        sources = [each["placeholder"]["props"]["src"] for each in layout.find_all("LazyLoad")]
        answers = [await client.get(source) for source in sources]
    assert [answer.status for answer in answers] == [200, 200], caplog.text
    assert {answer.headers["content-type"] for answer in answers} == {"image/webp"}
    bars, line = (answer.body for answer in answers)
    assert size_of(bars) == size_of(line) == [320, 180]
    assert bars != line
