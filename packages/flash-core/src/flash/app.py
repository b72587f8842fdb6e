"""`Flash`: a Dash app on Quart in which nothing blocks the event loop."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import warnings
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import dash
import quart

from flash import background
from flash.callbacks import registration
from flash.callbacks.dispatch import Dispatcher
from flash.callbacks.execution import PoolStatistics, WorkerPool, is_async
from flash.callbacks.hook_registry import Hooks
from flash.callbacks.response import NOT_COMPILED, EncodedResponse, text_response, to_quart_response
from flash.errors import BadRequest, ConfigurationError
from flash.http.backend import QuartBackend
from flash.http.compression import compress, expand
from flash.http.gateway import Gateway, parse_json
from flash.pages.document import Document
from flash.pages.pages import Pages
from flash.pages.views import Views
from flash.seams import dash as dash_seam
from flash.seams import quart as quart_seam

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from flash.callbacks.context import CallContext
    from flash.callbacks.plan import CallbackPlan, RunIn
    from flash.http.gateway import ASGIApp
    from flash.static import StaticResponse

T = TypeVar("T")

# Threads for Flash's own work, so that a page opens however busy the callbacks' threads are.
_INTERNAL_THREADS = 4


class Flash(dash_seam.DashApp):
    """A `dash.Dash` app served by Quart; every argument of `dash.Dash` works.

    - ``server``: a `quart.Quart` to mount on (several apps may share one, each with its own
      ``url_base_pathname``), True to make one, False to be given one by `init_app` later.
    - ``max_threads``: plain functions that run at the same time; more wait.
    - ``max_waiting``: how many may wait; one more is answered 503 with ``Retry-After``.

    The app is an ASGI application, and so is ``app.server``.
    """

    def __init__(
        self,
        name: str | None = None,
        server: quart.Quart | bool | None = True,
        *,
        backend: Any = None,
        use_async: bool | None = None,
        max_threads: int = 40,
        max_waiting: int = 1000,
        **dash_arguments: Any,
    ) -> None:
        # Every Flash app is async; Dash's switch would only ask for a package that Flask needs.
        del use_async
        self.pool = WorkerPool(max_threads=max_threads, max_waiting=max_waiting)
        self.internal_pool = WorkerPool(max_threads=_INTERNAL_THREADS)
        # For Dash's own code that waits for callbacks: in their threads it could hold the last one.
        self.dash_pool = WorkerPool(max_threads=max_threads, max_waiting=max_waiting)
        self.hooks = Hooks(self.pool)
        self.document = Document(self)
        self.page_extras = {}
        # Called with each layout on its way to a page, also with layouts of `dash.register_page`;
        # each returns what to send instead and must not change its argument. For add-on packages.
        self.layout_filters: list[Callable[[Any], Any]] = []
        # The address of a Redis that all workers of the deployment reach, where an add-on package
        # has one: others keep there what they would keep in each process. Set before it starts.
        self.common_store: str | None = None
        self.dispatcher = Dispatcher(self, self.pool, self.internal_pool, self.hooks)
        self.views = Views(self)
        # Whether what is made per request is compressed; files always are.
        self.compresses = False
        self._pages = Pages(self)
        self._starting = asyncio.Lock()
        self._started = False
        self._loop: asyncio.AbstractEventLoop | None = None
        # The process that `_loop` runs in.
        self._process = 0
        # The layout awaited at start-up, for Dash's validation, which cannot await.
        self._validated_layout: Any = None
        super().__init__(
            _name_of(name, server),
            server=server is not False,
            backend=_backend_for(server, backend),
            **dash_arguments,
        )

    # -- set-up ----------------------------------------------------------------------------------

    def init_app(self, app: quart.Quart | None = None, **kwargs: Any) -> None:
        """Mount on ``app`` (or on the server made by the constructor); idempotent per server."""
        if not isinstance(app, quart.Quart | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                f"init_app({app!r}): Flash serves from a quart.Quart; give it one, or none"
            )
        server = app or self.server
        self.backend: QuartBackend
        self.backend.app = self
        if getattr(self, "_mounted_on", None) is server:
            return
        self._mounted_on = server
        super().init_app(app, **kwargs)
        Gateway.of(server).mount(self)
        server.before_serving(self.start)
        server.after_serving(self.stop)

    def add_asgi_route(self, rule: str, application: ASGIApp) -> None:
        """Serve an ASGI application at ``rule`` below the app's prefix, HTTP and WebSocket alike.

        ``rule`` may have variables (``"room/<name>"``), found in ``scope["path_params"]``. The
        application is called before Quart: guards do not run by themselves, see
        `flash.http.handshake.Handshake`.
        """
        prefix: str = self.config.routes_pathname_prefix
        Gateway.of(self.server).add_application(prefix + rule.lstrip("/"), application)

    def callback(self, *_args: Any, **_kwargs: Any) -> Callable[..., Any]:
        """Register a callback; `dash.Dash.callback`'s arguments and those of `flash.callback`."""
        options = registration.take_options(_kwargs)
        decorate = super().callback(*_args, **_kwargs)
        registration.store_options(self.callback_list, self.callback_map, options)
        # Later than at start-up, Dash's own handlers could meet it before Flash has compiled it.
        then = self.dispatcher.compile if self._started else None
        return registration.checked_decorator(decorate, options, then)

    @property
    def layout(self) -> Any:
        """The components, or the function that makes them; it may be ``async def``."""
        return self.raw_layout

    @layout.setter
    def layout(self, value: Any) -> None:
        if is_async(value):
            # Validated at start-up, where it can be awaited.
            self.raw_layout = value
        else:
            dash.Dash.layout.fset(self, value)  # type: ignore[attr-defined]

    @property
    def has_started(self) -> bool:
        """Whether `start` has run."""
        return self._started

    async def start(self) -> None:
        """Do once what needs the loop: async setup hooks, pages, validation, compiling; idempotent.

        The server calls it before serving; without a server's lifespan, the first request does.
        """
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        async with self._starting:
            if self._started:
                return
            dash_seam.app_context.set(self)
            await self.hooks.setup(self)
            if self.use_pages:
                self._pages.register()
            if is_async(self.raw_layout):
                self._validated_layout = self.with_extras(await self._layout_without_visitor())
            visit = await quart_seam.first_visit(self.server, self.config.routes_pathname_prefix)
            try:
                # Dash does this within the first request, and layouts may look at it.
                with visit.active():
                    await self._validate()
            finally:
                self._validated_layout = None
            await self.internal_pool.run(_import_numpy)
            # Resolved now, since it may be kept in the background manager's store.
            await self.internal_pool.run(self.signing_secret)
            self.dispatcher.compile()
            await self.internal_pool.run(self.document.scripts)
            await self.internal_pool.run(self.document.css)
            self._started = True

    async def _validate(self) -> None:
        await self.internal_pool.run(self.run_first_request_setup)
        if self.config.suppress_callback_exceptions:
            return
        if self.use_pages:
            self.validation_layout = await self._pages.validation_layout()
        elif self._validated_layout is not None and not self.validation_layout:
            self.validation_layout = self._validated_layout

    async def _layout_without_visitor(self) -> Any:
        """Return what an async layout gives where there is no request.

        Dash calls a plain one so when it is assigned, and some then give every component that any
        page will ever have. One that must have a request gets that of a made-up visitor.
        """
        try:
            return await self.raw_layout()
        except RuntimeError:
            visit = await quart_seam.first_visit(self.server, self.config.routes_pathname_prefix)
            with visit.active():
                return await self.raw_layout()

    def hook_registry(self) -> Hooks:
        """Return the registry that Dash reads hooks from, which leaves out what Flash awaits."""
        return self.hooks

    def document_parts(self) -> Document:
        """Return what makes the tags of the page's HTML."""
        return self.document

    async def respond_in_background(
        self,
        plan: CallbackPlan,
        ctx: CallContext,
        args: list[Any],
        kwargs: dict[str, Any],
        handle_error: Callable[[Exception], Awaitable[Any]] | None,
    ) -> Any:
        """Start a background job or report on it: a `PendingJob`, or what the callback returned."""
        call = background.BackgroundCall(plan, ctx, args, kwargs, self.signing_secret)
        return await background.respond(call, self.pool, handle_error)

    @property
    def house(self) -> WorkerPool:
        """The old name of `internal_pool`."""
        return _renamed("Flash.house", "Flash.internal_pool", self.internal_pool)

    @property
    def foreign(self) -> WorkerPool:
        """The old name of `dash_pool`."""
        return _renamed("Flash.foreign", "Flash.dash_pool", self.dash_pool)

    async def stop(self) -> None:
        """End background jobs and let go of threads; the app can be started again.

        Plain functions that run end by themselves.
        """
        for manager in self.background_managers():
            await background.adapt(manager, self.pool).close()
        self.pool.close()
        self.internal_pool.close()
        self.dash_pool.close()
        await self.views.files.close()

    # -- serving ---------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        await self.server(scope, receive, send)

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Serve the app for development; `dash.Dash.run`'s arguments, and those of `flash run`."""
        # Dash says that it runs before anything listens; the server says so when it is true.
        with dash_seam.without_banner(self.logger):
            super().run(*args, **kwargs)

    def serve(self, host: str, port: int, *, debug: bool, **options: Any) -> None:
        """Serve until told to stop; ``options`` as of `flash.serving.options.options_from_run`."""
        from flash.serving import serve
        from flash.serving.options import options_from_run

        paths = [*options.pop("extra_files", ()), *self.config.extra_hot_reload_paths]
        options.setdefault("shown_path", self.config.requests_pathname_prefix)
        serve(
            self,
            options_from_run(host, port, debug, extra_files=paths, **options),
            until=partial(dash_seam.let_runners_stop, self.backend),
        )

    async def serve_callback_request(self, dashs_view: Callable[[], Any]) -> Any:
        """Answer a callback request that came through Quart (the gateway answers the others)."""
        request = quart.request
        dash_seam.app_context.set(self)
        body: bytes = await request.get_data(as_text=False)  # type: ignore[assignment]
        try:
            coding = request.headers.get("Content-Encoding")
            if coding is not None:
                body = await self.internal_pool.run(
                    expand, body, coding, request.max_content_length
                )
            value = parse_json(request.headers.get("Content-Type", "").encode("latin-1"), body)
        except BadRequest as error:
            return to_quart_response(text_response(error.status, str(error)))
        answer = await self.dispatcher.respond(value)
        if answer is NOT_COMPILED:
            return await self._leave_to_dash(dashs_view, value)
        return await self._respond(answer)

    async def _leave_to_dash(self, dashs_view: Callable[[], Any], body: Any) -> Any:
        """Let Dash answer a kind of request that Flash does not know.

        What Dash cannot make sense of ends in one of a few exceptions of no meaning to the sender.
        """
        try:
            return await dashs_view()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(body.get("output"), str):
                # A callback's own exception.
                raise
            self.logger.debug("a request that Dash does not understand either", exc_info=error)
            reason = "the body is no callback request: it names no 'output'"
            return to_quart_response(text_response(HTTPStatus.BAD_REQUEST, reason))

    async def _respond(self, answer: EncodedResponse) -> quart.Response:
        if self.compresses:
            accepted = quart.request.headers.get("Accept-Encoding")
            answer = await compress(answer, accepted, self.internal_pool)
        return to_quart_response(answer)

    async def serve_index(self, *_args: Any, **_kwargs: Any) -> quart.Response:
        """Answer with the page."""
        dash_seam.app_context.set(self)
        return await self._respond(await self.views.index())

    async def serve_layout(self) -> quart.Response:
        """Answer with the layout, as `render_layout` makes it."""
        dash_seam.app_context.set(self)
        return await self._respond(await self.views.layout())

    async def render_layout(self) -> Any:
        """Return the layout as the page gets it: called or awaited, extras added, hooks run."""
        layout = self.raw_layout
        if callable(layout):
            layout = await self.pool.call(layout)
        layout = self.with_extras(layout)
        for hook in self.hooks.of("layout"):
            layout = await self.pool.call(hook.func, layout)
        return self.filter_layout(layout)

    def filter_layout(self, layout: Any) -> Any:
        """Return a layout, or a part of one, as the add-on packages let it go to a page."""
        for each in self.layout_filters:
            layout = each(layout)
        return layout

    def layout_value(self) -> Any:
        """Return the layout for Dash's own code, which cannot await; hooks are not applied.

        An async layout is awaited on the app's loop, so this must be called from a thread.
        """
        if self._validated_layout is not None:
            return self._validated_layout
        if is_async(self.raw_layout):
            return self.with_extras(self.wait_for(self.raw_layout()))
        return super().layout_value()

    def get_layout(self) -> Any:
        """Return what `render_layout` returns, from a thread; on the loop, await that instead."""
        return self.wait_for(self.render_layout())

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the app's loop and wait for it, from a thread.

        Before the app is served there is no loop, nor in a fork of its process (a Diskcache job):
        one is made for the purpose. Raises `RuntimeError` when called on a running loop, which it
        would block.
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
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def dependencies(self) -> quart.Response:  # type: ignore[override]
        """Answer with the callbacks' dependencies."""
        return await self._respond(await self.views.dependencies())

    async def serve_component_suite(
        self, package_name: str, fingerprinted_path: str
    ) -> quart.Response:
        """Answer with a file of a component library."""
        return _file_response(
            await self.views.component_suite(
                package_name, fingerprinted_path, quart.request.method, _raw_headers()
            )
        )

    async def serve_asset(self, filename: str) -> quart.Response:
        """Answer with a file of the assets folder."""
        return _file_response(
            await self.views.asset(filename, quart.request.method, _raw_headers())
        )

    def view_for(self, name: str, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view for one of Dash's own routes."""
        return self.serve_favicon if name == "_favicon.ico" else view

    async def serve_favicon(self) -> quart.Response:
        """Answer with Dash's icon, for an app that has none of its own."""
        return _file_response(await self.views.favicon(quart.request.method, _raw_headers()))

    async def serve_reload_hash(self) -> quart.Response:  # type: ignore[override]
        """Answer with what changed since the last time a page asked."""
        return await asyncio.to_thread(super().serve_reload_hash)

    def statistics(self) -> PoolStatistics:
        """Return what the thread pool of this app does at this moment."""
        return self.pool.statistics()


def _renamed(old: str, new: str, value: T) -> T:
    warnings.warn(
        f"{old} is now {new}; the old name goes with the next release", DeprecationWarning, 3
    )
    return value


def callback(
    *args: Any,
    run_in: RunIn = "thread",
    supersede: bool = False,
    coalesce: bool = False,
    timeout: float | None = None,
    **kwargs: Any,
) -> Callable[..., Any]:
    """Register a callback without an app at hand; everything `dash.callback` takes, and more.

    - ``run_in``: where a plain function runs; "loop" is for functions known to be trivial.
    - ``supersede``: a newer call from the same page cancels the older one.
    - ``coalesce``: equal calls in flight share one execution, whoever makes them; the function
      must not depend on who asks (session, cookies), nor set cookies or headers: only the first
      caller's response would carry them.
    - ``timeout``: seconds after which the page gets an error.
    """
    options = registration.take_options(
        {
            **kwargs,
            "run_in": run_in,
            "supersede": supersede,
            "coalesce": coalesce,
            "timeout": timeout,
        }
    )
    decorate = dash.callback(*args, **kwargs)
    registration.store_options(
        dash_seam.GLOBAL_CALLBACK_LIST, dash_seam.GLOBAL_CALLBACK_MAP, options
    )
    return registration.checked_decorator(decorate, options)


def _import_numpy() -> None:
    """Import numpy if it is there: Plotly would within a request, in one of many threads."""
    if importlib.util.find_spec("numpy") is not None:
        importlib.import_module("numpy")


def _name_of(name: str | None, server: object) -> str:
    if name is not None:
        return name
    return getattr(server, "name", None) or dash_seam.get_caller_name()


def _backend_for(server: object, backend: object) -> type[QuartBackend]:
    """Return the backend class to hand to Dash; one that "makes" ``server`` if that is given."""
    if backend not in (None, "quart") and not (
        isinstance(backend, type) and issubclass(backend, QuartBackend)
    ):
        raise ConfigurationError(f"backend={backend!r}: Flash runs on Quart; leave backend out")
    base = backend if isinstance(backend, type) else QuartBackend
    if server in (None, True, False):
        return base
    if not isinstance(server, quart.Quart):
        raise ConfigurationError(
            f"server={server!r}: Flash serves from a quart.Quart; make it one, or leave server out"
        )

    def create_app(name: str = "", config: object = None) -> quart.Quart:
        del name, config
        return server

    mounted: Any = type("MountedBackend", (base,), {"create_app": staticmethod(create_app)})
    return mounted


def _raw_headers() -> list[tuple[bytes, bytes]]:
    scope: Any = quart.request.scope
    return scope["headers"]


def _file_response(response: StaticResponse | None) -> quart.Response:
    if response is None:
        return quart.Response("no such file", status=404, content_type="text/plain")
    answer = quart.Response(response.body, status=response.status)
    answer.headers.clear()
    for name, value in response.headers:
        answer.headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return answer
