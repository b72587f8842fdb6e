"""The backend that Dash is given: its Quart backend, with Flash's routes in place of Dash's."""

from __future__ import annotations

import inspect
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import quart
from dash.backends import get_backend
from werkzeug.exceptions import HTTPException

from flash import _dash, _quart
from flash.answer import plain, to_response
from flash.context import CallbackResponse
from flash.errorpage import render_error
from flash.errors import Overloaded
from flash.execution import is_async
from flash.socket_calls import taking_calls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from flash.app import Flash

_DashQuart: Any = get_backend("quart")


class QuartBackend(_DashQuart):
    """Dash's Quart backend, except for what would block the loop or collide with a second app.

    ``app`` is set by `Flash` before Dash registers any route.
    """

    app: Flash
    server: Any

    def __init__(self, server: quart.Quart) -> None:
        super().__init__(server)
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

    def setup_component_suites(self, dash_app: Flash) -> None:
        """Serve the component libraries' files from memory."""
        dash_app.add_url(
            "_dash-component-suites/<string:package_name>/<path:fingerprinted_path>",
            dash_app.serve_component_suite,
        )

    def before_request(self, func: Callable[[], Any]) -> None:
        """Run ``func`` before each request; Dash's own set-up runs at start-up instead."""
        if not _dash.is_first_request_setup(func):
            super().before_request(func)

    def setup_index(self, dash_app: Flash) -> None:
        """Serve the page."""
        dash_app.add_url("", dash_app.serve_index)

    def setup_catchall(self, dash_app: Flash) -> None:
        """Serve the page at every path below the app's own that has no other route."""
        dash_app.add_url("<path:path>", dash_app.serve_index)

    def serve_callback(self, dash_app: Flash) -> Callable[..., Awaitable[Any]]:
        """Return the view for callbacks; what Flash does not know, Dash's own view answers."""
        dashs_view = super().serve_callback(dash_app)

        async def dispatch() -> Any:
            return await dash_app.serve_callback_request(dashs_view)

        # The name that CSRF extensions are told to exempt, as with Dash's own backends.
        dispatch.__qualname__ = "dispatch"
        dispatch.__module__ = "dash.dash"
        return dispatch

    def serve_websocket_callback(self, dash_app: Flash) -> None:
        """Serve Dash's own WebSocket, under an endpoint of this app's own."""
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
        """Add a route; a view that Dash wrapped in a plain function may be async within."""
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
            _dash.app_context.set(app)
            return await view(*args, **kwargs)

        return awaited

    def _mcp_view(self, view: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        app = self.app

        async def handle() -> Any:
            _dash.app_context.set(app)
            # Read here, it is at hand when Dash's view asks for it; what remains is plain code that
            # renders the layout and calls callbacks one by one.
            if not isinstance(await quart.request.get_json(), dict):
                return to_response(plain(HTTPStatus.BAD_REQUEST, "the body must be a JSON object"))
            return await app.foreign.run(lambda: _quart.drive(view()))

        return handle

    def register_error_handlers(self) -> None:
        """Answer what Dash's code and layouts may raise, besides callbacks."""
        super().register_error_handlers()

        @self.server.errorhandler(Overloaded)
        async def overloaded(error: Overloaded) -> quart.Response:
            return to_response(
                plain(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=error.retry_after)
            )

    def register_callback_api_routes(
        self, callback_api_paths: dict[str, Callable[..., Any]]
    ) -> None:
        """Serve callbacks that were given an ``api_endpoint``: JSON object in, JSON out."""
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
                return f"the arguments do not fit: {error}\n", 400
            return quart.jsonify(await self.app.pool.call(handler, **(arguments or {})))

        return view

    def enable_compression(self) -> None:
        """Compress what is made per request, too; files always are."""
        self.app.compresses = True

    def register_prune_error_handler(self, secret: str, prune_errors: bool) -> None:
        """Answer an exception with a page that shows its traceback, user code only if pruned."""
        del secret

        @self.server.errorhandler(Exception)
        async def show(error: Exception) -> Any:
            if isinstance(error, HTTPException):
                return error
            self.server.logger.error("Exception in a callback or view", exc_info=error)
            page = await self.app.house.run(render_error, error, pruned=prune_errors)
            return quart.Response(page, status=500, content_type="text/html; charset=utf-8")

    def run(self, dash_app: Flash, host: str, port: int, debug: bool, **options: Any) -> None:
        """Serve the app until it is told to stop: `app.run`."""
        dash_app.serve(host, port, debug=debug, **options)


class _SocketRoutes:
    """A server as Dash's socket set-up sees it: each socket under an endpoint named by its path."""

    def __init__(self, server: quart.Quart, app: Flash) -> None:
        self._server = server
        self._app = app

    def websocket(self, rule: str) -> Callable[..., Any]:
        register = self._server.websocket(rule, endpoint=f"dash_websocket_{rule}")

        def decorate(handler: Callable[[], Awaitable[None]]) -> Callable[..., Any]:
            async def handle() -> None:
                _dash.app_context.set(self._app)
                async with taking_calls(self._app):
                    await handler()

            return register(handle)

        return decorate
