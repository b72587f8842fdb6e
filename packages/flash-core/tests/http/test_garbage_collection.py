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


# Makes an app, serves it as a server does, and tells what full collections there were meanwhile,
# what the thresholds were, and when garbage that start-up left was freed.
GARBAGE_OF_START_UP = """
import asyncio, gc, weakref
from flash import Flash, html
from flash.http import garbage_collection

garbage_collection.QUIET_SECONDS = 1.5
usual = gc.get_threshold()
full = []

def note(phase, info):
    if phase == "start" and info["generation"] == 2:
        full.append(1)

gc.callbacks.append(note)

class Part: pass

app = Flash(__name__)
app.layout = html.Div([html.Div(id=f"part-{number}") for number in range(20_000)])
assert gc.get_threshold() != usual
part = Part()
part.itself = part
freed = []
weakref.finalize(part, freed.append, True)
gc.collect(1)
del part

async def request():
    inbox = asyncio.Queue()
    inbox.put_nowait({"type": "http.request"})
    async def send(message):
        pass
    await app({"type": "http", "method": "GET", "path": "/none", "headers": [], "scheme": "http",
               "query_string": b"", "http_version": "1.1"}, inbox.get, send)

async def serve():
    inbox, started = asyncio.Queue(), asyncio.Event()
    inbox.put_nowait({"type": "lifespan.startup"})
    async def send(message):
        started.set()
    scope = {"type": "lifespan", "asgi": {}, "state": {}}
    serving = asyncio.create_task(app(scope, inbox.get, send))
    await started.wait()
    assert gc.get_threshold() == usual
    assert not full
    assert gc.get_freeze_count() > 100_000
    loop = asyncio.get_running_loop()
    times = [loop.time()]
    for _ in range(8):
        await request()
        times.append(loop.time())
        await asyncio.sleep(0.3)
    times.append(loop.time())
    # Longer than the quiet that it waits for, but there were requests. On a machine so busy that
    # they were as far apart as that, there was quiet.
    longest = max(later - earlier for earlier, later in zip(times, times[1:]))
    assert not freed or longest > 1.4
    while not freed:
        await asyncio.sleep(0.05)
    assert len(full) == 1
    assert gc.get_freeze_count() > 100_000
    inbox.put_nowait({"type": "lifespan.shutdown"})
    await serving

asyncio.run(serve())
"""


def test_nothing_is_collected_until_the_server_is_quiet_for_the_first_time():
    subprocess.run([sys.executable, "-c", GARBAGE_OF_START_UP], check=True, timeout=60)


# Makes an app and never serves it; full collections come back.
NEVER_SERVED = """
import gc
from flash import Flash
from flash.http import garbage_collection

garbage_collection.SET_UP_SECONDS = -1
usual = gc.get_threshold()
Flash(__name__)
gc.collect(0)
assert gc.get_threshold() == usual
assert not gc.callbacks
Flash(__name__)
assert gc.get_threshold() == usual

# Whoever sets others keeps them.
garbage_collection._postponement = None
Flash(__name__)
gc.set_threshold(7, 7, 7)
gc.collect(0)
assert gc.get_threshold() == (7, 7, 7)
assert not gc.callbacks
"""


def test_an_app_that_is_never_served_gets_its_full_collections_back():
    subprocess.run([sys.executable, "-c", NEVER_SERVED], check=True, timeout=60)


# What young garbage is kept during set-up, and that a collector which is off stays so.
YOUNG_GARBAGE = """
import gc, weakref
from flash import Flash
from flash.http import garbage_collection

garbage_collection.YOUNG_OBJECTS = 5_000
Flash(__name__)
gc.collect(0)

class Part: pass

part = Part()
part.itself = part
known = weakref.ref(part)
del part
kept = [[] for _ in range(1_000)]
assert known() is not None
kept = [[] for _ in range(6_000)]
assert known() is None

garbage_collection._postponement.end()
garbage_collection._postponement = None
gc.set_threshold(0, 7, 7)
Flash(__name__)
assert gc.get_threshold()[0] == 0
"""


def test_young_garbage_of_set_up_is_collected_when_there_is_much_of_it():
    subprocess.run([sys.executable, "-c", YOUNG_GARBAGE], check=True, timeout=60)
