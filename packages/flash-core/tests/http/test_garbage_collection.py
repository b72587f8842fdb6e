import gc
import subprocess
import sys

from flash import Flash, html
from flash.testing import FlashClient

# Starts two apps as a server does, one after the other, and prints what the collector leaves alone
# before, after the first and after the second.
TWO_STARTS = """
import asyncio, gc
from flash import Flash, html

async def serve_once():
    app = Flash(__name__)
    app.layout = html.Div()
    inbox = asyncio.Queue()
    inbox.put_nowait({"type": "lifespan.startup"})
    async def send(message):
        inbox.put_nowait({"type": "lifespan.shutdown"})
    await app({"type": "lifespan", "asgi": {}, "state": {}}, inbox.get, send)

print(gc.get_freeze_count())
asyncio.run(serve_once())
print(gc.get_freeze_count())
asyncio.run(serve_once())
print(gc.get_freeze_count())
"""


def test_once_served_what_start_up_made_is_not_walked_by_full_collections():
    command = [sys.executable, "-c", TWO_STARTS]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    before, first, second = map(int, answer.stdout.split())

    assert before == 0
    assert first > 10_000
    # Less by what has been freed since; nothing was added.
    assert second <= first


async def test_a_test_that_starts_an_app_keeps_its_collector_as_it_is():
    app = Flash(__name__)
    app.layout = html.Div()
    before = gc.get_freeze_count()

    async with FlashClient(app) as client:
        await client.layout("/")

    assert gc.get_freeze_count() == before
