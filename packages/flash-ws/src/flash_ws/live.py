"""`Live`: what an app uses to reach its pages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

from flash import BadRequest, ConfigurationError, ctx
from flash.gateway import Disconnected, read_body
from flash.handshake import Handshake
from flash_ws import audience
from flash_ws.admission import Admission, Authorize, refuse
from flash_ws.audience import EVERYBODY, Audience, HasChannel
from flash_ws.backplane import Backplane, ClientInfo, Disconnect, MemoryBackplane
from flash_ws.codes import CloseCode
from flash_ws.context import current_client
from flash_ws.endpoints import BODY_TIMEOUT, Endpoints
from flash_ws.errors import NoCaller, NotServing, Refused
from flash_ws.events import Events
from flash_ws.frames import ComponentId, Updates, event_message, props_message
from flash_ws.hub import FrameHandler, Hub
from flash_ws.link import LinkLimits
from flash_ws.origin import OriginPolicy
from flash_ws.registry import Registry
from flash_ws.streams import Mode, Streams, make_callback, register_on_page
from flash_ws.transports import EventStreamTransport, WebSocketTransport
from flash_ws.visit import Visit, draining_event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dash.dependencies import Input, State

    from flash import Flash
    from flash.gateway import Receive, Scope, Send
    from flash_ws.backplane import Order
    from flash_ws.client import Client
    from flash_ws.groups import ConnectionGroup

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class LiveStatistics:
    """A moment of one worker's links."""

    # Pages connected, and pages expected back.
    connected: int
    away: int
    # Of all connections open now: frames and bytes waiting, frames sent, frames replaced by later
    # ones before they were sent.
    frames_waiting: int
    bytes_waiting: int
    frames_sent: int
    frames_conflated: int


