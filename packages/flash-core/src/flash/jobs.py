"""The background callbacks of one app; `flash.background` is imported for the first of them."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Protocol

from flash.workers import known_count, refuse_several

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flash.callbacks.context import CallContext
    from flash.callbacks.execution import WorkerPool
    from flash.callbacks.plan import CallbackPlan
    from flash.redis.address import Address
    from flash.tracing import Tracing


class AppWithJobs(Protocol):
    """What `BackgroundJobs` needs of the app."""

    pool: WorkerPool
    internal_pool: WorkerPool
    # The Redis that all workers of the app share; None if it has none.
    redis: Address | None
    # None if nothing is traced.
    tracing: Tracing | None
    # Returns the name of the user who sends the current request, or None; None if nobody does.
    user_of_request: Callable[[], Awaitable[str | None]] | None
    # The manager of callbacks that name none.
    background_manager: Any

    def background_managers(self) -> list[Any]:
        """Return all background managers of the app and of its callbacks."""
        ...

    def managers_in_use(self) -> list[Any]:
        """Return the managers that callbacks of the app use."""
        ...

    def has_unmanaged_jobs(self) -> bool:
        """Return whether a background callback has no manager."""
        ...

    def signing_secret(self) -> bytes:
        """Return the key with which handles of jobs are signed."""
        ...


class BackgroundJobs:
    """Starts, polls and cancels the background jobs of one app."""

    def __init__(self, app: AppWithJobs) -> None:
        self._app = app

    async def set_default_manager(self) -> None:
        """Make the manager of background callbacks that have none, if there are any."""
        if self._app.background_manager is not None or not self._app.has_unmanaged_jobs():
            return
        await self._load()
        self._manager_or_default()

    def check_managers(self) -> None:
        """Raise `ConfigurationError` if several workers would have to share jobs in memory."""
        if known_count()[0] < 2 or not self._app.background_managers():
            return
        from flash.background import AsyncManager

        if any(isinstance(each, AsyncManager) for each in self._app.managers_in_use()):
            refuse_several("background jobs in memory (AsyncManager)")

    def _manager_or_default(self) -> Any:
        app = self._app
        if app.background_manager is None:
            if app.redis is None:
                refuse_several("background jobs in memory (AsyncManager)")
            from flash.background import AsyncManager, RedisManager

            app.background_manager = (
                AsyncManager() if app.redis is None else RedisManager(app.redis)
            )
        return app.background_manager

    async def respond(
        self,
        plan: CallbackPlan,
        ctx: CallContext,
        args: list[Any],
        kwargs: dict[str, Any],
        handle_error: Callable[[Exception], Awaitable[Any]] | None,
    ) -> Any:
        """Start or poll a background job; return a `PendingJob` or the callback's result."""
        await self._load()
        from flash import background

        app = self._app
        if ctx["background_callback_manager"] is None:
            # A callback that was added while the app is served.
            ctx["background_callback_manager"] = self._manager_or_default()
        user = await self._user_of_request()
        call = background.BackgroundCall(
            plan, ctx, args, kwargs, app.signing_secret, app.tracing, user
        )
        return await background.respond(call, app.pool, handle_error)

    async def cancel(self, plan: CallbackPlan, ctx: CallContext) -> None:
        """Cancel the background jobs that the request names."""
        await self._load()
        from flash import background

        user = await self._user_of_request()
        call = background.BackgroundCall(plan, ctx, [], {}, self._app.signing_secret, user=user)
        await background.cancel(call, self._app.pool)

    async def close(self) -> None:
        """End the jobs of all managers that keep them in this process."""
        for manager in self._app.background_managers():
            await self._load()
            from flash import background

            await background.adapt(manager, self._app.pool).close()

    async def _user_of_request(self) -> str | None:
        ask = self._app.user_of_request
        return None if ask is None else await ask()

    async def _load(self) -> None:
        """Import `flash.background` in a thread; few apps have background callbacks."""
        if "flash.background" not in sys.modules:
            await self._app.internal_pool.run(importlib.import_module, "flash.background")
