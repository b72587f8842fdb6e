"""An endpoint that meets a `BaseException` or a cancelled task fails, and the log says so."""

import asyncio

import pytest

from flash import Flash, html
from flash.testing import AppClient
from flash_ws.endpoints.registration import Endpoints


class PanicException(BaseException):
    """What polars raises when its native code panics."""


async def cancel_own_task():
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def panic():
    raise PanicException("native code")


FAULTS = [cancel_own_task, panic]


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    return app


@pytest.mark.parametrize("fault", FAULTS)
async def test_11_7_a_handler_fails_with_1011_and_a_log(fault, app, connect, caplog):
    @Endpoints(app).websocket("/broken")
    async def broken(connection):
        await fault()

    async with connect(app, "/broken") as socket:
        assert await socket.closed() == 1011
    assert "the handler of /broken failed" in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
async def test_11_7_a_stream_ends_with_an_error_event_and_a_log(fault, app, caplog):
    @Endpoints(app).sse("/breaking")
    async def breaking(request):
        yield "first"
        await fault()

    async with AppClient(app) as client:
        answer = await client.get("/breaking")
    assert answer.text == "data: first\n\nevent: error\ndata: the stream failed\n\n"
    assert "the stream of /breaking failed" in caplog.text
