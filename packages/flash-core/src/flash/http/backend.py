"""The backend that Flash gives to Dash: Dash's Quart backend with Flash's own routes."""

from __future__ import annotations

import inspect
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import quart
from dash.backends import get_backend
from werkzeug.exceptions import HTTPException

from flash.callbacks.context import CallbackResponse, arguments_of
from flash.callbacks.functions import is_async
from flash.callbacks.response import text_response, to_quart_response
from flash.errors import ConfigurationError, Overloaded
from flash.http.routed import CalledApp, callback_response
from flash.http.socket_calls import ADMITTED, SocketApp, intercept_calls
from flash.pages.error_page import render_error
from flash.seams import dash as dash_seam
from flash.seams import quart as quart_seam
from flash.seams.flask_globals import flask_side
from flash.seams.flask_server import FlashServer, server_for
from flash.static.codings import load_encoders

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from flash.callbacks.execution import WorkerPool

_DashQuart: Any = get_backend("quart")


# Bytes of a request's body that an app accepts unless it sets another limit. Each visitor can make
# the server hold and parse that much.
MAX_BODY_BYTES = 4 << 20


class BackendApp(SocketApp, CalledApp, Protocol):
    """What the backend needs of the app it serves."""

    pool: WorkerPool
    dash_pool: WorkerPool

    @property
    def mcp_path(self) -> str:
        """The URL path of Dash's MCP server, whether or not it is enabled."""
        ...

    def add_url(
        self, name: str, view: Callable[..., Awaitable[Any]], methods: Sequence[str] = ("GET",)
    ) -> None:
        """Register a view below the URL prefix of the app."""
        ...

    def serve(self, host: str, port: int, *, debug: bool, **options: Any) -> None:
        """Serve until the server is stopped."""
        ...

    def show_errors(self) -> None:
        """Let pages see the texts of exceptions from now on."""
        ...

    async def serve_index(self, *args: Any, **kwargs: Any) -> quart.Response:
        """Return the HTML of the page."""
        ...

    async def serve_component_suite(
        self, package_name: str, fingerprinted_path: str
    ) -> quart.Response:
        """Return a file of a component library."""
        ...

    async def serve_asset(self, filename: str) -> quart.Response:
        """Return a file of the assets folder."""
        ...


class _RequestAdapter(dash_seam.request_adapter()):
    """A request as Dash's code sees it."""

    @property
    def args(self) -> Any:
        """The arguments in the URL and in the header of `flash.js`."""
        return arguments_of(self.request)