class Live:
    """The live link of one app.

    - ``backplane``: what stands behind push and events; this process alone by default.
    - ``allowed_origins``: pages of other origins that may connect, as ``"https://host"``.
    - ``authorize``: asked with the `Visit` before a page, or an endpoint's connection or stream,
      is opened; may be async, with request, session and cookies at hand. False refuses; a string
      names the user. An endpoint may have another.
    - ``recheck_interval``: seconds, about, after which ``authorize`` and the app's own guards are
      asked again of what is still open; what they no longer allow is closed.
    - ``resume_window``: seconds for which a page that broke off stays the same client.
    - ``max_message_bytes``: of one message from a page, after inflating.

    An app's ``before_request`` functions guard the link and the endpoints, too.
    """

    def __init__(
        self,
        app: Flash | None = None,
        *,
        backplane: Backplane | None = None,
        allowed_origins: Sequence[str] = (),
        authorize: Authorize | None = None,
        recheck_interval: float | None = None,
        resume_window: float = 30.0,
        limits: LinkLimits | None = None,
        max_message_bytes: int = 64 * 1024,
        max_clients: int = 20_000,
    ) -> None:
        self._backplane = backplane or MemoryBackplane()
        self._origins = OriginPolicy(allowed_origins)
        # WebSockets and event streams of the app's own, for dash-extensions' components and others.
        self.endpoints = Endpoints(
            allowed_origins=allowed_origins,
            authorize=authorize,
            recheck_interval=recheck_interval,
            max_message_bytes=max_message_bytes,
        )
        self.websocket = self.endpoints.websocket
        self.sse = self.endpoints.sse
        self._authorize = authorize
        self._recheck_interval = recheck_interval
        self._resume_window = resume_window
        self._limits = limits or LinkLimits()
        self._max_message_bytes = max_message_bytes
        self._max_clients = max_clients
        self._app: Flash | None = None
        self._admission: Admission | None = None
        # Links open at this moment, those that have not said hello included.
        self._open = 0
        self._hub: Hub | None = None
        self._events = Events()
        self._calls = Streams()
        self._connect_handlers: list[Callable[[Client], Any]] = []
        self._disconnect_handlers: list[Callable[[Client], Any]] = []
        # What add-on packages bring: channels that every page follows, kinds of frames.
        self._common: list[str] = []
        self._frame_handlers: dict[str, FrameHandler] = {}
        self._forget_handlers: list[Callable[[Client], Any]] = []
        # Event streams by connection id, for the posts that belong to them.
        self._streams: dict[str, EventStreamTransport] = {}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flash) -> None:
        """Serve the link of ``app``; call once, before the app is served."""
        if self._app is not None:
            raise ConfigurationError(
                "this Live has an app already; make another Live for another app"
            )
        self._app = app
        self._admission = Admission(
            app, self._origins, self._authorize, recheck_interval=self._recheck_interval
        )
        app.add_asgi_route("_flash/link", self._serve_websocket)
        app.add_asgi_route("_flash/link/events", self._serve_events)
        app.add_asgi_route("_flash/link/frames", self._serve_frames)
        # The script is on the pages of every app of a process that imports flash_ws; this one's
        # pages are to connect.
        app.page_extras["flash_link"] = {"max_message": self._max_message_bytes}
        self.endpoints.init_app(app)
        Registry.of(app).attach(self)
        app.server.before_serving(self._start)
        app.server.after_serving(self._stop)

    # -- reaching pages --------------------------------------------------------------------------

    async def push(
        self,
        component: ComponentId | Updates,
        props: Mapping[str, Any] | None = None,
        *,
        to: HasChannel = EVERYBODY,
    ) -> None:
        """Set properties of components on pages: ``push(id, props)`` or ``push([(id, props), …])``.

        Serialised once. Returns when the message is on its way, in order with every other to the
        same audience. A page that is away gets it when it comes back; one loaded later does not.
        """
        updates: Any = [(component, props)] if props is not None else component
        await self.hub.publish(to.channel, props_message(updates))

    async def send_event(self, name: str, data: Any = None, *, to: HasChannel = EVERYBODY) -> None:
        """Call the handlers that pages registered with ``flash.on(name, …)``; never conflated."""
        await self.hub.publish(to.channel, event_message(name, data))

    def push_threadsafe(
        self,
        component: ComponentId | Updates,
        props: Mapping[str, Any] | None = None,
        *,
        to: HasChannel = EVERYBODY,
    ) -> None:
        """Do what `push` does, from a thread."""
        self.app.wait_for(self.push(component, props, to=to))

    def send_event_threadsafe(
        self, name: str, data: Any = None, *, to: HasChannel = EVERYBODY
    ) -> None:
        """Do what `send_event` does, from a thread."""
        self.app.wait_for(self.send_event(name, data, to=to))

    everybody = EVERYBODY

    def group(self, name: str) -> Audience:
        """Return the audience of the pages that joined ``name``, on any worker.

        For ``to=`` of `push` and `send_event`. Pages join with ``client.join(name)``; for the
        WebSockets of endpoints see `connections`.
        """
        return audience.group(name)

    def connections(self, group: str) -> ConnectionGroup:
        """Return the endpoints' WebSockets of this worker that joined ``group``.

        For ``await live.connections(group).send(message)``. Connections join with
        ``connection.join(group)``; groups of pages, which have a link, are another kind: `group`.
        """
        return self.endpoints.connections(group)

    @property
    def client(self) -> Client | Audience:
        """The page that the running handler, event callback or callback was called by.

        In an ordinary callback it is an `Audience`: the page may be connected to another worker.
        Raises `NoCaller` where no page is calling.
        """
        client = current_client.get()
        if client is not None:
            return client
        token = ctx.args.get("endId") if ctx.args else None
        if not token:
            raise NoCaller
        page_id = self.hub.name_of(token)
        return self.hub.clients.get(page_id) or audience.page(page_id)

    # -- hearing from pages ----------------------------------------------------------------------

    def on_connect(self, handler: H) -> H:
        """Call ``handler(client)`` when a page connects for the first time; async or plain."""
        self._connect_handlers.append(handler)
        return handler

    def on_disconnect(self, handler: H) -> H:
        """Call ``handler(client)`` when a page has gone and not come back within the window."""
        self._disconnect_handlers.append(handler)
        return handler

    def event_callback(
        self,
        *dependencies: Input | State,
        inputs: Mapping[str, Input | State] | None = None,
        cancel: Sequence[Input | tuple[Input, Any]] = (),
        reset_props: Sequence[tuple[ComponentId, Mapping[str, Any]]] = (),
        on_error: Callable[[Exception], Any] | None = None,
        mode: Mode = "replace",
    ) -> Callable[[H], H]:
        """Run an async generator when an Input changes; what it yields is set on that page.

        It yields `stream_props`, any number of times, over the live link: an endless one holds no
        request. Not called when the page loads. A page that is slow or away slows or stops its own
        generator; when it is gone for good the generator is closed.

        - ``inputs``: dependencies by argument name, in place of positional ones.
        - ``cancel``: an Input that ends the running calls when it changes, or ``(Input, value)``:
          when it changes to anything but ``value``.
        - ``reset_props``: set when a call ends, however it ends; by the page itself if the server
          is lost.
        - ``on_error``: called with what the generator raised; may return `stream_props`.
        - ``mode``: a new trigger replaces the running call, or runs in parallel.
        """

        def register(function: H) -> H:
            chosen = inputs if inputs is not None else dependencies
            callback = make_callback(
                function,
                chosen,
                cancel=cancel,
                reset_props=reset_props,
                on_error=on_error,
                mode=mode,
            )
            self._calls.add(callback)
            register_on_page(self.app, callback)
            return function

        return register

    def on_event(self, name: str) -> Callable[[H], H]:
        """Call the function with the data of each ``flash.send(name, data)``, in order per page."""
        return self._events.on(name)

    # -- who is there ----------------------------------------------------------------------------

    async def clients(self) -> list[ClientInfo]:
        """Return who is connected, on any worker."""
        return await self._backplane.clients()

    async def disconnect(self, *, user: str | None = None, client: str | None = None) -> None:
        """Disconnect for good: all that a user has open, or one page by its id; on any worker.

        A page shows "offline" until it is loaded again. Endpoints' connections and streams are
        closed, too. Whether the user may come back is for ``authorize`` to say.
        """
        if (user is None) == (client is None):
            raise ConfigurationError("disconnect() takes either user= or client=")
        await self._backplane.order(Disconnect(client=client, user=user))

    def statistics(self) -> LiveStatistics:
        """Return what this worker's links do at this moment."""
        clients = list(self.hub.clients.values())
        waiting = [client.link.outbox.statistics() for client in clients if client.link]
        return LiveStatistics(
            connected=len(waiting),
            away=len(clients) - len(waiting),
            frames_waiting=sum(each.frames_waiting for each in waiting),
            bytes_waiting=sum(each.bytes_waiting for each in waiting),
            frames_sent=sum(each.sent for each in waiting),
            frames_conflated=sum(each.conflated for each in waiting),
        )

    # -- for add-on packages, before the app is served -------------------------------------------

    def attach(self, backplane: Backplane) -> None:
        """Put another backplane behind this; raises `ConfigurationError` if it comes too late."""
        if self._hub is not None or not isinstance(self._backplane, MemoryBackplane):
            raise ConfigurationError(
                "this Live has a backplane already, or is being served: make PubSub(app) before "
                "that, and one only"
            )
        self._backplane = backplane

    def follow_everywhere(self, channel: str) -> None:
        """Have every page follow ``channel``."""
        self._common.append(channel)

    def on_frame(self, kind: str, handler: FrameHandler) -> None:
        """Give the frames of a kind that pages send to ``handler(client, frame)``."""
        self._frame_handlers[kind] = handler

    def on_forget(self, handler: Callable[[Client], Any]) -> None:
        """Call ``handler(client)`` when a page has gone, or goes on with another worker."""
        self._forget_handlers.append(handler)

    # -- serving ---------------------------------------------------------------------------------

    @property
    def app(self) -> Flash:
        """The app; raises `ConfigurationError` before `init_app`."""
        if self._app is None:
            raise ConfigurationError("this Live has no app yet: Live(app), or live.init_app(app)")
        return self._app

    @property
    def hub(self) -> Hub:
        """The pages of this worker; raises `NotServing` before the app is served."""
        if self._hub is None:
            raise NotServing
        return self._hub

    async def _start(self) -> None:
        hub = self._hub = Hub(
            self.app,
            self._backplane,
            limits=self._limits,
            resume_window=self._resume_window,
            max_clients=self._max_clients,
        )
        hub.on_order.append(self._obey)
        hub.on_connect = self._connect_handlers
        hub.on_forget = [self._events.forget, self._calls.forget, *self._forget_handlers]
        hub.on_disconnect = self._disconnect_handlers
        hub.common.extend(self._common)
        hub.handlers.update(self._frame_handlers)
        hub.handlers["event"] = self._events.receive
        self._events.pool = self.app.pool
        self._calls.start(self.app, hub)
        await hub.start()

    async def _stop(self) -> None:
        if self._hub is not None:
            await self._hub.close()
            self._hub = None

    def _obey(self, order: Order) -> None:
        if isinstance(order, Disconnect) and order.user is not None:
            self.endpoints.disconnect(order.user)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] != "websocket":
                upgrade = (b"upgrade", b"websocket")
                raise Refused(HTTPStatus.UPGRADE_REQUIRED, "this path speaks WebSocket", upgrade)
            if (await receive())["type"] != "websocket.connect":
                return
            visit = await self._admitted(scope)
        except Refused as refused:
            await refuse(scope, receive, send, refused)
            return
        await send({"type": "websocket.accept"})
        transport = WebSocketTransport(receive, send, max_message_bytes=self._max_message_bytes)
        await self._serve(transport, scope, visit)

    async def _serve_events(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _expect_http(scope, receive, "GET")
            visit = await self._admitted(scope)
            hello = parse_qs(scope["query_string"].decode("latin-1")).get("hello", [""])[0]
            if len(hello) > self._max_message_bytes:
                raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "the hello is too long")
        except Refused as refused:
            await refuse(scope, receive, send, refused)
            return
        transport = EventStreamTransport(receive, send, hello)
        self._streams[transport.id] = transport
        try:
            await transport.open()
            await self._serve(transport, scope, visit)
        finally:
            del self._streams[transport.id]

    async def _serve_frames(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a message that belongs to an event stream."""
        try:
            await _expect_http(scope, receive, "POST")
            await self._take_frames(scope, receive)
        except Refused as refused:
            await refuse(scope, receive, send, refused)
        except Disconnected:
            pass
        else:
            status = int(HTTPStatus.NO_CONTENT)
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def _take_frames(self, scope: Scope, receive: Receive) -> None:
        self.admission.check_origin(scope)
        connection = parse_qs(scope["query_string"].decode("latin-1")).get("connection", [""])[0]
        transport = self._streams.get(connection)
        if transport is None:
            raise Refused(HTTPStatus.GONE, "this connection has ended; open another")
        try:
            body = await read_body(
                receive, dict(scope["headers"]), self._max_message_bytes, BODY_TIMEOUT
            )
            accepted = transport.post(body.decode())
        except BadRequest as error:
            raise Refused(error.status, error.reason) from error
        except UnicodeDecodeError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "the message is not UTF-8") from error
        if not accepted:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, CloseCode.TOO_FAST.meaning)

    @property
    def admission(self) -> Admission:
        """Who gets in; raises `ConfigurationError` before `init_app`."""
        if self._admission is None:
            raise ConfigurationError("this Live has no app yet: Live(app), or live.init_app(app)")
        return self._admission

    async def _admitted(self, scope: Scope) -> Visit:
        """Return who comes; raises `Refused`."""
        self.admission.check_origin(scope)
        draining = draining_event(scope)
        for reason, applies in (
            (CloseCode.DRAINING, draining is not None and draining.is_set()),
            (CloseCode.FULL, self._open >= self._max_clients),
        ):
            if applies:
                raise Refused(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    reason.meaning,
                    (b"retry-after", b"1"),
                    close_code=reason.number,
                )
        visit = Visit(scope)
        await self.admission.check_guards(scope)
        await self.admission.enter(scope, visit)
        return visit

    async def _serve(
        self,
        transport: WebSocketTransport | EventStreamTransport,
        scope: Scope,
        visit: Visit,
    ) -> None:
        hub = self.hub
        hub.watch(draining_event(scope))
        serving = asyncio.current_task()
        assert serving is not None
        expired: list[asyncio.Task[None]] = []

        async def expire() -> None:
            # Closed from here, since the page may not answer: the link is cut off in any case.
            with contextlib.suppress(OSError, RuntimeError):
                await transport.close(CloseCode.EXPIRED, CloseCode.EXPIRED.meaning)
            serving.cancel()

        recheck = self.admission.recheck(
            scope, visit, lambda: expired.append(asyncio.ensure_future(expire()))
        )
        self._open += 1
        try:
            await hub.serve(transport, Handshake(self.app, scope), visit.user)
        except asyncio.CancelledError:
            if not expired or serving.uncancel():
                raise
        finally:
            self._open -= 1
            if recheck is not None:
                recheck.stop()
            for task in expired:
                task.cancel()


async def _expect_http(scope: Scope, receive: Receive, method: str) -> None:
    if scope["type"] != "http":
        await receive()  # websocket.connect
        raise Refused(HTTPStatus.BAD_REQUEST, "this path speaks HTTP")
    if scope["method"] != method:
        allow = (b"allow", method.encode())
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {method}", allow)
