"""`Flash`: a Dash app on Quart in which nothing blocks the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import inspect
import logging
import os
import warnings
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never, ParamSpec, TypeVar

import dash
import quart
from flask.helpers import get_load_dotenv

from flash import loop_watch
from flash.access.callback_socket import CallbackSockets
from flash.access.hosts import HostPolicy
from flash.callbacks import registration
from flash.callbacks.dispatch import Dispatcher
from flash.callbacks.execution import PoolStatistics, WorkerPool, wait_in_thread
from flash.callbacks.functions import is_async, place_of
from flash.callbacks.hook_registry import Hooks
from flash.current import note_app
from flash.dash_arguments import DASH_DEFAULT, given_for_dash
from flash.errors import ConfigurationError
from flash.exits import guard_tasks
from flash.http.garbage_collection import postpone_full_collections
from flash.http.gateway import Gateway
from flash.http.handshake import PageGuard
from flash.http.response_headers import PageHeaders, changes_here
from flash.http.routed import encoded, file_response, raw_headers
from flash.importing import ignores_run
from flash.jobs import BackgroundJobs
from flash.log_limit import limit_server_logs
from flash.pages import panel
from flash.pages.document import Document
from flash.pages.pages import Pages
from flash.pages.validation import LayoutValidation
from flash.pages.views import Views
from flash.seams import dash as dash_seam
from flash.seams import quart as quart_seam
from flash.seams.dash_app import DashApp
from flash.seams.flask_server import FlashServer, server_for
from flash.seams.server_call import ServerCall, WSGIBridge
from flash.serialize import load_dash_serializer
from flash.settings import (
    SECONDS_OR_NONE,
    Choice,
    Function,
    Instance,
    Number,
    check,
)
from flash.tracing import choose as choose_tracing
from flash.workers import OtherProcessWarning, workers_key

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )
    from typing import TypeAlias

    import flask
    from dash.dependencies import DashDependency, Input, Output, State

    from flash.access.admission import Authorize
    from flash.callbacks.plan import RunIn
    from flash.checking.security import SecurityCheck
    from flash.http.backend import QuartBackend
    from flash.http.gateway import ASGIApp
    from flash.loop_watch import LoopWatch
    from flash.pages.panel import PanelSource
    from flash.redis.address import Address
    from flash.signing_key import RedisSigningKey
    from flash.tracing import Tracing

    # What a callback is given: dependencies, also in lists, tuples and dictionaries; and at last,
    # as in earlier Dash, whether the first call is left out.
    Dependencies: TypeAlias = (
        DashDependency | Sequence["Dependencies"] | Mapping[str, "Dependencies"] | bool
    )

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

# Threads for Flash's own work, so that pages open while all threads for callbacks are busy.
_INTERNAL_THREADS = 4

# Seconds between start-up and the warm-up, if no request needs it before. The first page is served
# in this time.
_WARM_UP_SECONDS = 0.5

# Flash's script of each page. It is small, so a request of its own would take longer.
_PAGE_SCRIPT = Path(__file__).with_name("flash.js").read_text(encoding="utf-8")

# The environment variable with the address of the Redis that all workers share.
REDIS_VARIABLE = "FLASH_REDIS_URL"

# Arguments of `dash.Dash` that give a URL prefix.
_PREFIXES = ("url_base_pathname", "routes_pathname_prefix", "requests_pathname_prefix")


class Flash(DashApp):
    """A `dash.Dash` app served by Quart; it takes every argument of `dash.Dash`.

    An argument that came with a later Dash than the one installed is refused with an error that
    names the version. ``stream_poll_interval`` is refused too, since pages of Flash do not poll.

    - ``server``: a `quart.Quart` or a `flask.Flask` to mount on (several apps may share one, each
      with its own ``url_base_pathname``); True to make one; False to pass one to `init_app` later.
      ``app.server`` is a Quart app; one made for a Flask app shares its registries.
    - ``max_threads``: the most plain functions that run at the same time.
    - ``max_waiting``: the most callers that wait for a thread; further ones get 503 with
      ``Retry-After``.
    - ``visitor_share``: the share of threads, and of callers that wait, that one visitor may have:
      a user of the live link, or else an address. 1 sets no limit.
    - ``allowed_hosts``: the hosts under which the app is reached, such as ``["example.org"]`` or
      ``["*.example.org"]``; a request for another host gets 400. Without it any host is allowed, so
      a page of another site whose name resolves to this server can use the app.
    - ``authorize``: decides with a `Visitor` who may open what stays open: the live link, endpoints
      and Dash's own WebSocket. It may be async. True or the name of the user allows, a false value
      refuses. It is not asked for requests over HTTP, such as that of a login page:
      ``before_request`` functions guard these.
    - ``recheck_interval``: about how many seconds until ``authorize`` and the app's own guards are
      called again for what is open; None for never.
    - ``slow_callback_seconds``: code of the app that blocks the event loop for longer is named in
      the log, once for each line, and counted; None turns that off.
    - ``version``: names the version of the app's code to pages, see `version`.
    - ``tracing``: True for spans of OpenTelemetry (``flash-core[otel]``), or a `Tracing`; without
      it there are spans if the process has set a tracer provider before the app is made.
    - ``page_headers``: headers of the app's HTML pages, in addition to
      ``X-Content-Type-Options: nosniff``, ``Referrer-Policy: strict-origin-when-cross-origin`` and
      ``X-Frame-Options: SAMEORIGIN``, or instead of them; None as a value leaves one out. A header
      that a response has already is kept.
    - ``redis``: the address of the Redis that all workers of the app share, such as
      ``"redis://127.0.0.1:6379/0"``; by default ``FLASH_REDIS_URL``. Background jobs, the broker of
      flash-pubsub, the cache of flash-lazy and the key that signs pages and tokens are kept there,
      unless a part is given its own. Without it, or with ``"memory://"``, they are kept in the
      memory of this process.
    - ``sessions``: "redis" keeps the sessions of visitors there, by flask-session; "cookie" leaves
      them to ``app.server``, which has them in a signed cookie.

    The app is an ASGI application, and so is ``app.server``. Servers of WSGI can call both as well,
    without the live link.
    """

    def __init__(
        self,
        name: str | None = None,
        server: quart.Quart | flask.Flask | bool | None = True,
        *,
        backend: str | type[QuartBackend] | None = None,
        use_async: bool | None = None,
        max_threads: int = 40,
        max_waiting: int = 1000,
        visitor_share: float = 0.8,
        allowed_hosts: Iterable[str] | None = None,
        authorize: Authorize | None = None,
        recheck_interval: float | None = None,
        slow_callback_seconds: float | None = loop_watch.DEFAULT_SECONDS,
        version: str | None = None,
        tracing: Tracing | bool | None = None,
        page_headers: Mapping[str, str | None] | None = None,
        redis: str | None = None,
        sessions: Literal["cookie", "redis"] = "cookie",
        assets_folder: str = "assets",
        pages_folder: str = "pages",
        use_pages: bool | None = None,
        assets_url_path: str = "assets",
        assets_ignore: str = "",
        assets_path_ignore: list[str] | None = None,
        assets_external_path: str | None = None,
        eager_loading: bool = False,
        include_assets_files: bool = True,
        include_pages_meta: bool = True,
        url_base_pathname: str | None = None,
        requests_pathname_prefix: str | None = None,
        routes_pathname_prefix: str | None = None,
        serve_locally: bool = True,
        compress: bool | None = None,
        meta_tags: Sequence[Mapping[str, Any]] | None = None,
        index_string: str = dash_seam.DEFAULT_INDEX,
        external_scripts: Sequence[str | Mapping[str, Any]] | None = None,
        external_stylesheets: Sequence[str | Mapping[str, Any]] | None = None,
        suppress_callback_exceptions: bool | None = None,
        prevent_initial_callbacks: bool | Literal["initial_duplicate"] = False,
        show_undo_redo: bool = False,
        extra_hot_reload_paths: Sequence[str] | None = None,
        plugins: Sequence[Any] | None = None,
        title: str = "Dash",
        update_title: str | None = "Updating...",
        background_callback_manager: Any | None = None,
        add_log_handler: bool = True,
        hooks: Mapping[str, Any] | None = None,
        routing_callback_inputs: Mapping[str, Input | State] | None = None,
        description: str | None = None,
        image: str | None = None,
        on_error: Callable[[Exception], Any] | None = None,
        health_endpoint: str | None = None,
        csrf_token_name: str = "_csrf_token",
        csrf_header_name: str = "X-CSRFToken",
        websocket_callbacks: bool | None = False,
        websocket_allowed_origins: list[str] | None = None,
        websocket_inactivity_timeout: int | None = 300_000,
        websocket_heartbeat_interval: int | None = 30_000,
        websocket_batch_delay: float | None = 0.005,
        websocket_max_workers: int | None = 4,
        stream_keepalive_interval: int | None = 15_000,
        stream_poll_interval: int = 100,
        shared_storage: object = DASH_DEFAULT,
        enable_mcp: bool | None = None,
        mcp_path: str | None = None,
        **others: Never,
    ) -> None:
        dash_arguments: dict[str, Any] = {**given_for_dash(locals(), _DASH_DEFAULTS), **others}
        # As given, or computed when it is first asked for after the start.
        self._version = version
        postpone_full_collections()
        check(
            version=(version, Instance(str, optional=True)),
            slow_callback_seconds=(slow_callback_seconds, Number(above=True, optional=True)),
            authorize=(authorize, Function()),
            recheck_interval=(recheck_interval, SECONDS_OR_NONE),
        )
        note_app(self)
        # Every Flash app is async. Dash would check for a package that only Flask needs.
        del use_async
        check(sessions=(sessions, Choice(("cookie", "redis"))))
        # The Redis that all workers of the app share; None if it has none.
        self.redis: Address | None = _redis_address(redis)
        if sessions == "redis" and self.redis is None:
            raise ConfigurationError(
                f'sessions="redis" needs the address of a Redis: Flash(…, redis="redis://…") or '
                f"{REDIS_VARIABLE}=redis://…"
            )
        self.warn_of_other_process = OtherProcessWarning()
        self._keeps_sessions = sessions == "redis"
        self._signing_key: RedisSigningKey | None = None
        self.pool = WorkerPool(
            max_threads=max_threads, max_waiting=max_waiting, visitor_share=visitor_share
        )
        # For layouts, pages and titles, so that they open while all threads for callbacks are busy.
        self.page_pool = WorkerPool(
            max_threads=max_threads, max_waiting=max_waiting, visitor_share=visitor_share
        )
        self.internal_pool = WorkerPool(max_threads=_INTERNAL_THREADS)
        # For code of Dash that waits for callbacks. In `pool` it could occupy the last thread, and
        # the callback would never run.
        self.dash_pool = WorkerPool(max_threads=max_threads, max_waiting=max_waiting)
        self.hooks = Hooks(self.pool)
        self.document = Document(self)
        self.page_extras = {}
        self.secret_watchers = []
        self.dev_tools_components = [panel.BUTTON]
        self.dev_tools_scripts = [panel.SCRIPT]
        # What the developer's panel shows of this worker; for add-on packages.
        self.panel_sources: list[PanelSource] = []
        # Functions that return values for the configuration of each page. They are called in a
        # thread each time the HTML of a page is made. For add-on packages.
        self.page_values: list[Callable[[], Mapping[str, Any]]] = []
        # Functions that are called with each layout before it is sent, also with layouts of
        # `dash.register_page`. Each returns the layout to send and must not change its argument.
        # For add-on packages.
        self.layout_filters: list[Callable[[Any], Any]] = []
        # The address of a Redis that all workers of the deployment use; an add-on package sets it
        # before the app starts if there is none yet. Other add-ons then store there what they would
        # store per process.
        self.common_store: str | None = None if self.redis is None else self.redis.url
        # Returns the name of the user who sends the current request, or None; set by an add-on
        # package. Handles of background jobs are then valid for this user only.
        self.user_of_request: Callable[[], Awaitable[str | None]] | None = None
        self.background_jobs = BackgroundJobs(self)
        self.dispatcher = Dispatcher(self, self.pool, self.internal_pool, self.hooks)
        self.views = Views(self)
        # Whether responses that are made per request are compressed. Files always are.
        self.compresses = False
        self._shows_errors = False
        self._hosts = None if allowed_hosts is None else HostPolicy(allowed_hosts)
        # What `flash check` asks in addition to its own checks; for add-on packages.
        self.security_checks: list[SecurityCheck] = []
        # The headers of the app's HTML pages.
        self.page_headers = PageHeaders({**changes_here(), **(page_headers or {})})
        # Decides who may open connections, and how often it is asked again while they are open.
        self.authorize: Authorize | None = authorize
        self.recheck_interval: float | None = recheck_interval
        self.callback_sockets = CallbackSockets(
            self, authorize=authorize, recheck_interval=recheck_interval
        )
        if authorize is not None:
            self.user_of_request = self.callback_sockets.user_of_request
        self._pages = Pages(self)
        self._validation = LayoutValidation(self)
        self._starting = asyncio.Lock()
        self._started = False
        self._is_serving = False
        self._warming = asyncio.Lock()
        self.is_warm = False
        self._warm_up_timer: asyncio.TimerHandle | None = None
        self._warm_up_task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # The id of the process in which `_loop` runs.
        self._process = 0
        self.tracing: Tracing | None = choose_tracing(tracing)
        self._slow_callback_seconds = slow_callback_seconds
        # What blocks the loop is counted there while the app runs; None if it is not watched.
        self.loop_watch: LoopWatch | None = None
        self.has_own_prefix = any(dash_arguments.get(name) is not None for name in _PREFIXES)
        # Here, since it imports Dash's backend, which only an app needs.
        from flash.http.backend import backend_for

        super().__init__(
            _name_of(name, server),
            server=server is not False,
            backend=backend_for(server, backend),
            **dash_arguments,
        )
        self.add_inline_script(_PAGE_SCRIPT)
        # Before other scripts of the app, since these may fetch.
        self.scripts.append_script({"relative_package_path": "flash_core.js", "namespace": "flash"})

    # -- set-up ----------------------------------------------------------------------------------

    def init_app(self, app: quart.Quart | flask.Flask | None = None, **kwargs: Any) -> None:
        """Mount on ``app``, or on the server that the constructor made; idempotent per server."""
        served = None if app is None else server_for(app)
        if app is not None and served is None:
            raise ConfigurationError(
                f"init_app({app!r}): pass a quart.Quart, a flask.Flask or nothing"
            )
        server = served or self.server
        self.backend: QuartBackend
        self.backend.app = self
        if getattr(self, "_mounted_on", None) is server:
            return
        self._mounted_on = server
        if self._keeps_sessions:
            self._keep_sessions(server)
        super().init_app(served, **kwargs)
        gateway = Gateway.of(server)
        quart_seam.note_session_reads(server)
        gateway.mount(self)
        if self._hosts is not None:
            gateway.check_hosts(self._hosts.refusal_reason)
        gateway.guard_sockets(
            f"{self.config.routes_pathname_prefix}_dash-ws-callback", self.callback_sockets.serve
        )
        server.before_serving(self.start)
        server.after_serving(self.stop)

    def _keep_sessions(self, server: quart.Quart) -> None:
        assert self.redis is not None
        if not isinstance(server, FlashServer):
            raise ConfigurationError(
                f'sessions="redis" cannot be added to {server!r}, which was not made by Flash: '
                "leave out server=, or keep its sessions by quart-session"
            )
        from flash.sessions import keep_sessions

        keep_sessions(server, self.redis)

    def add_asgi_route(self, rule: str, application: ASGIApp) -> None:
        """Serve an ASGI application at ``rule`` below the app's prefix, for HTTP and WebSocket.

        ``rule`` may have variables (``"room/<name>"``), which are in ``scope["path_params"]``. The
        application is called before Quart and must run the app's guards itself, see
        `flash.http.handshake.Handshake`.
        """
        prefix: str = self.config.routes_pathname_prefix
        Gateway.of(self.server).add_application(prefix + rule.lstrip("/"), application)

    def callback(  # type: ignore[override]
        self,
        *args: Dependencies,
        output: Dependencies | None = None,
        inputs: Dependencies | None = None,
        state: Dependencies | None = None,
        prevent_initial_call: bool | Literal["initial_duplicate"] | None = None,
        background: bool = False,
        interval: int = 1000,
        progress: Output | Sequence[Output] | None = None,
        progress_default: Any = None,
        running: Sequence[tuple[Output, Any, Any]] | None = None,
        cancel: Input | Sequence[Input] | None = None,
        manager: Any | None = None,
        cache_args_to_ignore: Sequence[str | int] | None = None,
        cache_ignore_triggered: bool = True,
        on_error: Callable[[Exception], Any] | None = None,
        api_endpoint: str | None = None,
        optional: bool | None = False,
        hidden: bool | None = None,
        websocket: bool | None = False,
        persistent: bool | None = False,
        mcp_enabled: bool | None = None,
        mcp_expose_docstring: bool | None = None,
        compress_payload: bool = False,
        compress_threshold: int = 5_000,
        run_in: RunIn = "thread",
        supersede: bool = False,
        coalesce: bool = False,
        timeout: float | None = None,
        repeat: bool | None = None,
        **others: Never,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Register a callback; takes the arguments of `dash.Dash.callback` and `flash.callback`."""
        kwargs = {**_given_for_callback(locals()), **others}
        options = registration.take_options(kwargs)
        decorate = super().callback(*args, **kwargs)
        remove = registration.store_options(self.callback_list, self.callback_map, options)
        # After start-up, take it over at once: Dash's own handlers could run it before Flash does.
        take_over_now = self.dispatcher.take_over if self._started else None
        return registration.checked_decorator(
            decorate, options, remove, take_over_now, reads_source=bool(kwargs.get("background"))
        )

    def place_of_callback(self, callback_id: str) -> str:
        """Return ``file:line`` of a callback's function.

        A clientside callback has no function in Python; its name in JavaScript is returned.
        """
        if "callback" in self.callback_map[callback_id]:
            plan = self.dispatcher.plan(callback_id)
            return callback_id if plan is None else place_of(plan.function)
        for entry in self.callback_list:
            if entry["output"] == callback_id and entry.get("clientside_function"):
                named = entry["clientside_function"]
                inputs = ", ".join(f"{each['id']}.{each['property']}" for each in entry["inputs"])
                name = f"{named['namespace']}.{named['function_name']}"
                if name.startswith("_dash"):
                    # Dash's name for code that was given as text.
                    name = "JavaScript code"
                return f"{name} with the Inputs {inputs}"
        return callback_id

    def page_of(self, token: str) -> str | None:
        """Return the page id in a signed identity, or None if the signature is not valid."""
        page = super().page_of(token)
        if page is None and token:
            self.warn_of_other_process("the signed identity of a page")
        return page

    @property
    def version(self) -> str:
        """The version of the app: as given, or a hash of the inputs and outputs of all callbacks.

        A page of another version may call callbacks that this server does not have.
        """
        if self._version is not None:
            return self._version
        described = sorted(
            repr([each.get(key) for key in ("output", "inputs", "state")])
            for each in self.callback_list
        )
        digest = hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]
        if self.has_started:
            # Callbacks that are added later do not make earlier pages outdated.
            self._version = digest
        return digest

    @property
    def layout(self) -> Any:
        """The components, or the function that returns them, which may be ``async def``."""
        return self.raw_layout

    @layout.setter
    def layout(self, value: Any) -> None:
        if is_async(value):
            # Validated at start-up, where it can be awaited.
            self.raw_layout = value
        elif callable(value):
            self._validation.assign(value)
        else:
            self.set_layout(value)

    @property
    def layout_function(self) -> Callable[..., Any] | None:
        """The function that returns the layout, as it was assigned; None for components."""
        return self.raw_layout if callable(self.raw_layout) else None

    @property
    def host_policy(self) -> HostPolicy | None:
        """The hosts that are allowed; None without ``allowed_hosts``."""
        return self._hosts

    @property
    def has_middleware(self) -> bool:
        """Whether middleware of WSGI or ASGI is around the server."""
        return Gateway.of(self.server).has_middleware

    @property
    def has_started(self) -> bool:
        """Whether `start` has run."""
        return self._started

    @property
    def is_serving(self) -> bool:
        """Whether the app has been started and not stopped since."""
        return self._is_serving

    @property
    def is_served_by_wsgi(self) -> bool:
        """Whether requests come by WSGI, which has no live link; known when the app starts."""
        return Gateway.of(self.server).startup.is_by_wsgi

    async def start(self) -> None:
        """Run the set-up that needs the loop: async hooks, pages, validation, compiling.

        Idempotent. The server calls it before serving. If the server has no lifespan, the first
        request does, with all other ``before_serving`` functions.
        """
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._is_serving = True
        async with self._starting:
            if self._started:
                self._watch_loop()
                return
            guard_tasks(self._loop)
            limit_server_logs(self.server.name)
            quart_seam.raise_exits_as_errors(self.server)
            quart_seam.log_start_failures_in_one_line(self.server)
            dash_seam.enter_app(self)
            await self._share_signing_key()
            await self.hooks.setup(self)
            if self.use_pages:
                self._pages.register()
            await self.background_jobs.set_default_manager()
            await self._validation.run()
            self.background_jobs.check_managers()
            if (key := workers_key()) and self.redis is None and not self.background_managers():
                self.share_signing_secret(key)
            # Read now, since it may be in the store of the background manager.
            await self.internal_pool.run(self.signing_secret)
            if isinstance(self.server, FlashServer) and self.server.take_over_compression():
                self.compresses = True
            if self.shows_dev_tools:
                self.add_url(panel.PATH, panel.PanelData(self).serve)
            self.dispatcher.take_over()
            await self.internal_pool.run(self.document.scripts)
            await self.internal_pool.run(self.document.css)
            self._started = True
            self._watch_loop()
        self._warm_up_timer = self._loop.call_later(_WARM_UP_SECONDS, self._begin_warm_up)

    def _watch_loop(self) -> None:
        if self._slow_callback_seconds is not None and self.loop_watch is None:
            loop = asyncio.get_running_loop()
            self.loop_watch = loop_watch.watch(loop, self._slow_callback_seconds)

    async def _share_signing_key(self) -> None:
        """Sign with the key in Redis, if there is one, so that every worker accepts signatures."""
        if self.redis is None or self.server.secret_key:
            return
        if self._signing_key is None:
            # In a thread, since redis-py takes a while to import.
            await self.internal_pool.run(importlib.import_module, "flash.signing_key")
            from flash.signing_key import RedisSigningKey

            self._signing_key = RedisSigningKey(self.redis, self.share_signing_secret)
        await self._signing_key.start()

    async def warm_up(self) -> None:
        """Import what the user's functions and their results may need; idempotent.

        This takes longer than the rest of the start. The page and files do not wait for it; every
        other request does. It begins half a second after the start if no request needs it before.
        """
        if self.is_warm:
            return
        async with self._warming:
            if not self.is_warm:
                await self.internal_pool.run(_import_for_callbacks)
                self.is_warm = True

    def _begin_warm_up(self) -> None:
        if not self.is_warm and self._loop is not None:
            self._warm_up_task = self._loop.create_task(self.warm_up())

    @property
    def shows_errors(self) -> bool:
        """Whether pages may see the texts of exceptions: with Dash's error page or Quart's."""
        return self._shows_errors or self.server.debug or self.server.testing

    def show_errors(self) -> None:
        """Let pages see the texts of exceptions from now on."""
        self._shows_errors = True

    def hook_registry(self) -> Hooks:
        """Return the registry from which Dash reads hooks, without those that Flash calls."""
        return self.hooks

    def document_parts(self) -> Document:
        """Return the object that makes the tags of the page's HTML."""
        return self.document

    @property
    def house(self) -> WorkerPool:
        """The old name of `internal_pool`."""
        return _renamed("Flash.house", "Flash.internal_pool", self.internal_pool)

    @property
    def foreign(self) -> WorkerPool:
        """The old name of `dash_pool`."""
        return _renamed("Flash.foreign", "Flash.dash_pool", self.dash_pool)

    @asynccontextmanager
    async def lifespan(self, _host: object = None) -> AsyncGenerator[None]:
        """Start the app and everything that starts with it, and end it all.

        For a host that has a lifespan: ``FastAPI(lifespan=app.lifespan)``. Without it, the first
        request starts the app, and the end of the event loop or of the process ends it.
        """
        async with Gateway.of(self.server).startup.lifespan():
            yield

    async def stop(self) -> None:
        """End background jobs and idle threads; the app can be started again.

        Plain functions that run are not stopped.
        """
        self._is_serving = False
        for begun in (self._warm_up_timer, self._warm_up_task):
            if begun is not None:
                begun.cancel()
        if self.loop_watch is not None:
            self.loop_watch.stop()
            self.loop_watch = None
        await self.background_jobs.close()
        if self._signing_key is not None:
            await self._signing_key.close()
        self.pool.close()
        self.page_pool.close()
        self.internal_pool.close()
        self.dash_pool.close()
        await self.views.files.close()

    # -- serving ---------------------------------------------------------------------------------

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        await self.server(scope, receive, send)

    def _direct(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one ASGI connection."""
        server = self.server
        # What the server would do, without a call.
        serve = server.asgi_app if type(server) is FlashServer else server
        return serve(scope, receive, send)

    def _wsgi(self, environ: Any, start_response: Any) -> Any:
        """Serve one WSGI request."""
        return WSGIBridge.of(self.server)(environ, start_response)

    __call__ = ServerCall(_asgi, _wsgi, _direct)  # type: ignore[assignment]

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Serve the app for development; takes the arguments of `dash.Dash.run` and `flash run`.

        While a command such as ``flash run`` imports the module, it does nothing but log.
        """
        if ignores_run():
            return
        # Dash logs "Dash is running on" too early. Flash's server logs its address once it listens.
        with dash_seam.without_banner(self.logger):
            super().run(*args, **kwargs)

    def serve(self, host: str, port: int, *, debug: bool, **options: Any) -> None:
        """Serve until stopped; see `flash.serving.options.options_from_run` for ``options``."""
        if options.pop("load_dotenv", True) is not False and get_load_dotenv():
            # As Flask's `run`: from `.env` and `.flaskenv`, where python-dotenv is installed.
            from flask.cli import load_dotenv

            load_dotenv()
        from flash.serving import serve
        from flash.serving.options import options_from_run

        paths = [*options.pop("extra_files", ()), *self.config.extra_hot_reload_paths]
        options.setdefault("shown_path", self.config.requests_pathname_prefix)
        serve(
            self,
            options_from_run(host, port, debug, extra_files=paths, **options),
            until=partial(dash_seam.connect_test_runner, self.backend),
        )

    async def serve_index(self, *_args: Any, **_kwargs: Any) -> quart.Response:
        """Return the HTML of the page."""
        guard = PageGuard.asked()
        if guard is not None:
            guard.is_passed = True
            return quart.Response("")
        dash_seam.enter_app(self)
        return await encoded(self, await self.views.index())

    async def serve_layout(self) -> quart.Response:
        """Return the result of `render_layout` as JSON."""
        dash_seam.enter_app(self)
        return await encoded(self, await self.views.layout())

    async def render_layout(self) -> Any:
        """Return the layout to send: called or awaited, extras added, hooks and filters run."""
        layout = self.raw_layout
        if callable(layout):
            await self.warm_up()
            layout = await self.page_pool.call(layout)
        layout = self.with_extras(layout)
        for hook in self.hooks.of("layout"):
            layout = await self.page_pool.call(hook.func, layout)
        return self.filter_layout(layout)

    async def render_pages(self) -> list[Any]:
        """Return the layouts of `dash.register_page`, without variables of a path.

        One that fails without them is left out.
        """
        return await self._pages.layouts() if self.use_pages else []

    def filter_layout(self, layout: Any) -> Any:
        """Return a layout, or a part of one, after the layout filters of the add-on packages."""
        for layout_filter in self.layout_filters:
            layout = layout_filter(layout)
        return layout

    def layout_value(self) -> Any:
        """Return the layout for code of Dash that cannot await; hooks are not applied.

        An async layout is awaited on the app's loop, so this must be called from a thread.
        """
        if self._validation.awaited is not None:
            return self._validation.awaited
        if is_async(self.raw_layout):
            return self.with_extras(self.wait_for(self.raw_layout()))
        return super().layout_value()

    def attempt_layout(self, layout: Callable[[], Any]) -> Any:
        """Call a function that makes a layout for Dash.

        While layouts are validated, an empty component takes the place of a layout that fails.
        """
        return self._validation.attempt(layout)

    def get_layout(self) -> Any:
        """Return the result of `render_layout`; call it from a thread only."""
        return self.wait_for(self.render_layout())

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the app's loop and return its result; call it from a thread.

        Without a running loop (before the app is served, or in a forked process such as a Diskcache
        job) it runs on a loop of its own. Raises `RuntimeError` on a running loop, which it would
        block.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            coroutine.close()
            raise RuntimeError("wait_for() would block the event loop; await the coroutine instead")
        in_fork = self._process != os.getpid()
        if self._loop is None or in_fork or not self._loop.is_running():
            return asyncio.run(coroutine)  # type: ignore[arg-type]
        return wait_in_thread(coroutine, self._loop)

    async def dependencies(self) -> quart.Response:  # type: ignore[override]
        """Return the list of callbacks with their dependencies as JSON."""
        return await encoded(self, await self.views.dependencies())

    async def serve_component_suite(
        self, package_name: str, fingerprinted_path: str
    ) -> quart.Response:
        """Return a file of a component library, or 404."""
        return file_response(
            await self.views.component_suite(
                package_name, fingerprinted_path, quart.request.method, raw_headers()
            )
        )

    async def serve_asset(self, filename: str) -> quart.Response:
        """Return a file of the assets folder, or 404."""
        return file_response(await self.views.asset(filename, quart.request.method, raw_headers()))

    def view_for(self, name: str, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view for one of Dash's own routes."""
        return self.serve_favicon if name == "_favicon.ico" else view

    async def serve_favicon(self) -> quart.Response:
        """Return Dash's icon, for an app that has no icon of its own."""
        return file_response(await self.views.favicon(quart.request.method, raw_headers()))

    async def serve_reload_hash(self) -> quart.Response:  # type: ignore[override]
        """Return the files that changed since the last request, for hot reload."""
        return await asyncio.to_thread(super().serve_reload_hash)

    def statistics(self) -> PoolStatistics:
        """Return the current state of the thread pool for callbacks."""
        return self.pool.statistics()


def _renamed(old: str, new: str, value: T) -> T:
    warnings.warn(
        f"{old} is now {new}; the old name goes with the next release", DeprecationWarning, 3
    )
    return value


def callback(
    *args: Dependencies,
    output: Dependencies | None = None,
    inputs: Dependencies | None = None,
    state: Dependencies | None = None,
    prevent_initial_call: bool | Literal["initial_duplicate"] | None = None,
    background: bool = False,
    interval: int = 1000,
    progress: Output | Sequence[Output] | None = None,
    progress_default: Any = None,
    running: Sequence[tuple[Output, Any, Any]] | None = None,
    cancel: Input | Sequence[Input] | None = None,
    manager: Any | None = None,
    cache_args_to_ignore: Sequence[str | int] | None = None,
    cache_ignore_triggered: bool = True,
    on_error: Callable[[Exception], Any] | None = None,
    api_endpoint: str | None = None,
    optional: bool | None = False,
    hidden: bool | None = None,
    websocket: bool | None = False,
    persistent: bool | None = False,
    mcp_enabled: bool | None = None,
    mcp_expose_docstring: bool | None = None,
    compress_payload: bool = False,
    compress_threshold: int = 5_000,
    run_in: RunIn = "thread",
    supersede: bool = False,
    coalesce: bool = False,
    timeout: float | None = None,
    repeat: bool | None = None,
    **others: Never,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a callback before an app exists; takes all arguments of `dash.callback`, and:

    - ``run_in``: where a plain function runs; "loop" is for functions that return at once.
    - ``supersede``: a newer call from the same page cancels the older one.
    - ``coalesce``: concurrent calls with equal arguments share one execution, whoever makes them.
      The function must not depend on the user (session, cookies), and must not set cookies or
      headers: only the first caller's response would have them.
    - ``timeout``: seconds after which the page gets an error.
    - ``repeat``: whether a page sends a request again that the server did not answer while it was
      away. By default it does, but not if a click caused the request.
    """
    kwargs = {**_given_for_callback(locals()), **others}
    options = registration.take_options(kwargs)
    decorate = dash.callback(*args, **kwargs)
    remove = registration.store_options(
        dash_seam.GLOBAL_CALLBACK_LIST, dash_seam.GLOBAL_CALLBACK_MAP, options
    )
    return registration.checked_decorator(
        decorate, options, remove, reads_source=bool(kwargs.get("background"))
    )


_CALLBACK_DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(callback).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


def _given_for_callback(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of a callback that differ from their defaults."""
    return {
        name: value
        for name, default in _CALLBACK_DEFAULTS.items()
        if (value := arguments[name]) is not default
    }


def _import_for_callbacks() -> None:
    """Import numpy, if it is installed, and Dash's serialiser.

    Within a request, these imports would block the event loop. Plotly imports numpy when it makes
    the first figure, and another thread could then use a numpy that is only half imported.
    """
    load_dash_serializer()
    if importlib.util.find_spec("numpy") is not None:
        try:
            importlib.import_module("numpy")
        except ImportError as error:
            logger.warning("numpy is installed but cannot be imported: %s", error)


# The arguments of `dash.Dash` with their defaults, as `Flash` lists them.
_OWN_ARGUMENTS = frozenset(
    {
        *("self", "name", "server", "backend", "use_async", "max_threads", "max_waiting"),
        *(
            "allowed_hosts",
            "authorize",
            "recheck_interval",
            "redis",
            "sessions",
            "slow_callback_seconds",
            "tracing",
            "version",
        ),
        *("visitor_share", "page_headers"),
        "others",
    }
)
_DASH_DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(Flash.__init__).parameters.items()
    if name not in _OWN_ARGUMENTS
}


def _redis_address(given: str | None) -> Address | None:
    """Return the address of the app's Redis, given or in the environment; None without one."""
    url = os.environ.get(REDIS_VARIABLE) if given is None else given
    if not url:
        return None
    # Here, since most apps have no Redis.
    from flash.redis import require_redis
    from flash.redis.address import Kind, parse_url

    address = parse_url(url)
    if address.kind is Kind.MEMORY:
        return None
    require_redis("an app with redis=", "flash-core[redis]")
    return address


def _name_of(name: str | None, server: object) -> str:
    if name is not None:
        return name
    return getattr(server, "name", None) or dash_seam.get_caller_name()
