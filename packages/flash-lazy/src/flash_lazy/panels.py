"""`Panels`: signs and checks the tokens of one app's panels, loads them and caches the results."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import time
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import quart
from dash.exceptions import PreventUpdate

from flash import BadRequest, ConfigurationError, no_update
from flash.exits import ends_task
from flash.serialize import dumps
from flash_lazy.cache.seam import (
    Entry,
    Invalidation,
    Key,
    LazyCache,
    MemoryCache,
    call_digest,
    loader_digest,
)
from flash_lazy.components.thumbnail import Renderer, Thumbnails, kaleido_renderer
from flash_lazy.concurrency import ConcurrencyLimit
from flash_lazy.errors import LoaderTimeout, TokenRefused
from flash_lazy.extension import NOT_SERVED, panels_by_prefix
from flash_lazy.live_refresh import EVENT, EventSender, is_live_imported, when_live
from flash_lazy.loader import LOADERS, Loader
from flash_lazy.tokens.binding import identity
from flash_lazy.tokens.registry import ambiguous
from flash_lazy.tokens.token import LoaderCall, Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flash import Flash

logger = logging.getLogger("flash_lazy")

# True while a result is written as JSON that several visitors may get.
_shared_with_all: ContextVar[bool] = ContextVar("flash_lazy_shared_with_all", default=False)


class Panels:
    """The lazy panels of one app; belongs to the app's event loop."""

    def __init__(
        self,
        app: Flash,
        *,
        cache: LazyCache | None = None,
        max_concurrency: int | None = None,
        max_waiting: int = 1000,
        renderer: Renderer | None = None,
    ) -> None:
        # The given cache; else one that `open` may replace.
        self.cache: LazyCache = MemoryCache() if cache is None else cache
        self._is_own_cache = cache is None
        self.thumbnails = Thumbnails(
            renderer or kaleido_renderer(), app.config.requests_pathname_prefix, self._schedule
        )
        # The clock, in seconds, for the age of results; equal in all processes that share a cache.
        self.clock: Callable[[], float] = time.time
        self._app = app
        self._max_waiting = max_waiting
        # The limit of all loaders together; each loader may have its own limit, too.
        self._limit = ConcurrencyLimit(max_concurrency, max_waiting=max_waiting)
        self._limits: dict[Loader[...], ConcurrencyLimit] = {}
        # The loaders whose panels this app has signed, by name.
        self._placed: dict[str, Loader[...]] = {}
        # Background loads that replace stale results; at most one per key.
        self._revalidations: dict[Key, asyncio.Task[None]] = {}
        # Running operations that nothing awaits: invalidations, and figures to keep.
        self._tasks: set[asyncio.Task[None]] = set()
        self._signer: Signer | None = None
        self._secret = b""
        # The name of this app in the cache.
        self._scope = ""
        # The app's `Live`, if a loader is live and the app has one.
        self._live: EventSender | None = None
        self._requested_live = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_open = False

    async def open(self) -> None:
        """Set the key that signs tokens, and open the cache; idempotent.

        A later call applies a new key, if the workers have agreed on another one.
        """
        # In a thread, because reading the secret from a store may block.
        secret = await self._app.internal_pool.run(self._app.signing_secret)
        if self._is_open:
            if secret == self._secret:
                return
            await self.close()
        self._is_open = True
        self._secret = secret
        self._loop = asyncio.get_running_loop()
        self._signer = Signer(secret, self._app.config.routes_pathname_prefix)
        self._scope = self._signer.digest("app")
        if self._is_own_cache and self._app.common_store is not None:
            # In a thread: this may be the first who needs redis-py.
            await self._app.internal_pool.run(importlib.import_module, "flash_lazy.cache.redis")
            from flash_lazy.cache.redis import RedisCache

            self.cache = RedisCache(self._app.common_store)
        self.thumbnails.open(self._signer, self._scope, self.cache)
        await self.cache.open(self._scope, self._notify_pages)
        # Pages of live panels that another worker has placed may be connected here.
        if is_live_imported():
            self._request_live()
        # A worker may invalidate before it has placed a panel.
        LOADERS.follow(self)

    async def close(self) -> None:
        """Cancel the background loads and close the cache; idempotent."""
        if not self._is_open:
            return
        self._is_open = False
        LOADERS.unfollow(self)
        for task in self._revalidations.values():
            task.cancel()
        # This may be one of the tasks.
        running = self._tasks - {asyncio.current_task()}
        await asyncio.gather(*self._revalidations.values(), *running, return_exceptions=True)
        self.thumbnails.close()
        self._placed.clear()
        await self.cache.close(self._scope)

    @property
    def signer(self) -> Signer:
        """The signer of this app; raises `ConfigurationError` before the app is served."""
        if self._signer is None:
            raise ConfigurationError(NOT_SERVED)
        return self._signer

    def apply_new_secret(self) -> None:
        """Sign with the app's new key, if the app is being served; from any thread."""
        if self._is_open:
            self._schedule(self.open, "the new key that signs panels could not be used")

    def sign(self, loader: Loader[...], call: LoaderCall) -> str:
        """Return the token of a panel for the current visitor."""
        bind = loader.options.bind
        if bind is not None and _shared_with_all.get():
            raise ConfigurationError(
                f"{loader.name} is bound to one visitor but is inside a panel that all visitors "
                "share; give the outer loader the same bind="
            )
        placed = self._placed.setdefault(loader.name, loader)
        if placed is not loader:
            if not placed.is_same_as(loader):
                raise ambiguous(loader, placed)
            self._placed[loader.name] = loader
        loader.subscribe(self)
        return self.signer.sign(call, identity(loader.name, bind))

    def topic(self, loader: Loader[...], call: LoaderCall) -> str:
        """Return the topic of a live panel; it begins with the topic of its loader.

        Raises `ConfigurationError` if the app has no `Live`.
        """
        self._request_live()
        if self._live is None:
            raise ConfigurationError(
                f"{loader.name} is live but its app has no live link; create one: Live(app)"
            )
        return self._loader_digest(loader) + self._call_digest(call)

    def _request_live(self) -> None:
        if not self._requested_live:
            when_live(self._app, self._set_live)
            self._requested_live = True

    def _set_live(self, live: EventSender) -> None:
        self._live = live

    # -- loading ---------------------------------------------------------------------------------

    async def answer(self, request: Any, token: Any) -> tuple[Any, dict[str, Any]]:
        """Load a panel for a page; return its children and the outcome of the load."""
        match request:
            case {"n": int(number)}:
                pass
            case _:
                raise BadRequest(
                    f"{request!r:.100} is not a panel's request; it must have a number 'n'"
                )
        loader, call, visitor = self._verify(token)
        try:
            content = await self._load(loader, call, visitor)
        except PreventUpdate:
            # The panel keeps its content.
            return no_update, {"n": number, "ok": True}
        except BadRequest:
            raise
        except Exception as error:  # boundary: the panel shows it if the loader has `error=`
            if loader.options.error is None:
                raise
            logger.exception("%s(%s) failed", loader.name, call.arguments)
            return await self._error_view(loader, error), {"n": number, "ok": False}
        return orjson.Fragment(content), {"n": number, "ok": True}

    async def check(self) -> dict[str, bool]:
        """Answer a page that asks whether the token in a request's JSON is refused.

        The page cannot tell that from an error of the callback, and no second attempt would help.
        """
        body = await quart.request.get_json(force=True)
        try:
            loader, call, _ = self._verify(body.get("token") if isinstance(body, dict) else None)
            loader.arguments(call)
        except TokenRefused:
            return {"refused": True}
        return {"refused": False}

    def _verify(self, token: Any) -> tuple[Loader[...], LoaderCall, str]:
        """Return a token's loader, call and visitor; raises `TokenRefused` if it is not valid."""
        try:
            name = self.signer.loader(token)
            placed = self._placed.get(name)
            known = [placed] if placed else LOADERS.named(name, self._app)
            if not known:
                raise TokenRefused
            visitor = identity(name, known[0].options.bind)
            call = self.signer.read(token, visitor)
        except TokenRefused:
            if not self._app.server.secret_key:
                logger.warning(
                    "A panel's token was refused. This app has no app.server.secret_key, so its "
                    "tokens are valid in this process only; set one, the same for all workers."
                )
            raise
        if len(known) > 1:
            # A wrong choice could show one customer's data to another.
            raise ConfigurationError(
                f"{len(known)} loaders have the name {name!r}; give each its own: @lazy(name=…)"
            )
        return known[0], call, visitor

    async def _load(self, loader: Loader[...], call: LoaderCall, visitor: str) -> bytes:
        tracing = self._app.tracing
        if tracing is None:
            return (await self._load_entry(loader, call, visitor))[0]
        with tracing.span(f"loader {loader.name}", {"flash.loader.name": loader.name}) as span:
            content, source = await self._load_entry(loader, call, visitor)
            span.set({"flash.loader.source": source, "flash.response.bytes": len(content)})
            return content

    async def _load_entry(
        self, loader: Loader[...], call: LoaderCall, visitor: str
    ) -> tuple[bytes, str]:
        """Return the content, and where it came from.

        "run": this call has run the loader; "shared": an equal call that was under way has, or
        another worker; "cache" and "stale": the cache.
        """
        ran = False
        key = self._key(loader, call, visitor)
        loader.subscribe(self)
        options = loader.options

        async def run() -> Entry:
            nonlocal ran
            ran = True
            content = await self._run(loader, call, shared=not visitor)
            return Entry(content, self.clock())

        if options.cache is None:
            content = (await self.cache.load(key, run)).content
            return content, "run" if ran else "shared"
        entry = await self.cache.find(key)
        newer_than = 0.0 if entry is None else entry.loaded_at
        load = partial(self.cache.load, key, run, seconds=loader.lifetime, newer_than=newer_than)
        if entry is not None:
            age = self.clock() - entry.loaded_at
            if age < options.cache:
                return entry.content, "cache"
            if age < options.cache + options.stale:
                self._revalidate(loader.name, key, load)
                return entry.content, "stale"
        content = (await load()).content
        return content, "run" if ran else "shared"

    def _key(self, loader: Loader[...], call: LoaderCall, visitor: str) -> Key:
        parts = [visitor]
        if loader.options.key is not None:
            args, kwargs = loader.arguments(call)
            parts.append(json.dumps(loader.options.key(*args, **kwargs), sort_keys=True))
        variant = self.signer.digest("variant", *parts)
        return Key(self._scope, self._loader_digest(loader), self._call_digest(call), variant)

    def _loader_digest(self, loader: Loader[...]) -> str:
        return loader_digest(self._scope, loader.name)

    def _call_digest(self, call: LoaderCall) -> str:
        return call_digest(self._scope, call.arguments)

    async def _run(self, loader: Loader[...], call: LoaderCall, *, shared: bool) -> bytes:
        args, kwargs = loader.arguments(call)
        deadline = asyncio.timeout(None)
        async with self._limit_of(loader), self._limit:
            seconds = loader.options.timeout
            try:
                async with deadline:
                    if seconds is not None:
                        deadline.reschedule(asyncio.get_running_loop().time() + seconds)
                    result = await self._app.pool.call(loader.function, *args, **kwargs)
            except TimeoutError as error:
                if deadline.expired() and seconds is not None:
                    raise LoaderTimeout(loader.name, seconds) from error
                raise
            reset_token = _shared_with_all.set(shared)
            try:
                return await self._app.internal_pool.run(dumps, result)
            finally:
                _shared_with_all.reset(reset_token)

    def _limit_of(self, loader: Loader[...]) -> ConcurrencyLimit:
        if loader not in self._limits:
            limit = loader.options.max_concurrency
            self._limits[loader] = ConcurrencyLimit(limit, max_waiting=self._max_waiting)
        return self._limits[loader]

    async def _error_view(self, loader: Loader[...], error: Exception) -> Any:
        view = loader.options.error
        return await self._app.pool.call(view, error) if callable(view) else view

    def _revalidate(self, name: str, key: Key, load: Callable[[], Any]) -> None:
        if key in self._revalidations:
            return

        async def revalidate() -> None:
            try:
                await load()
            except BaseException as error:
                # The boundary of the task: the stale result is still valid.
                if ends_task(error):
                    raise
                logger.exception("%s: the stale result could not be replaced", name)
            finally:
                del self._revalidations[key]

        self._revalidations[key] = asyncio.create_task(revalidate())

    # -- invalidating ----------------------------------------------------------------------------

    def invalidated(self, loader: Loader[...], call: LoaderCall | None) -> bool:
        """Drop results in the cache; from any thread, in order if it is the app's own thread.

        Returns False if the app is not being served.
        """
        return self._is_open and self._schedule(
            partial(self._drop, loader, call), "an invalidation did not reach the cache"
        )

    async def _drop(self, loader: Loader[...], call: LoaderCall | None) -> None:
        digest = None if call is None else self._call_digest(call)
        invalidation = Invalidation(self._scope, self._loader_digest(loader), digest)
        await self.cache.forget(invalidation, seconds=loader.lifetime)

    def _notify_pages(self, invalidation: Invalidation) -> None:
        """Tell open pages of an invalidation, which any worker may have made."""
        if self._live is not None:
            topic = (invalidation.loader or "") + (invalidation.call or "")
            send = partial(self._live.send_event, EVENT, topic)
            self._schedule(send, "an invalidation did not reach the open pages")

    def _schedule(self, operation: Callable[[], Coroutine[Any, Any, None]], failure: str) -> bool:
        """Run ``operation`` as a task on the app's event loop; from any thread.

        Returns False if that loop has ended. An error is logged with the text ``failure``.
        """
        if self._loop is None or self._loop.is_closed():
            return False
        try:
            on_loop = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            self._start_task(operation, failure)
        else:
            self._loop.call_soon_threadsafe(self._start_task, operation, failure)
        return True

    def _start_task(self, operation: Callable[[], Coroutine[Any, Any, None]], failure: str) -> None:
        async def run() -> None:
            try:
                await operation()
            except BaseException as error:
                # The boundary of the task.
                if ends_task(error):
                    raise
                logger.exception(failure)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def panels_of(app: Flash, **settings: Any) -> Panels:
    """Return the app's panels; create them with ``settings`` on the first call."""
    known: dict[str, Panels] = panels_by_prefix(app)
    prefix = app.config.routes_pathname_prefix
    if prefix not in known:
        known[prefix] = Panels(app, **settings)
    return known[prefix]