class QuartBackend(_DashQuart):
    """Dash's Quart backend without the code that blocks the loop or allows only one app per server.

    `Flash` sets ``app`` before Dash registers any route.
    """

    app: BackendApp
    server: Any

    @staticmethod
    def create_app(name: str = "__main__", config: dict[str, Any] | None = None) -> FlashServer:
        """Return a new server."""
        server = FlashServer(name)
        server.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
        # Made now: it looks at the disk.
        flask_side(server)
        server.config.update(config or {})
        return server

    def __init__(self, server: quart.Quart) -> None:
        super().__init__(server)
        self.request_adapter = _RequestAdapter
        self.response_adapter = CallbackResponse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        await self.server(scope, receive, send)

    def register_assets_blueprint(
        self, blueprint_name: str, assets_url_path: str, assets_folder: str
    ) -> None:
        """Serve the assets folder from memory."""
        del assets_folder
        self.server.add_url_rule(
            f"{assets_url_path.rstrip('/')}/<path:filename>",
            endpoint=blueprint_name,
            view_func=self.app.serve_asset,
        )

    def setup_component_suites(self, dash_app: BackendApp) -> None:
        """Serve the component libraries' files from memory."""
        dash_app.add_url(
            "_dash-component-suites/<string:package_name>/<path:fingerprinted_path>",
            dash_app.serve_component_suite,
        )

    def before_request(self, func: Callable[[], Any]) -> None:
        """Run ``func`` before each request; Dash's own set-up runs at start-up instead."""
        if not dash_seam.is_first_request_setup(func):
            super().before_request(func)

    def setup_index(self, dash_app: BackendApp) -> None:
        """Serve the page."""
        dash_app.add_url("", dash_app.serve_index)

    def setup_catchall(self, dash_app: BackendApp) -> None:
        """Serve the page at every path below the URL prefix that has no other route."""
        dash_app.add_url("<path:path>", dash_app.serve_index)

    def serve_callback(self, dash_app: BackendApp) -> Callable[..., Awaitable[Any]]:
        """Return the view for callbacks; Dash's own view serves what Flash does not compile."""
        dash_view = super().serve_callback(dash_app)

        async def dispatch() -> Any:
            return await callback_response(dash_app, dash_view)

        # Apps exempt this name from CSRF checks; Dash's own backends have the same.
        dispatch.__qualname__ = "dispatch"
        dispatch.__module__ = "dash.dash"
        return dispatch

    def serve_websocket_callback(self, dash_app: BackendApp) -> None:
        """Serve Dash's own WebSocket, under an endpoint name that is unique to this app."""
        server = self.server
        self.server = _SocketRoutes(server, self.app)
        try:
            super().serve_websocket_callback(dash_app)
        finally:
            self.server = server

    def add_url_rule(
        self,
        rule: str,
        view_func: Callable[..., Any],
        endpoint: str | None = None,
        methods: list[str] | None = None,
    ) -> None:
        """Add a route; handles async views that Dash wrapped in a plain function."""
        if rule == self.app.mcp_path and methods == ["POST"]:
            view_func = self._mcp_view(view_func)
        inner = inspect.unwrap(view_func)
        if inner is not view_func and is_async(inner) and not is_async(view_func):
            view_func = self._awaiting(inner)
        super().add_url_rule(rule, view_func, endpoint, methods)

    def _awaiting(self, view: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        app = self.app

        @wraps(view)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            dash_seam.enter_app(app)
            return await view(*args, **kwargs)

        return awaited

    def _mcp_view(self, view: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        app = self.app

        async def handle() -> Any:
            dash_seam.enter_app(app)
            # Quart keeps the body once it is read, so that Dash's view does not wait for it in the
            # thread. The rest of the view is plain code, which renders layouts and runs callbacks.
            if not isinstance(await quart.request.get_json(), dict):
                return to_quart_response(
                    text_response(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
                )
            return await app.dash_pool.run(lambda: quart_seam.run_without_loop(view()))

        return handle

    def register_error_handlers(self) -> None:
        """Register handlers for errors of Dash's code and of layouts."""
        super().register_error_handlers()

        @self.server.errorhandler(Overloaded)
        async def overloaded(error: Overloaded) -> quart.Response:
            return to_quart_response(
                text_response(
                    HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=error.retry_after
                )
            )

    def register_callback_api_routes(
        self, callback_api_paths: dict[str, Callable[..., Any]]
    ) -> None:
        """Serve callbacks that have an ``api_endpoint``: JSON object in, JSON out."""
        for path, handler in callback_api_paths.items():
            route = path if path.startswith("/") else f"/{path}"
            self.server.add_url_rule(
                route,
                endpoint=f"dash_callback_api_{route}",
                view_func=self._api_view(handler),
                methods=["POST"],
            )

    def _api_view(self, handler: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def view(**variables: Any) -> Any:
            del variables
            arguments = await quart.request.get_json(silent=True)
            if arguments is not None and not isinstance(arguments, dict):
                return "the body must be a JSON object of arguments\n", 400
            try:
                inspect.signature(handler).bind(**(arguments or {}))
            except TypeError as error:
                return f"the arguments do not match the callback: {error}\n", 400
            return quart.jsonify(await self.app.pool.call(handler, **(arguments or {})))

        return view

    def enable_compression(self) -> None:
        """Compress responses that are made per request; files are always compressed."""
        load_encoders()
        self.app.compresses = True

    def register_prune_error_handler(self, secret: str, prune_errors: bool) -> None:
        """Show a page with the traceback of an exception, of user code only if ``prune_errors``."""
        del secret
        self.app.show_errors()

        @self.server.errorhandler(Exception)
        async def show(error: Exception) -> Any:
            if isinstance(error, HTTPException):
                return error
            self.server.logger.error("Exception in a callback or view", exc_info=error)
            page = await self.app.internal_pool.run(render_error, error, pruned=prune_errors)
            return quart.Response(page, status=500, content_type="text/html; charset=utf-8")

    def run(self, dash_app: BackendApp, host: str, port: int, debug: bool, **options: Any) -> None:
        """Serve the app until the server is stopped; the implementation of `app.run`."""
        dash_app.serve(host, port, debug=debug, **options)


class _SocketRoutes:
    """Wraps a server for Dash's socket set-up, so that each path gets its own endpoint name."""

    def __init__(self, server: quart.Quart, app: BackendApp) -> None:
        self._server = server
        self._app = app

    def websocket(self, rule: str) -> Callable[..., Any]:
        register = self._server.websocket(rule, endpoint=f"dash_websocket_{rule}")

        def decorate(handler: Callable[[], Awaitable[None]]) -> Callable[..., Any]:
            async def handle() -> None:
                dash_seam.enter_app(self._app)
                websocket: Any = quart.websocket
                socket = websocket.scope.get(ADMITTED)
                if socket is None:
                    raise RuntimeError(
                        f"{rule} was opened past the checks of flash.access.callback_socket"
                    )
                async with intercept_calls(self._app, socket):
                    await handler()

            return register(handle)

        return decorate


def backend_for(server: object, backend: object) -> type[QuartBackend]:
    """Return the backend class for Dash; its ``create_app`` returns ``server`` if that is given."""
    if backend not in (None, "quart") and not (
        isinstance(backend, type) and issubclass(backend, QuartBackend)
    ):
        raise ConfigurationError(
            f"backend={backend!r}: Flash supports Quart only; leave out backend="
        )
    base = backend if isinstance(backend, type) else QuartBackend
    if server in (None, True, False):
        return base
    serving = server_for(server)
    if serving is None:
        raise ConfigurationError(
            f"server={server!r}: must be a quart.Quart, a flask.Flask, True or False; leave it out "
            "to make one"
        )

    def create_app(name: str = "", config: object = None) -> quart.Quart:
        del name, config
        return serving

    mounted: Any = type("MountedBackend", (base,), {"create_app": staticmethod(create_app)})
    return mounted
