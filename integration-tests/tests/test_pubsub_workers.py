"""Three real workers around a real Redis, restarted, killed and frozen under pages that look on."""

import asyncio
import json
import os
import random
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from broker_worlds import until
from redis_servers import RedisServer
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from flash.serialize import dumps
from flash.testing import AppProcess
from flash_pubsub import AsyncPublisher
from flash_pubsub.broker.redis import RedisBroker

APP = Path(__file__).parents[1] / "apps" / "pubsub" / "workers.py"


# What the app says.
LEASE_TTL = 1.0
# Another worker asks for a feeder's lease this often, and has to have time to do what is asked.
TAKEN_OVER = LEASE_TTL + LEASE_TTL / 3 + 2.5

SECONDS = 60

SEEDS = [int(seed) for seed in os.environ.get("FLASH_FAULT_SEEDS", "1").split(",")]


class Deployment:
    """Three workers on three ports."""

    def __init__(self, server, directory):
        self.server = server
        self.journal = directory / "journal"
        self.journal.touch()
        self.workers = [
            AppProcess(
                APP,
                env={
                    "FLASH_BROKER_URL": server.url,
                    "WORKER": str(number),
                    "JOURNAL": str(self.journal),
                },
            )
            for number in range(3)
        ]

    def start(self):
        with ThreadPoolExecutor() as threads:
            list(threads.map(self._start, range(3)))

    def _start(self, number):
        self.release(number)
        # Unless it is up.
        with suppress(RuntimeError):
            self.workers[number].start()

    def stop(self):
        for worker in self.workers:
            with suppress(RuntimeError):
                worker.kill()

    def _hold(self, number):
        return self.journal.with_name(f"hold-{number}")

    def hold(self, number):
        """Keep a worker in its shared callback."""
        self._hold(number).touch()

    def release(self, number):
        self._hold(number).unlink(missing_ok=True)

    def noted(self):
        return self.journal.read_text().splitlines()

    def callbacks(self):
        """Return the names of the shared callbacks, by their input's id."""
        with urlopen(self.workers[1].url) as answer:
            text = answer.read().decode()
        config = json.loads(re.search(r'id="_dash-config"[^>]*>(.*?)</script>', text)[1])
        shared = config["flash_pubsub"]["shared"]
        return {each["inputs"][0][0]: name for name, each in shared.items()}

    async def snapshot(self):
        """Return what Redis holds of what is shared, as a page would show it."""
        broker = RedisBroker(self.server.url)
        await broker.start(lambda publication: None, lambda channel, position: None)
        try:
            values = (await broker.snapshot("live:shared")).values
        finally:
            await broker.close()
        return {
            tuple(name.split("\t")): json.loads(value)
            for name, value in values.items()
            if "\t" in name
        }


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    directory = tmp_path_factory.mktemp("workers")
    with RedisServer(directory, "--appendonly", "yes") as server:
        deployment = Deployment(server, directory)
        try:
            yield deployment
        finally:
            deployment.stop()


@pytest.fixture
def deployment(servers):
    """All three are up."""
    servers.start()
    return servers


