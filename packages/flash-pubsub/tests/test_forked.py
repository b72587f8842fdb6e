"""A process that was forked from the server's, as `DiskcacheManager` forks one for each job."""

import asyncio
import multiprocessing
import os

import pytest
from page import connected
from pubsub_worlds import World

from flash_ws import ForkedProcess
from flash_ws.callbacks.deferred import hub_of

fork = multiprocessing.get_context("fork")


async def in_fork(work):
    """Return what ``work`` returns in a forked process, or the name of what it raises."""
    receiving, sending = fork.Pipe(duplex=False)

    def run():
        try:
            sending.send(work())
        except Exception as error:  # noqa: BLE001  sent to the test
            sending.send(f"{type(error).__name__}: {error}")

    def start():
        process = fork.Process(target=run)
        process.start()
        result = receiving.recv() if receiving.poll(20) else "nothing came"
        process.join()
        return result

    return await asyncio.to_thread(start)


async def test_12_2_a_push_from_a_fork_without_redis_raises_with_the_remedy():
    world = World(workers=1)
    async with world:
        live = world.pubsubs[0].live
        page = await connected(world.apps[0])
        for work in (
            lambda: live.push_threadsafe("bg", {"children": "from the job"}),
            lambda: live.send_event_threadsafe("bg"),
            lambda: world.pubsubs[0].publish_threadsafe("news", 1),
            lambda: world.apps[0].wait_for(live.clients()),
            lambda: world.apps[0].wait_for(live.disconnect(user="ada")),
        ):
            assert (await in_fork(work)).startswith(ForkedProcess.__name__)
        await page.leave()


@pytest.fixture
def redis_url(redis_world):
    return f"{redis_world.deployment.url}?prefix={redis_world.prefix}"


async def test_12_2_a_push_from_a_fork_reaches_the_page_over_redis(redis_url):
    world = World(workers=1, url=redis_url)
    async with world:
        app, pubsub = world.apps[0], world.pubsubs[0]
        live = pubsub.live
        page = await connected(app)
        ours = hub_of(live.app).clients[hub_of(live.app).identities.id_of(page.token)]

        def work():
            for number in range(3):
                live.push_threadsafe(f"bg{os.getpid()}-{number}", {"children": 1}, to=ours)
            pubsub.publish_threadsafe("news", 1)
            return [each.id for each in app.wait_for(live.clients())]

        answers = [in_fork(work) for _ in range(3)]
        # The server's own connection works on while forks publish.
        for number in range(20):
            await live.send_event("own", number, to=ours)
        assert await asyncio.gather(*answers) == [[ours.id]] * 3
        frames = await page.frames(30)
        kinds = [frame["t"] for frame in frames]
        assert (kinds.count("props"), kinds.count("event")) == (9, 20), frames
        await page.leave()


@pytest.mark.parametrize("what", ["subscribe", "enter"])
async def test_12_2_a_fork_cannot_subscribe(redis_url, what):
    world = World(workers=1, url=redis_url)
    async with world:
        broker = world.pubsubs[0].broker

        def work():
            from flash_pubsub.broker.seam import Member

            if what == "enter":
                return asyncio.run(broker.enter("news", Member("x", b"")))
            return asyncio.run(broker.subscribe("news"))

        assert (await in_fork(work)).startswith(ForkedProcess.__name__)
