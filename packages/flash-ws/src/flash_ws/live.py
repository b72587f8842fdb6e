"""`Live`: the public interface of the live link, with which an app reaches its pages."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import quart
from dash.exceptions import MissingCallbackContextException

from flash import ConfigurationError, ctx
from flash.access.admission import Admission, Authorize
from flash.access.origin import OriginPolicy
from flash.access.revocation import Revocations
from flash.settings import (
    COUNT,
    COUNT_OR_NONE,
    DURATION,
    FLAG,
    SECONDS,
    SECONDS_OR_NONE,
    Choice,
    Function,
    Instance,
    check,
)
from flash.workers import REMEDY, refuse_several
from flash_ws.callbacks.deferred import LiveRegistry, hub_of
from flash_ws.callbacks.event_callbacks import (
    EventCallback,
    EventCallbackRunner,
    Mode,
    make_callback,
    register_on_page,
)
from flash_ws.callbacks.page_events import PageEvents
from flash_ws.callbacks.text_stream import ERROR_TEXT, MAX_CHARS, make_text_stream
from flash_ws.clients import recipients
from flash_ws.clients.backplane import (
    Backplane,
    ClientInfo,
    Disconnect,
    GroupMessage,
    MemoryBackplane,
    broadcast,
)
from flash_ws.clients.context import current_client
from flash_ws.clients.hub import FrameHandler, Hub
from flash_ws.clients.recipients import EVERYBODY, HasChannel, PageRecipients, Recipients
from flash_ws.clients.sending import Sending, SendQueue
from flash_ws.endpoints.registration import Endpoints
from flash_ws.errors import NoCaller
from flash_ws.link.accepting import LinkAcceptor
from flash_ws.link.link import LinkLimits
from flash_ws.operating.monitor import Monitor
from flash_ws.operating.statistics import LiveStatistics
from flash_ws.protocol.frames import ComponentId, Message, Updates, event_message, props_message
from flash_ws.protocol.notices import Kind, notice_message

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    from dash.dependencies import Input, Output, State
    from opentelemetry.metrics import MeterProvider

    from flash import Flash
    from flash.checking.security import Deployment, Risk
    from flash_ws.clients.backplane import Command
    from flash_ws.clients.client import Client, LinkedClient
    from flash_ws.clients.groups import ConnectionGroup
    from flash_ws.clients.handlers import ClientHandler
    from flash_ws.operating.metrics import MetricsAccess
    from flash_ws.operating.statistics import CustomMetrics

H = TypeVar("H", bound=Callable[..., Any])
T = TypeVar("T")

OnNewVersion = Literal["ask", "reload", "ignore"]


class Live:
    """The live link of one app.

    - ``backplane``: carries messages between workers; by default only within this process.
    - ``allowed_origins``: other origins whose pages may connect, such as ``"https://host"``.
    - ``authorize``: called with the `Visitor` before the link of a page, or a connection or
      stream of an endpoint, is opened. May be async; request, session and cookies are available.
      False refuses; a string names the user. An endpoint can have another ``authorize``. Dash's own
      WebSocket (``websocket_callbacks=True``) asks it, too. It decides in place of that of
      ``Flash(authorize=…)``, whose user is in ``visitor.user``.
    - ``recheck_interval``: about how many seconds until ``authorize`` and the app's own guards are
      called again for each open connection; one that they no longer allow is closed. By default
      that of the app.
    - ``resume_window``: seconds within which a disconnected page can resume as the same client.
    - ``token_lifetime``: seconds for which the secret token of a page is accepted by a link; open
      links get a new one in time. A page with an older token is a new page.
    - ``max_message_bytes``: the size of one message from a page, after decompression.
    - ``max_clients``: pages of one worker; when there are so many, one that is disconnected makes
      room for a new one, the one that is away for longest.
    - ``max_clients_each``: pages of one user, or of one address without users; by default half.
    - ``metrics``: exports metrics to Prometheus. True serves them on port 9464 of the loopback
      address (other workers take the next free port), an int on that port. A string is a token
      that requests to ``_flash/metrics`` must send as ``Authorization: Bearer``. A function
      authorises those requests as ``authorize`` does. Needs ``flash-ws[metrics]``.
    - ``otel_metrics``: exports the same metrics by OpenTelemetry (``flash-core[otel]``), with the
      given ``MeterProvider``. True takes that of the process. By default they are exported if the
      process has set one when the app starts; False exports nothing.
    - ``inspect``: authorises requests to ``_flash/inspect`` as ``authorize`` does, after the app's
      guards. The page shows this worker's readiness, pages and metrics. Without ``inspect`` it is
      served only with ``debug=True`` and only to this machine.
    - ``on_new_version``: what a page does that reconnects to a server with another version of the
      app (`Flash.version`): "ask" shows a note with a button, "reload" loads the page again unless
      somebody has typed something on it, "ignore" does nothing.

    Below the app's prefix, ``_flash/health`` responds with 200 while the process runs, and
    ``_flash/ready`` while the worker accepts requests and every check of `readiness` passes.

    The app's ``before_request`` functions also guard the link and the endpoints.
    """

    # Whether the object only checks declarations and never gets an app.
    is_sketch = False

    def __init__(
        self,
        app: Flash | None = None,
        *,
        backplane: Backplane | None = None,
        allowed_origins: Sequence[str] = (),
        authorize: Authorize | None = None,
        recheck_interval: float | None = None,
        resume_window: float = 30.0,
        token_lifetime: float = 86_400.0,
        limits: LinkLimits | None = None,
        max_message_bytes: int = 64 * 1024,
        max_clients: int = 20_000,
        max_clients_each: int | None = None,
        metrics: MetricsAccess = False,
        otel_metrics: MeterProvider | bool | None = None,
        inspect: Authorize | None = None,
        on_new_version: OnNewVersion = "ask",
    ) -> None:
        check(
            authorize=(authorize, Function()),
            recheck_interval=(recheck_interval, SECONDS_OR_NONE),
            resume_window=(resume_window, DURATION),
            token_lifetime=(token_lifetime, SECONDS),
            limits=(limits, Instance(LinkLimits, optional=True)),
            max_message_bytes=(max_message_bytes, COUNT),
            max_clients=(max_clients, COUNT),
            max_clients_each=(max_clients_each, COUNT_OR_NONE),
            inspect=(inspect, Function()),
            on_new_version=(on_new_version, Choice(("ask", "reload", "ignore"))),
        )
        self._on_new_version = on_new_version
        self._backplane = backplane or MemoryBackplane()
        # Whether nobody has chosen the backplane.
        self._is_default_backplane = backplane is None
        self._origins = OriginPolicy(allowed_origins)
        self._check_origins(authorize)
        # Users whose older session cookies are refused; see `revoke`.
        self._revocations = Revocations()
        # The app's own WebSockets and event streams, for dash-extensions' components and others.
        self.endpoints = Endpoints(
            allowed_origins=allowed_origins,
            authorize=authorize,
            recheck_interval=recheck_interval,
            max_message_bytes=max_message_bytes,
        )
        self.endpoints.revocations = self._revocations
        self.websocket = self.endpoints.websocket
        self.sse = self.endpoints.sse
        self._authorize = authorize
        self._recheck_interval = recheck_interval
        self._resume_window = resume_window
        self._token_lifetime = max(token_lifetime, 2 * resume_window)
        self._limits = limits or LinkLimits()
        self._max_message_bytes = max_message_bytes
        self._max_clients = max_clients
        self._max_clients_each = max_clients_each
        self._app: Flash | None = None
        self._acceptor: LinkAcceptor | None = None
        self._page_events = PageEvents()
        self._event_callbacks = EventCallbackRunner()
        # Messages that nobody awaits, and the loop and the process that publish them.
        self._sends = SendQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._connect_handlers: list[ClientHandler] = []
        self._disconnect_handlers: list[ClientHandler] = []
        # From add-on packages: channels that every page follows, and handlers of kinds of frames.
        self._common_channels: list[str] = []
        self._frame_handlers: dict[str, FrameHandler] = {}
        self._forget_handlers: list[Callable[[LinkedClient], Any]] = []
        self._monitor = Monitor(
            *(metrics, otel_metrics, inspect),
            pages=lambda: None if self._hub is None else self._hub.clients,
            statistics=self.statistics,
        )
        # Metrics and readiness checks that add-on packages and the app add.
        self.metrics = self._monitor.metrics
        self.readiness = self._monitor.readiness
        if app is not None:
            self.init_app(app)

    def _check_origins(self, authorize: Authorize | None) -> None:
        if self._origins.allows_any and authorize is not None:
            raise ConfigurationError(
                'allowed_origins="*" lets every page of the web connect, so authorize= would be '
                "asked for requests of other sites: name the origins, or leave out authorize="
            )

    def init_app(self, app: Flash) -> None:
        """Add the link and its routes to ``app``; call once, before the app is served."""
        if self._app is not None:
            raise ConfigurationError("this Live has an app already; make a Live for each app")
        self._check_origins(app.authorize)
        self._app = app
        admission = Admission(
            app,
            self._origins,
            self._authorize,
            wider=(app.authorize,),
            recheck_interval=self.recheck_interval,
            revocations=self._revocations,
        )
        app.security_checks.append(self._security_risks)
        app.user_of_request = admission.user_of_request
        acceptor = self._acceptor = LinkAcceptor(
            app,
            admission,
            lambda: hub_of(app),
            max_message_bytes=self._max_message_bytes,
            max_links=self._max_clients,
            max_links_each=self._max_clients_each,
        )
        app.callback_sockets.require(
            self._authorize, self.recheck_interval, acceptor.places, self._revocations
        )
        app.add_asgi_route("_flash/link", acceptor.websocket)
        app.add_asgi_route("_flash/link/events", acceptor.events)
        app.add_asgi_route("_flash/link/frames", acceptor.frames)
        self._monitor.connect(app, self._origins, self._authorize)
        self._let_pages_connect(app)
        app.page_values.append(self._positions_for_page)
        self.endpoints.init_app(app)
        LiveRegistry.of(app).attach(self)
        # First after the app's own start: functions registered before this Live may push as well.
        # Inserted directly, because the app may be starting.
        starts = app.server.before_serving_funcs
        starts.insert(starts.index(app.start) + 1 if app.start in starts else 0, self._start)
        app.server.after_serving_funcs.append(self._stop)

    def _let_pages_connect(self, app: Flash) -> None:
        """Make the pages of this app connect, unless they come by WSGI, which has no link.

        Every app of a process that imports flash_ws has the script on its pages.
        """
        if app.is_served_by_wsgi:
            app.page_extras.pop("flash_link", None)
        else:
            app.page_extras["flash_link"] = {
                "max_message": self._max_message_bytes,
                "on_new_version": self._on_new_version,
            }

    # -- reaching pages --------------------------------------------------------------------------

    def push(
        self,
        component: ComponentId | Updates,
        props: Mapping[str, Any] | None = None,
        *,
        to: HasChannel = EVERYBODY,
    ) -> Sending[None]:
        """Set properties of components on pages: ``push(id, props)`` or ``push([(id, props), …])``.

        The message is serialised once, and messages to the same recipients arrive in order. It is
        published in any case; ``await live.push(…)`` returns when it is, without waiting for pages,
        and raises if it is not. Without ``await`` an error is logged. In a thread the call itself
        returns when the message is published. A page that is away gets it when it reconnects; a
        page loaded later does not get it.
        """
        updates: Any = [(component, props)] if props is not None else component
        return self._send(to, props_message(updates))

    def send_event(
        self, name: str, data: Any = None, *, to: HasChannel = EVERYBODY
    ) -> Sending[None]:
        """Call the handlers that pages registered with ``flash.on(name, …)``; never conflated.

        The result may be awaited, as that of `push`.
        """
        return self._send(to, event_message(name, data))

    def _send(self, to: HasChannel, message: Message) -> Sending[None]:
        """Publish a message, from the app's event loop, another one, or a thread."""
        return self.begin(hub_of(self.app).push(to.channel, message))

    def push_threadsafe(
        self,
        component: ComponentId | Updates,
        props: Mapping[str, Any] | None = None,
        *,
        to: HasChannel = EVERYBODY,
    ) -> None:
        """Do what `push` does, from a thread."""
        updates: Any = [(component, props)] if props is not None else component
        self.app.wait_for(hub_of(self.app).push(to.channel, props_message(updates)))

    def send_event_threadsafe(
        self, name: str, data: Any = None, *, to: HasChannel = EVERYBODY
    ) -> None:
        """Do what `send_event` does, from a thread."""
        self.app.wait_for(hub_of(self.app).push(to.channel, event_message(name, data)))

    def notify(
        self,
        text: str,
        *,
        kind: Kind = "info",
        seconds: float | None = 6.0,
        to: HasChannel | None = None,
    ) -> Sending[None]:
        """Show a short text on top of what pages show: on the page of the call, or on ``to``.

        The text is shown as it is, never as HTML; it has at most 1,000 characters. ``kind`` is
        "info", "success", "warning" or "error", which a screen reader reads at once. It disappears
        after ``seconds``, of which those do not count in which the pointer or the keyboard is on
        it, or the page is hidden; None keeps it until somebody closes it. A page shows 5 at a time;
        the newest replaces the oldest.

        It works from callbacks, event callbacks, handlers and threads. The result may be awaited,
        as that of `push`. Raises `NoCaller` where no page has made the call and ``to`` is missing.
        """
        message = notice_message(text, kind=kind, seconds=seconds)
        return self._send(self.client if to is None else to, message)

    everybody = EVERYBODY

    def group(self, name: str) -> Recipients:
        """Return the pages that joined the group ``name``, on any worker, for ``to=``.

        Pages join with ``client.join(name)``. For the WebSockets of endpoints see `connections`.
        """
        return recipients.group(name)

    def room(self, name: str) -> Recipients:
        """Return the pages that are in the room ``name``, on any worker, for ``to=``.

        Pages enter with a ``Room`` of flash-pubsub in their layout; without it no page is in one.
        """
        return recipients.room(name)

    def connections(self, group: str) -> ConnectionGroup:
        """Return the endpoint WebSockets of this worker that joined ``group``.

        For ``await live.connections(group).send(message)``, which also reaches the connections of
        other workers if the workers share a Redis. Connections join with
        ``connection.join(group)``. These are not the groups of pages; for those see `group`.
        """
        return self.endpoints.connections(group)

    @property
    def client(self) -> Client | PageRecipients:
        """The page that called the running handler, event callback or callback.

        In an ordinary callback it is a `PageRecipients` if the page is connected to another worker.
        Raises `NoCaller` outside of a call from a page.
        """
        client = current_client.get()
        if client is not None:
            return client
        try:
            token = ctx.args.get("endId") if ctx.args else None
        except MissingCallbackContextException:
            token = None
        if not token:
            raise NoCaller
        hub = hub_of(self.app)
        page_id = hub.identities.present_id_of(token)
        return hub.clients.get(page_id) or recipients.page(page_id)

    # -- hearing from pages ----------------------------------------------------------------------

    def on_connect(self, handler: H) -> H:
        """Call ``handler(client)``, async or plain, when a page connects for the first time."""
        self._connect_handlers.append(handler)
        return handler

    def on_disconnect(self, handler: H) -> H:
        """Call ``handler(client)`` when a page has been away for longer than ``resume_window``."""
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

        It yields ``{"id.property": value}`` or ``"id", {"property": value}`` any number of times;
        `flash.set_props` works as well. They are sent over the live link, so even an endless
        generator holds no HTTP request. It is not called when the page loads. A slow page
        slows its own generator, and a page that is away pauses it. When the page is removed, the
        generator is closed.

        - ``inputs``: dependencies by argument name, in place of positional ones.
        - ``cancel``: Inputs that cancel the running calls when they change, or ``(Input, value)``
          to cancel them when the Input changes to anything other than ``value``.
        - ``reset_props``: set when a call ends, for any reason; the page sets them itself if it
          loses the server.
        - ``on_error``: called with the exception of the generator; may return what
          it may yield.
        - ``mode``: at a new trigger "replace" cancels the running call, "parallel" keeps it.
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
            self._add_event_callback(callback)
            return function

        return register

    def text_stream(
        self,
        output: Output,
        *dependencies: Input | State,
        inputs: Mapping[str, Input | State] | None = None,
        running: Sequence[tuple[Output, Any, Any]] = (),
        cancel: Sequence[Input | tuple[Input, Any]] = (),
        on_error: Callable[[Exception], Any] | None = None,
        error: str = ERROR_TEXT,
        max_chars: int = MAX_CHARS,
    ) -> Callable[[H], H]:
        """Run an async generator when an Input changes; the str it yields grow a text of that page.

        For answers of language models, logs and the like, for example into the ``children`` of a
        ``dcc.Markdown``. It is an event callback whose pieces are appended to ``output``. Those
        that come within a thirtieth of a second, or longer for a long text, are sent together. A
        new trigger cancels the running call and begins an empty text. A page that was away gets
        the whole text.

        - ``inputs``, ``cancel`` and ``on_error``: as of `event_callback`.
        - ``running``: ``(Output, value while it runs, value afterwards)``, as of `Flash.callback`.
        - ``error``: appended to the text if the generator raises; "" appends nothing.
        - ``max_chars``: the characters of one text. With more it is cut and fails with
          `TextTooLong`.
        """

        def register(function: H) -> H:
            stream = make_text_stream(
                function, output, running=running, error=error, max_chars=max_chars
            )
            callback = make_callback(
                stream.adapt(function),
                inputs if inputs is not None else dependencies,
                cancel=cancel,
                reset_props=stream.ended,
                on_error=on_error,
                mode="replace",
            )
            self._add_event_callback(callback)
            return function

        return register

    def _add_event_callback(self, callback: EventCallback) -> None:
        if self.is_sketch:
            return
        app = self.app
        callback = self._event_callbacks.add(callback)
        try:
            register_on_page(app, callback)
        except BaseException:
            # Dash has refused a dependency.
            self._event_callbacks.remove(callback)
            raise

    def on_event(self, name: str, *, accepts_components: bool = False) -> Callable[[H], H]:
        """Call the function with the data of each ``flash.send(name, data)``, in order per page.

        Data that holds a component, a `Patch` or another marker of Dash is dropped, since a handler
        that pushes it would show it on other pages; ``accepts_components`` accepts it.
        """
        check(accepts_components=(accepts_components, FLAG))
        return self._page_events.on(name, accepts_components=accepts_components)

    # -- who is there ----------------------------------------------------------------------------

    async def clients(self) -> list[ClientInfo]:
        """Return the clients that are connected to any worker."""
        return await self._backplane.clients()

    def disconnect(self, *, user: str | None = None, client: str | None = None) -> Sending[None]:
        """Disconnect everything of a user, or one page by its id, on any worker.

        The pages show "offline" and do not reconnect until they are reloaded. Of a user, endpoint
        connections and streams are closed as well. ``authorize`` decides whether the user may
        connect again. The result may be awaited, as that of `push`.
        """
        if (user is None) == (client is None):
            raise ConfigurationError("disconnect() needs either user= or client=, not both or none")
        return self.begin(broadcast(self._backplane, Disconnect(client=client, user=user)))

    def revoke(self, *, user: str) -> Sending[None]:
        """Disconnect everything of a user, and refuse the user's older cookies from now on.

        For logouts where the session is kept in a cookie, Quart's or Quart-Auth's, which stays
        valid after it. ``authorize`` that names this user is then a no for requests whose cookie
        was signed up to this second, and for those whose cookie does not tell. It holds on every
        worker, and with a `PubSub` on Redis also for workers that start later. HTTP requests are
        refused where a ``before_request`` function asks `is_revoked`. The result may be awaited, as
        that of `push`.

        At most 10,000 users are kept. Beyond them the oldest is dropped, and cookies of all users
        must be younger than that one's revocation.
        """
        at = time.time()
        self._revocations.add(user, at)
        return self.begin(broadcast(self._backplane, Disconnect(user=user, revoked_at=at)))

    def is_revoked(self, user: str) -> bool:
        """Return whether the current request's cookie is refused because of `revoke`.

        For ``before_request`` functions; call it in a request. If so, the session is cleared, so
        that the response does not sign it again.
        """
        if not self._revocations.refuses(user, self.app.server):
            return False
        quart.session.clear()
        return True

    def statistics(self) -> LiveStatistics:
        """Return the state of this worker and its counters since the start."""
        hub = hub_of(self.app)
        counters = hub.counters
        clients = list(hub.clients.values())
        links = [client.link.outbox.statistics() for client in clients if client.link]
        return LiveStatistics(
            connected=len(links),
            away=len(clients) - len(links),
            opened=counters.opened,
            refused=self._acceptor.refused if self._acceptor is not None else 0,
            closed=dict(counters.closed),
            recovered=counters.recovered,
            lost=counters.lost,
            frames_waiting=sum(each.frames_waiting for each in links),
            bytes_waiting=sum(each.bytes_waiting for each in links),
            frames_sent=counters.sent + sum(each.sent for each in links),
            frames_replayed=counters.replayed,
            frames_conflated=counters.conflated + sum(each.conflated for each in links),
            frames_dropped=counters.dropped,
            calls=self._event_callbacks.running,
            lag=self._monitor.lag,
            endpoints=self.endpoints.statistics(),
            metrics=self.metrics.read(),
        )

    @property
    def figures(self) -> CustomMetrics:
        """The old name of `metrics`."""
        text = "Live.figures is now Live.metrics; the old name goes with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.metrics

    def _positions_for_page(self) -> dict[str, Any]:
        """Return the version of a page that is made now, and the positions with which it starts."""
        values: dict[str, Any] = {"version": self.app.version}
        position = self._hub.position_of_everybody() if self._hub is not None else None
        if position is not None and position.epoch:
            values["at"] = {EVERYBODY.channel: (position.epoch, position.number)}
        return values

    def _security_risks(self, deployment: Deployment) -> Iterator[Risk]:
        """Return what `flash check` says about this `Live`."""
        from flash_ws.operating.security_checks import link_risks

        yield from link_risks(
            deployment,
            origins=self._origins,
            authorize=self._authorize or self.app.authorize,
            recheck_interval=self.recheck_interval,
            spans_workers=self._backplane.spans_workers,
        )
        yield from self._monitor.risks()

    @property
    def recheck_interval(self) -> float | None:
        """About how many seconds until permissions are asked for again; None for never."""
        if self._recheck_interval is None and self._app is not None:
            return self._app.recheck_interval
        return self._recheck_interval

    # -- for add-on packages, before the app is served -------------------------------------------

    def attach(self, backplane: Backplane) -> None:
        """Replace the default backplane; raises `ConfigurationError` if replaced or in use."""
        if self._hub is not None or not isinstance(self._backplane, MemoryBackplane):
            raise ConfigurationError(
                "this Live has a backplane already or is being served; make one PubSub(app) before "
                "the app is served"
            )
        self._backplane = backplane
        self._is_default_backplane = False

    def follow_everywhere(self, channel: str) -> None:
        """Make every page follow ``channel``."""
        self._common_channels.append(channel)

    def on_frame(self, kind: str, handler: FrameHandler) -> None:
        """Call ``handler(client, frame)`` for each frame of this kind from a page."""
        self._frame_handlers[kind] = handler

    def on_forget(self, handler: Callable[[LinkedClient], Any]) -> None:
        """Call ``handler(client)`` when a page is gone or continues on another worker."""
        self._forget_handlers.append(handler)

    async def sample(self) -> bytes:
        """Return how this worker is, as `flash top --redis` reads it.

        Some hundred bytes of JSON, without names and texts of the app and its visitors.
        """
        return await self._monitor.sample()

    def begin(self, work: Coroutine[Any, Any, T]) -> Sending[T]:
        """Do work on the app's event loop whether or not somebody awaits the result.

        It begins in the order of the calls. In a thread it is done when this returns.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return Sending(None, result=self.app.wait_for(work))
        if loop is self._loop and os.getpid() == self._process:
            return self._sends.add(work)
        if self._loop is None or os.getpid() != self._process:
            return Sending(work)
        begun = asyncio.run_coroutine_threadsafe(work, self._loop)
        return Sending(_wait_for(asyncio.wrap_future(begun)))

    # -- serving ---------------------------------------------------------------------------------

    @property
    def app(self) -> Flash:
        """The app; raises `ConfigurationError` before `init_app`."""
        if self._app is None:
            raise ConfigurationError("this Live has no app; use Live(app) or live.init_app(app)")
        return self._app

    @property
    def _hub(self) -> Hub | None:
        """The hub of this worker, while the app is served."""
        return None if self._app is None else LiveRegistry.of(self._app).hub

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Return the hub under its old name, which no editor offers, with a warning."""
            if name != "hub":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            text = (
                "Live.hub is internal, and add-ons call flash_ws.callbacks.deferred.hub_of(app); "
                "the old name goes with the next release"
            )
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            return hub_of(self.app)

    @property
    def lacks_backplane(self) -> bool:
        """Whether the link stays within this process and nobody has decided that it should."""
        return self._is_default_backplane

    async def _start(self) -> None:
        self._let_pages_connect(self.app)
        if self._is_default_backplane and not self.app.is_served_by_wsgi:
            refuse_several(_WHAT_IS_PER_PROCESS, _remedy(self.app))
        backplane: Any = self._backplane
        if hasattr(backplane, "on_foreign_position"):
            backplane.on_foreign_position = partial(
                self.app.warn_of_other_process, "the HTML of a page"
            )
        self.endpoints.spread_over(self._backplane)
        self._loop, self._process = asyncio.get_running_loop(), os.getpid()
        hub = LiveRegistry.of(self.app).hub = Hub(
            self.app,
            self._backplane,
            limits=self._limits,
            resume_window=self._resume_window,
            token_lifetime=self._token_lifetime,
            max_clients=self._max_clients,
        )
        hub.on_command.append(self._on_command)
        hub.on_connect = self._connect_handlers
        hub.on_forget = [
            self._page_events.forget,
            self._event_callbacks.forget,
            *self._forget_handlers,
        ]
        hub.on_disconnect = self._disconnect_handlers
        hub.common.extend(self._common_channels)
        hub.handlers.update(self._frame_handlers)
        hub.handlers["event"] = self._page_events.receive
        hub.on_drain.append(self._page_events.drain)
        self._page_events.start(self.app.pool)
        self._event_callbacks.start(self.app, hub)
        await hub.start()
        await self._monitor.start()

    async def _stop(self) -> None:
        await self._monitor.stop()
        self._sends.close()
        if self._hub is not None:
            await self._hub.close()
            LiveRegistry.of(self.app).hub = None

    def _on_command(self, command: Command) -> None:
        if isinstance(command, GroupMessage):
            self.endpoints.deliver(command)
        if isinstance(command, Disconnect) and command.user is not None:
            if command.revoked_at is not None:
                self._revocations.add(command.user, command.revoked_at)
            self.endpoints.disconnect(command.user)
            self.app.callback_sockets.disconnect(command.user)


async def _wait_for(future: asyncio.Future[T]) -> T:
    return await future


# What a live link cannot do for the pages of other workers without a backplane.
_WHAT_IS_PER_PROCESS = "a live link in memory (pushes, events, groups, clients, live loaders)"


def _remedy(app: Flash) -> str:
    if app.redis is None:
        return f"{REMEDY} (and install flash-core[pubsub])"
    return 'pip install "flash-core[pubsub]", which connects workers by the Redis of the app'