class Balancer:
    """Gives each connection to the next worker that takes it, and passes bytes to and fro."""

    def __init__(self, workers):
        # Who gets the next connections.
        self.workers = list(workers)
        self._next = 0
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"ws://{host}:{port}/_flash/link"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            there, back = await self._open()
            try:
                pumps = [self._pump(reader, back), self._pump(there, writer)]
                await asyncio.gather(*pumps)
            finally:
                back.close()
        except OSError:
            pass
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())

    async def _open(self):
        for _ in self.workers:
            self._next += 1
            worker = self.workers[self._next % len(self.workers)]
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", worker.port)
        raise OSError("no worker takes it")

    async def _pump(self, source, sink):
        with suppress(OSError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        sink.close()


class Tab:
    """A page as flash_ws.js and flash_pubsub.js have it, with whatever worker takes it."""

    def __init__(self, url, callbacks, rng):
        self.url = url
        self.callbacks = callbacks
        self.rng = rng
        self.token = None
        self.positions = {}
        # What each connection after the first one began with.
        self.recovered = []
        # Channels of which something was lost while a connection stood.
        self.lost = set()
        # By channel, what came, in order.
        self.tape = {"channel:prices": [], "channel:ticks": []}
        # Shared values, by component and property; each value that a property has had.
        self.shown = {}
        self.values = []
        # Changes that no answer has come to, by number.
        self.unanswered = {}
        self.answered = 0
        self._last_change = 0
        self._socket = None

    async def run(self):
        while True:
            pause = self.rng.uniform(0, 0.3)
            with suppress(OSError, WebSocketException):
                async with connect(self.url, proxy=None, max_queue=None) as socket:
                    pause = await self._follow(socket) or pause
                    code = socket.close_code or 1006
                    assert not 4400 <= code < 4500, code
            self._socket = None
            await asyncio.sleep(pause)

    async def _follow(self, socket):
        hello = {"t": "hello", "v": 1, "page": self.token, "at": self.positions, "path": "/"}
        await socket.send(json.dumps([hello]))
        repeating = None
        try:
            async for message in socket:
                for frame in json.loads(message):
                    if frame["t"] == "bye":
                        return frame["after"] / 1000
                    if frame["t"] == "welcome":
                        self._welcome(frame)
                        self._socket = socket
                        repeating = asyncio.create_task(self._repeat(dict(self.unanswered)))
                    else:
                        self._apply(frame)
        finally:
            if repeating is not None:
                repeating.cancel()

    def _welcome(self, frame):
        if self.token is not None:
            self.recovered.append(frame["recovered"])
        self.token, self.me = frame["page"], frame["id"]
        self.positions = frame["at"]

    def _apply(self, frame):
        channel = frame.get("c")
        if channel is not None:
            epoch, number = self.positions[channel]
            if frame.get("recovered") is False:
                self.lost.add(channel)
            if frame["t"] != "snapshot":
                assert frame["n"] > number, f"{frame} after {number}"
                # Nothing of these is ever left out.
                assert channel not in self.tape or frame["n"] == number + 1
            self.positions[channel] = [frame.get("e", epoch), frame["n"]]
        if channel in self.tape and frame["t"] == "props":
            self.tape[channel] += [props["extendData"] for _, props in frame["u"]]
        if channel == "shared":
            for component, props in frame["u"]:
                for prop, value in props.items():
                    self.shown[component, prop] = value
                    self.values.append((component, prop, value))
            self._answer(frame.get("cb"), frame.get("o", {}).get(self.me, 0))
        if frame["t"] == "shared":
            self._answer(frame["cb"], frame["k"])

    def _answer(self, name, number):
        for each, frame in list(self.unanswered.items()):
            if frame["cb"] == name and each <= number:
                del self.unanswered[each]
                self.answered += 1

    async def _repeat(self, doubtful):
        await asyncio.sleep(0.2)
        for number, frame in doubtful.items():
            if number in self.unanswered:
                await self._post(frame)

    async def change(self, component, value):
        self._last_change += 1
        frame = {"t": "share", "cb": self.callbacks[component], "k": self._last_change}
        frame.update(v=[value], s=[], changed=[0])
        self.unanswered[self._last_change] = frame
        await self._post(frame)

    async def _post(self, frame):
        if self._socket is not None:
            with suppress(WebSocketException):
                await self._socket.send(json.dumps([frame]))

    @property
    def is_open(self):
        return self._socket is not None

    async def move(self):
        """Come back, to a worker that takes connections by now."""
        before = len(self.recovered)
        await self._socket.close()
        await until(lambda: len(self.recovered) > before)


@asynccontextmanager
async def opened(deployment, *places, seed=1):
    """Open tabs: with these workers, or behind balancers."""
    rng = random.Random(seed)
    callbacks = await asyncio.to_thread(deployment.callbacks)
    async with AsyncExitStack() as stack:
        tabs = []
        for place in places:
            if isinstance(place, AppProcess):
                place = await stack.enter_async_context(Balancer([place]))
            tabs.append(Tab(place.url, callbacks, rng))
        # One that fails ends the test.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(tab.run()) for tab in tabs]
            await until(lambda: all(tab.is_open for tab in tabs), seconds=SECONDS)
            yield tabs
            for task in tasks:
                task.cancel()


class Load:
    """Publishes from outside of the workers and counts what was acknowledged."""

    def __init__(self, url, rng):
        self._url = url
        self._rng = rng
        self.published = {"one": 0, "two": 0}
        self._stop = asyncio.Event()

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._publish(name)) for name in self.published]
        return self

    async def __aexit__(self, *error):
        await self.end()

    async def end(self):
        self._stop.set()
        for task in self._tasks:
            await task

    async def _publish(self, name):
        async with AsyncPublisher(self._url) as publisher:
            while not self._stop.is_set():
                await publisher.publish("prices", [name, self.published[name] + 1])
                self.published[name] += 1
                await asyncio.sleep(self._rng.uniform(0, 0.04))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
