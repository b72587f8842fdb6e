"""The start of an app whose server sends no lifespan, such as one mounted in another app.

What a lifespan does at its start, the first request does; what it does at its end is done when the
event loop ends, or the process. A host that has a lifespan may run both, see `Startup.lifespan`.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flash.importing import ignores_run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import quart

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("flash.serving")

# Seconds that what is done after serving may take when the process ends.
_END_TIMEOUT = 5.0


class Startup:
    """Starts a Quart app once, with all its ``before_serving`` functions in their order.

    Replaces the app's ``startup`` and ``shutdown``, which a lifespan calls, to know of them.
    """

    def __init__(self, server: quart.Quart) -> None:
        self._startup = server.startup
        self._shutdown = server.shutdown
        server.startup = self.start  # type: ignore[method-assign]
        server.shutdown = self.end  # type: ignore[method-assign]
        self._run = server.run
        server.run = self._run_unless_importing  # type: ignore[method-assign]
        # Whether the requests come by WSGI; known when the app starts.
        self.is_by_wsgi = False
        # Whether requests can be served.
        self.is_complete = False
        # The result of a start without lifespan; requests wait for it.
        self._result: concurrent.futures.Future[None] | None = None
        # Starts the app without lifespan, waits, and ends it when it is cancelled.
        self._holder: asyncio.Task[None] | None = None

    def _run_unless_importing(self, *args: Any, **options: Any) -> None:
        """Serve by Quart's own ``run``, which is called as ``app.server.run()``."""
        if not ignores_run():
            self._run(*args, **options)

    async def start(self) -> None:
        """Do what is done before serving; called by a lifespan."""
        # An earlier start without lifespan, such as that of a test's client, is over.
        await self._release()
        self.is_by_wsgi = False
        await self._startup()
        self.is_complete = True

    async def end(self) -> None:
        """Do what is done after serving; called by a lifespan."""
        self.is_complete = False
        await self._shutdown()

    async def wait(self, *, by_wsgi: bool) -> None:
        """Start the app without lifespan, or wait until another request has started it.

        Raises the error of a start that failed. The next request tries again.
        """
        result = self._result
        if result is None or result.done():
            result = self._result = concurrent.futures.Future()
            # A request that is cancelled must not cancel what others wait for.
            result.set_running_or_notify_cancel()
            self.is_by_wsgi = by_wsgi
            self._holder = asyncio.get_running_loop().create_task(
                self._hold(result), name="flash-lifespan"
            )
        await asyncio.wrap_future(result)

    async def _hold(self, result: concurrent.futures.Future[None]) -> None:
        """Be the lifespan of the app; the end of the loop cancels this task."""
        try:
            await self._startup()
        except BaseException as error:
            await self._end_quietly()
            result.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        self.is_complete = True
        atexit.register(self._end_with_process)
        result.set_result(None)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            atexit.unregister(self._end_with_process)
            self.is_complete = False
            await self._end_quietly()

    async def _end_quietly(self) -> None:
        try:
            await self._shutdown()
        except Exception:
            logger.debug("the app did not end cleanly", exc_info=True)

    async def _release(self) -> None:
        """End the app if it was started without lifespan, on whatever loop."""
        holder = self._holder
        if holder is None or holder.done():
            return
        loop = holder.get_loop()
        if loop is asyncio.get_running_loop():
            await _cancelled(holder)
        elif loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_cancelled(holder), loop))

    def _end_with_process(self) -> None:
        """End the app where its loop has not ended before the process."""
        holder = self._holder
        if holder is None or holder.done():
            return
        loop = holder.get_loop()
        if loop.is_closed():
            return
        # No executor starts a thread at this time.
        executor = _InPlace()
        with contextlib.suppress(TimeoutError, RuntimeError):
            if loop.is_running():
                loop.call_soon_threadsafe(loop.set_default_executor, executor)
                # The loop of a thread.
                ended = asyncio.run_coroutine_threadsafe(_cancelled(holder), loop)
                ended.result(_END_TIMEOUT)
            else:
                loop.set_default_executor(executor)
                loop.run_until_complete(_cancelled(holder))

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Start the app, and end it: for a host that has a lifespan."""
        await self.start()
        try:
            yield
        finally:
            await self.end()


class _InPlace(concurrent.futures.ThreadPoolExecutor):
    """Calls each function in the caller's thread."""

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]:
        """Call ``fn`` at once."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  the caller gets it
            future.set_exception(error)
        return future


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=_END_TIMEOUT)
