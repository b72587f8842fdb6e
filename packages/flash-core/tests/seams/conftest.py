"""What the tests of the seams share."""

import asyncio
import time

import a2wsgi
import pytest


@pytest.fixture(autouse=True)
def end_loops_of_wsgi(monkeypatch):
    """End the event loops that serve apps by WSGI, which otherwise run until the process ends."""
    made = []
    original = a2wsgi.ASGIMiddleware.__init__

    def init(middleware, *args, **options):
        original(middleware, *args, **options)
        made.append(middleware)

    monkeypatch.setattr(a2wsgi.ASGIMiddleware, "__init__", init)
    yield
    for middleware in made:
        asyncio.run_coroutine_threadsafe(cancel_all(), middleware.loop).result(30)
        middleware.loop.call_soon_threadsafe(middleware.loop.stop)
        while middleware.loop.is_running():
            time.sleep(0.001)
        middleware.loop.close()
        # A later request of the same app makes another.
        middleware.app.__self__._process = 0


async def cancel_all():
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