async def test_b10_three_workers_restarted_one_by_one_under_load_lose_nothing(deployment, seed):
    rng = random.Random(seed)
    async with Balancer(deployment.workers) as balancer:
        places = [balancer] * 9
        async with opened(deployment, *places, seed=seed) as tabs:
            dragging = asyncio.Event()

            async def drag(tab):
                while not dragging.is_set():
                    await tab.change("brightness", rng.randrange(100))
                    await asyncio.sleep(rng.uniform(0, 0.1))

            async with Load(deployment.server.url, rng) as load:
                hands = [asyncio.create_task(drag(tab)) for tab in tabs[:2]]
                await until(lambda: min(load.published.values()) > 20)
                for worker in rng.sample(deployment.workers, 3):
                    await asyncio.to_thread(worker.restart)
                await load.end()
                dragging.set()
                await asyncio.gather(*hands)
            expected = sum(load.published.values())
            prices = "channel:prices"
            await until(lambda: all(len(tab.tape[prices]) >= expected for tab in tabs))
            await until(lambda: not any(tab.unanswered for tab in tabs))
            final = await deployment.snapshot()
            await until(lambda: all(tab.shown == final for tab in tabs))
            for tab in tabs:
                for name, count in load.published.items():
                    own = [number for who, number in tab.tape[prices] if who == name]
                    assert own == list(range(1, count + 1))
                assert tab.tape[prices] == tabs[0].tape[prices]
                # Its worker was restarted, and what it missed it got.
                assert tab.recovered
                assert set(tab.recovered) == {True}
                assert not tab.lost
                assert dumps(sorted(tab.shown.items())) == dumps(sorted(final.items()))
            assert all(tab.answered > 20 for tab in tabs[:2])


async def test_b2_an_emptied_redis_is_told_to_every_page_and_no_value_jumps(deployment):
    first, second, third = deployment.workers
    async with opened(deployment, first, second, third) as tabs:
        # More than the loss of one write has to be put back.
        for value in (11, 22, 33):
            await tabs[value % 3].change("brightness", value)
            await until(lambda: not any(tab.unanswered for tab in tabs))
        await tabs[0].change("job", "kept")
        await until(lambda: not tabs[0].unanswered)
        before = await deployment.snapshot()
        assert before["brightness", "value"] == 33
        await until(lambda: all(before.items() <= tab.shown.items() for tab in tabs))
        seen = [len(tab.values) for tab in tabs]
        await asyncio.to_thread(deployment.server.empty)
        channels = {"all", "shared", *tabs[0].tape}
        await until(lambda: all(tab.lost >= channels for tab in tabs))

        async def is_back():
            return await deployment.snapshot() == before

        await until(is_back)
        # And goes on from there, with a worker that has never known it before, too.
        await asyncio.to_thread(third.restart)
        await until(lambda: tabs[2].is_open and tabs[2].recovered)
        await tabs[2].change("brightness", 44)
        await until(lambda: all(tab.shown["brightness", "value"] == 44 for tab in tabs))
        final = await deployment.snapshot()
        assert final == {**before, ("brightness", "value"): 44, ("lamp", "title"): "at 44"}
        for tab, count in zip(tabs, seen, strict=True):
            # Nobody saw anything else in between.
            told = {each for each in tab.values[count:] if each[0] in ("brightness", "lamp")}
            assert told <= {
                ("brightness", "value", 33),
                ("lamp", "title", "at 33"),
                ("brightness", "value", 44),
                ("lamp", "title", "at 44"),
            }
        # Who signed before the loss is believed after it, by a worker that came since.
        assert tabs[2].recovered == [True]


def results(job, *tabs):
    """Return what pages have been shown of one job."""
    values = {value for tab in tabs for component, _, value in tab.values if component == "result"}
    return {value for value in values if value.startswith(f"{job} by ")}


async def test_a_worker_killed_in_a_shared_callback_leaves_the_change_to_another(deployment):
    first, second, third = deployment.workers
    before = len(deployment.noted())
    deployment.hold(0)
    async with (
        Balancer([first]) as balancer,
        opened(deployment, balancer, second) as (page, other),
    ):
        await page.change("job", "a")
        await until(lambda: len(deployment.noted()) > before)
        assert deployment.noted()[-1].startswith("begins a 0 ")
        balancer.workers = [second, third]
        first.kill()
        await until(lambda: not page.unanswered, seconds=TAKEN_OVER)
        await until(lambda: results("a", page) & results("a", other))
        (result,) = results("a", page, other)
        assert re.fullmatch(r"a by [12] in run \d+", result)
        assert page.recovered == [True]
        assert other.recovered == []


async def test_11_3_what_a_frozen_holder_has_made_late_is_never_seen(deployment):
    frozen, second, _ = deployment.workers
    before = len(deployment.noted())
    deployment.hold(0)
    async with opened(deployment, frozen, second) as (page, other):
        await page.change("job", "late")
        await until(lambda: len(deployment.noted()) > before)
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            await other.change("job", "in time")
            await until(lambda: not other.unanswered, seconds=TAKEN_OVER)
        finally:
            deployment.release(0)
            os.kill(frozen.pid, signal.SIGCONT)
        # Run for nothing, and not once more: what the other page changed since is newer.
        await until(lambda: not page.unanswered)
        await until(lambda: other.shown == page.shown)
        assert len([line for line in deployment.noted()[before:] if " late 0 " in line]) == 1
        assert not results("late", page, other)
        (result,) = results("in time", page, other)
        assert result.startswith("in time by 1 ")
        assert (await deployment.snapshot())["job", "value"] == "in time"
        assert "runs again" in await asyncio.to_thread(lambda: frozen.output)


def turns(ticks):
    """Return who fed, one after the other."""
    return [who for n, (who, _) in enumerate(ticks) if n == 0 or ticks[n - 1][0] != who]


async def test_a_feeder_goes_on_with_another_worker_when_its_own_is_killed_or_frozen(deployment):
    async with (
        Balancer(deployment.workers) as balancer,
        opened(deployment, balancer) as (page,),
    ):
        ticks = page.tape["channel:ticks"]
        await until(lambda: ticks)
        killed = int(ticks[-1][0])
        balancer.workers.pop(killed)
        deployment.workers[killed].kill()
        await until(lambda: int(ticks[-1][0]) != killed, seconds=TAKEN_OVER + 2)
        frozen = int(ticks[-1][0])
        # Not through a worker that is frozen.
        balancer.workers = [deployment.workers[3 - killed - frozen]]
        await page.move()
        os.kill(deployment.workers[frozen].pid, signal.SIGSTOP)
        try:
            await until(lambda: int(ticks[-1][0]) not in (killed, frozen), seconds=TAKEN_OVER)
        finally:
            os.kill(deployment.workers[frozen].pid, signal.SIGCONT)
        last = ticks[-1]
        await until(lambda: ticks[-1][1] > last[1] + 100)
        assert turns(ticks) == [str(killed), str(frozen), last[0]]
        assert set(page.recovered) == {True}
