"""`PubSub`, with which an app shares state and channels among all its pages and workers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from flash import ConfigurationError
from flash.callbacks.functions import short_name_of
from flash.settings import AMOUNT, COUNT, DURATION, FLAG, SECONDS, SECONDS_OR_NONE, Function, check
from flash_pubsub.broker.address import ENVIRONMENT
from flash_pubsub.broker.backplane import BrokerBackplane
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.listeners import Listeners
from flash_pubsub.broker.memory import MemoryBroker
from flash_pubsub.broker.open import check_workers, open_broker
from flash_pubsub.broker.readiness import BrokerReadiness
from flash_pubsub.broker.seam import Watchable
from flash_pubsub.broker.spans import publish_in_span
from flash_pubsub.channels.declaration import (
    EVERY_WORKER,
    ChannelCallback,
    ChannelPattern,
    ChannelSettings,
    Declarations,
    check_name,
    check_takes,
)
from flash_pubsub.channels.delivery import ChannelDeliveries
from flash_pubsub.channels.history import DEFAULT_LIMIT, BrokerReader, History, read_history
from flash_pubsub.channels.outputs import Outputs
from flash_pubsub.channels.retention import RetentionRules, published_retention, retention_of
from flash_pubsub.channels.schema import Schema
from flash_pubsub.channels.subscribers import Subscribers
from flash_pubsub.channels.subscription import sign
from flash_pubsub.feeder import Feeders, make_feeder
from flash_pubsub.presence import Handler, Presence
from flash_pubsub.present_list import PRESENT, PresentLists
from flash_pubsub.registry import PubSubRegistry
from flash_pubsub.shared.callbacks import SharedCallbacks
from flash_pubsub.shared.declaration import MAX_VALUE_BYTES, Accepts, make_shared_callback
from flash_pubsub.shared.layout import fill_layout
from flash_pubsub.shared.state import SHARED
from flash_pubsub.shared.values import SharedValues
from flash_pubsub.signing_key import SharedSigningKey
from flash_pubsub.statistics import metrics_of
from flash_pubsub.table.columns import table_settings
from flash_pubsub.table.tables import Tables
from flash_ws import Live
from flash_ws.callbacks.deferred import LiveRegistry, hub_of
from flash_ws.clients import recipients
from flash_ws.clients.sending import Sending
from flash_ws.protocol.position import NOWHERE

if TYPE_CHECKING:
    from flash import Flash
    from flash.checking.security import Deployment, Risk
    from flash_pubsub.broker.seam import Broker, Lease, Status
    from flash_pubsub.table.table import Table
    from flash_ws import Client, ClientInfo, Metric
    from flash_ws.clients.recipients import Recipients
    from flash_ws.protocol.position import Position

# Seconds that one run of a shared callback or a channel callback may take.
CALLBACK_TIMEOUT = 30.0

# Seconds within which a feeder must yield its next item; long, since some sources are quiet.
FEEDER_TIMEOUT = 3600.0

H = TypeVar("H", bound=Callable[..., Any])
T = TypeVar("T")
F = TypeVar("F", bound=Callable[[], AsyncIterator[Any]])


class PubSub:
    """Channels, shared callbacks and presence of one app, on all workers that share a broker.

    - ``broker``: a `Broker`, or an address such as ``"redis://127.0.0.1:6379/0"``. The default is
      ``FLASH_BROKER_URL``, else the Redis of the app (``Flash(…, redis=)`` or
      ``FLASH_REDIS_URL``), else ``memory://``, which serves one process.
    - ``lease_ttl``: seconds after which another worker takes over the feeders and callbacks of a
      worker that died.
    - ``presence_ttl``: seconds after which the members of a worker that died are removed.
    - ``presence_grace``: seconds for which a page that left may come back before `on_leave` is
      called. A page that only lost its connection stays a member for the ``resume_window`` of
      `Live` in any case.
    - ``start_timeout``: seconds that a starting worker waits for Redis.
    - ``max_rooms``: rooms with shared values that pages of one worker are in at a time; no page
      enters one more.

    The app's `Live` uses the broker, so that pushes, events, groups, ``live.clients()`` and
    ``live.disconnect()`` reach pages on every worker. A `Live` is made if the app has none.

    ``_flash/ready`` below the app's prefix answers 503 while publications of other workers do not
    arrive at this one.
    """

    def __init__(
        self,
        app: Flash | None = None,
        *,
        broker: str | Broker | None = None,
        lease_ttl: float = 5.0,
        presence_ttl: float = 30.0,
        presence_grace: float = 2.0,
        start_timeout: float = 30.0,
        max_rooms: int = 10_000,
    ) -> None:
        check(
            lease_ttl=(lease_ttl, SECONDS),
            presence_ttl=(presence_ttl, SECONDS),
            presence_grace=(presence_grace, DURATION),
            start_timeout=(start_timeout, SECONDS),
            max_rooms=(max_rooms, COUNT),
        )
        opened = open_broker(broker) if isinstance(broker, str | None) else broker
        # Whether `init_app` replaces the broker by that of the app.
        self._follows_app = broker is None and not os.environ.get(ENVIRONMENT)
        self._lease_ttl = lease_ttl
        self._presence_ttl = presence_ttl
        self._presence_grace = presence_grace
        self._listeners = Listeners(opened)
        self._backplane = BrokerBackplane(
            self._listeners, client_ttl=presence_ttl, start_timeout=start_timeout
        )
        self._declarations = Declarations()
        self._shared_callbacks = SharedCallbacks(
            self._listeners,
            self._backplane,
            self._declarations,
            lease_ttl=lease_ttl,
            max_rooms=max_rooms,
        )
        # Gives server code access to the values of shared properties.
        self.shared = SharedValues(self._shared_callbacks.state)
        self._feeders = Feeders()
        self._join_handlers: list[tuple[ChannelPattern, Handler]] = []
        self._leave_handlers: list[tuple[ChannelPattern, Handler]] = []
        self._present_names: list[tuple[ChannelPattern, Handler]] = []
        # The tables that `table` has declared.
        self.tables = Tables(self._listeners, self._backplane)
        self._app: Flash | None = None
        self._live: Live | None = None
        self._deliveries: ChannelDeliveries | None = None
        self._presence: Presence | None = None
        self._present_lists: PresentLists | None = None
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flash) -> None:
        """Connect this `PubSub` to ``app``; call it once, before the app is served.

        Raises `ConfigurationError` if either is connected already.
        """
        if self._app is not None:
            raise ConfigurationError("this PubSub has an app already; make one for each app")
        registry = PubSubRegistry.of(app)
        registry.check_free()
        self._app = app
        if self._follows_app:
            self._listeners.broker = open_broker(
                "memory://" if app.redis is None else app.redis.url
            )
        known: Live | None = LiveRegistry.of(app).part
        self._live = known or Live(app)
        if isinstance(self.broker, Watchable):
            self.broker.sample = self._live.sample
        backplane = self._backplane
        self._live.attach(backplane)
        self._deliveries = ChannelDeliveries(
            app, self._declarations, self._listeners, backplane, lease_ttl=self._lease_ttl
        )
        self._presence = Presence(
            app, self._listeners, backplane, ttl=self._presence_ttl, grace=self._presence_grace
        )
        self._presence.join_handlers = self._join_handlers
        self._presence.leave_handlers = self._leave_handlers
        self._present_lists = PresentLists(
            app,
            self._listeners,
            backplane,
            self._present_names,
            grace=self._presence_grace,
            ttl=self._presence_ttl,
        )
        rooms = self.shared.rooms = self._shared_callbacks.connect(app)
        subscribers = Subscribers(
            app, self._live, self._declarations, self._presence, backplane, rooms
        )
        backplane.sources[EVERY_WORKER] = self._deliveries
        backplane.sources[SHARED] = rooms
        backplane.sources[PRESENT] = self._present_lists
        backplane.on_start.append(self._start)
        backplane.on_close.append(self._close)
        self._live.follow_everywhere(SHARED)
        self._live.on_frame("share", rooms.receive)
        self._live.on_frame("subscribe", subscribers.subscribe)
        self._live.on_frame("unsubscribe", subscribers.unsubscribe)
        self._live.on_forget(subscribers.forget)
        backplane.on_unsubscribe.append(subscribers.withdraw)
        self._live.on_forget(self._presence.leave_all)
        self.tables.connect(app, self._live, self._declarations)
        app.layout_filters.append(self._fill_layout)
        app.security_checks.append(self._security_risks)
        # A `Broker` that the application has written need not have this attribute.
        app.common_store = app.common_store or getattr(self.broker, "lazy_cache", None)
        self._live.readiness.add(
            "broker", BrokerReadiness(self._listeners, backplane.worker).failure
        )
        self._live.metrics.add(self._metrics)
        registry.attach(self)

    def _security_risks(self, deployment: Deployment) -> Iterable[Risk]:
        """Return what `flash check` says about the broker."""
        from flash_pubsub.security_checks import broker_risks

        return broker_risks(deployment, getattr(self.broker, "address", None))

    @property
    def broker(self) -> Broker:
        """The broker; that of the app is known when the app is."""
        return self._listeners.broker

    # -- shared callbacks ------------------------------------------------------------------------

    def shared_callback(
        self,
        *dependencies: Any,
        prevent_initial_call: bool = False,
        timeout: float | None = CALLBACK_TIMEOUT,
        authorize: Callable[..., Any] | None = None,
        schema: Any = None,
        max_value_bytes: int = MAX_VALUE_BYTES,
        accepts_components: bool = False,
        room: str | None = None,
        room_from: str | None = None,
    ) -> Callable[[H], H]:
        """Run a function when an Input changes in any browser; all browsers show the result.

        The decorator takes Outputs, Inputs and States as that of a callback does. The function runs
        once per change, one run at a time in the whole deployment. Its inputs and outputs are then
        sent to every page together, and all pages get them in the same order. If changes come
        faster than the function runs, only the newest of each Input is used. The function may be
        plain or async, and may return ``no_update`` or a `Patch`.

        The function runs once before anything has changed, with the values of the first page,
        unless ``prevent_initial_call``. An exception is logged and reported to the pages whose
        change caused it; these pages then show what the others show. A run that takes longer than
        ``timeout`` seconds (30; None for no limit) fails in the same way, so that the callback runs
        again for the next change.

        No other callback may set one of its Outputs, ``allow_duplicate`` included: pages would
        differ, so the app does not start.

        What pages send of Inputs goes to every page. Their values, and those of States, are
        refused if they hold a component, a `Patch` or another marker of Dash, or are too long:

        - ``authorize``: called with the `Visitor`, plain or async; only True and the name of a user
          accept its change.
        - ``schema``: a class that the values of the Inputs must fit, as for `channel`, or a list
          with one for each Input, None for any value.
        - ``max_value_bytes``: the size of one value as JSON.
        - ``accepts_components``: accept components and patches. Every page that may change the
          Inputs can then run scripts on all pages.

        With ``room``, a name or a pattern such as ``"desk/{desk}"``, each room has values of its
        own, and the function runs for the pages of one room; "all pages" are those in the room. A
        page is in the room of the `Room` in its layout. With ``room_from``, such as
        ``"/desk/<desk>"``, it is also in the room that its URL names. A function declared with
        `authorize` decides who may enter. A page in no room shares nothing. The function gets those
        of the pattern's variables that it takes by name.
        """

        check(
            prevent_initial_call=(prevent_initial_call, FLAG),
            timeout=(timeout, SECONDS_OR_NONE),
            authorize=(authorize, Function()),
            max_value_bytes=(max_value_bytes, COUNT),
            accepts_components=(accepts_components, FLAG),
        )

        def register(function: H) -> H:
            callback = make_shared_callback(
                function,
                dependencies,
                prevent_initial_call=prevent_initial_call,
                timeout=timeout,
                schema=schema,
                accepts=Accepts(
                    authorize, max_bytes=max_value_bytes, components=accepts_components
                ),
                room=room,
                room_from=room_from,
            )
            self._shared_callbacks.add(callback)
            return function

        return register

    # -- channels --------------------------------------------------------------------------------

    def channel(
        self,
        channel: str,
        *,
        schema: Any = None,
        history: int = 1000,
        max_age: float = 120.0,
        conflate: bool = False,
        max_waiting: int = 1000,
        replay_last: bool = True,
    ) -> None:
        """Configure a channel, or all channels of a pattern.

        - ``schema``: a pydantic model, a dataclass or a TypedDict that messages must fit; `publish`
          refuses other messages.
        - ``history``, ``max_age``: the number of messages kept, and the seconds for which they are,
          for pages that were disconnected.
        - ``conflate``: pass only the newest of the messages that wait to a callback.
        - ``max_waiting``: messages that may wait for a callback. With one more, all but the newest
          are skipped, and pages are told that messages are lost.
        - ``replay_last``: show what the last message set on a page that comes later.

        Raises `ConfigurationError` if the channel or pattern is configured already.
        """
        check(
            history=(history, AMOUNT),
            max_age=(max_age, SECONDS),
            conflate=(conflate, FLAG),
            max_waiting=(max_waiting, COUNT),
            replay_last=(replay_last, FLAG),
        )
        settings = ChannelSettings(
            history=history,
            max_age=max_age,
            conflate=conflate,
            max_waiting=max_waiting,
            replay_last=replay_last,
            schema=None if schema is None else Schema(schema),
        )
        self._declarations.configure(ChannelPattern(channel), settings)

    def channel_callback(
        self,
        channel: str,
        *outputs: Any,
        once: bool = False,
        on_lost: Callable[[str, int], Any] | None = None,
        timeout: float | None = CALLBACK_TIMEOUT,
        backfill: int = 0,
    ) -> Callable[[H], H]:
        """Run a function for each message of a channel; pages show what it returns.

        ``channel`` is a name or a pattern such as ``"room/{room}"``. Every page follows the channel
        of a name. Pages follow the channels of a pattern through a `Subscription`.

        The function is called with the message, and with the pattern's variables by name. It runs
        once per message on every worker, for the pages of that worker; with ``once`` it runs once
        per message in the whole deployment, for all pages. A call that takes longer than
        ``timeout`` seconds (30; None for no limit) fails, and the next message is handled.

        With ``once`` messages are run from the channel's history. If they come faster than the
        function runs, or while no worker runs, those beyond ``history``, ``max_age`` or 1 MiB are
        lost: the function goes on with the oldest message that is kept. ``on_lost(channel, count)``
        is then called once, on the worker that goes on, before the function. Without ``once`` it is
        called on each worker that has skipped or missed messages. It may be plain or async.

        With ``backfill`` a page that follows the channel first gets what the function made of so
        many last messages, in one frame. Each worker runs the function once with them, in order,
        perhaps while it runs with a newer one. Of ``extendData``, ``prependData``, row transactions
        and `Patch` the page gets all, joined; of any other property the newest value. ``history``
        and ``max_age`` of the channel, and 1 MiB of results, are the bounds.
        """

        check(
            once=(once, FLAG),
            on_lost=(on_lost, Function()),
            timeout=(timeout, SECONDS_OR_NONE),
            backfill=(backfill, AMOUNT),
        )

        def register(function: H) -> H:
            pattern = ChannelPattern(channel)
            if not callable(function):
                raise ConfigurationError(
                    f"the channel callback {function!r} is no function; give one, or a partial, a "
                    "method or a callable object"
                )
            check_takes(function, pattern, "message")
            what = f"the channel callback {short_name_of(function)!r}"
            self._declarations.add(
                ChannelCallback(
                    *(pattern, Outputs.of(outputs, what), function),
                    once=once,
                    on_lost=on_lost,
                    timeout=timeout,
                    backfill=backfill,
                )
            )
            return function

        return register

    def authorize(self, channel: str) -> Callable[[H], H]:
        """Let ``function(visitor, **variables)`` decide whether a page may subscribe.

        It gets the `Visitor`, whose ``client`` is the page, and the variables of the pattern by
        name. It may be plain or async. It has 10 seconds; after that the subscription is denied.
        Without such a function no page may subscribe to a channel whose pattern has variables.
        """

        def register(function: H) -> H:
            pattern = ChannelPattern(channel)
            check_takes(function, pattern, "visitor")
            self._declarations.guards.append((pattern, function))
            return function

        return register

    def publish(self, channel: str, data: Any, *, key: str | None = None) -> Sending[Position]:
        """Publish a message: bytes as they are, anything else as JSON.

        It is published in any case; ``await pubsub.publish(…)`` returns its position when it is,
        and raises if it is not. Without ``await`` an error is logged. In a thread the call itself
        returns when the message is published.

        After `BrokerUnavailable` the message may or may not be published; after any other error it
        is not. With ``key`` it is safe to publish again: a message of the same key is published
        once. Raises `InvalidMessage` for a message that does not fit the channel's schema.
        """
        return self._begin(self._publish(channel, data, key=key))

    def _begin(self, work: Coroutine[Any, Any, T]) -> Sending[T]:
        """Do work whether or not somebody awaits it; without an app somebody has to."""
        return Sending(work) if self._live is None else self._live.begin(work)

    def publish_threadsafe(self, channel: str, data: Any, *, key: str | None = None) -> Position:
        """Publish a message from a thread, as `publish` does; blocks until it is published."""
        return self.app.wait_for(self._publish(channel, data, key=key))

    async def history(self, channel: str, *, limit: int = DEFAULT_LIMIT) -> History:
        """Return the last messages of a channel, the oldest first, at most ``limit``.

        It includes what was published before the call, from any process, as far as ``history`` and
        ``max_age`` of the channel keep it. ``position`` of the result is that of the last message:
        with ``Subscription(…, since=history.position)`` a layout that is drawn from the messages
        goes on without a seam. Plain code in a thread calls ``app.wait_for(pubsub.history(…))``.
        While the app starts, which calls its layout once to check it, the result is empty.
        """
        check_name(channel)
        if self.app.is_serving and not self.app.has_started:
            # The broker starts later.
            return History([], NOWHERE)
        return await read_history(BrokerReader(self.broker), channel, limit)

    def _publish(
        self, channel: str, data: Any, *, key: str | None = None, fence: Lease | None = None
    ) -> Coroutine[Any, Any, Position]:
        """Check a message at once, so that an error names the line; return what publishes it."""
        check_name(channel)
        settings = self._declarations.settings(channel)
        if settings.schema is not None:
            data = settings.schema.validate(channel, data)
        envelope = Envelope.of(data)
        publish = partial(
            self.broker.publish, channel, key=key, fence=fence, retention=retention_of(settings)
        )
        tracing = None if self._app is None else self._app.tracing
        if tracing is None:
            return publish(envelope.pack())
        return publish_in_span(tracing, channel, envelope, publish)

    @overload
    def feeder(self, channel: F, /) -> F: ...

    @overload
    def feeder(
        self,
        channel: str | None = None,
        /,
        *,
        name: str | None = None,
        timeout: float | None = FEEDER_TIMEOUT,
    ) -> Callable[[F], F]: ...

    def feeder(
        self,
        channel: Any = None,
        /,
        *,
        name: str | None = None,
        timeout: float | None = FEEDER_TIMEOUT,
    ) -> Any:
        """Run an async generator on one worker of the deployment and publish what it yields.

        With ``@pubsub.feeder("prices")`` it yields messages for that channel, with
        ``@pubsub.feeder`` pairs of channel and message. When its worker dies, another worker starts
        it again, at the latest 4/3 of ``lease_ttl`` later. If no item comes within ``timeout``
        seconds (an hour; None for no limit), the generator is closed and started again.

        Workers know a feeder by its name: ``name``, or else the function's module and qualified
        name together with the channel. Raises `ConfigurationError` for a second feeder of a name.
        """
        check(timeout=(timeout, SECONDS_OR_NONE))
        if not isinstance(channel, str | None):
            self._feeders.add(make_feeder(channel, None, name, timeout))
            return channel

        def register(function: F) -> F:
            if channel is not None:
                check_name(channel)
            self._feeders.add(make_feeder(function, channel, name, timeout))
            return function

        return register

    # -- tables ----------------------------------------------------------------------------------

    def table(
        self,
        table: str,
        *,
        key: str,
        columns: Sequence[str] | Mapping[str, type | None],
        max_rows: int = 100_000,
        max_row_bytes: int = 16_384,
        interval: float = 0.05,
    ) -> Table:
        """Declare a table: rows by key that any process writes and that pages show.

        ``table`` is a name, or a pattern such as ``"orders/{desk}"``. Pages show it by a
        `TableFeed`. Every page may show a table without variables, unless there is an `authorize`
        for its name; the tables of a pattern need one.

        - ``key``: the column whose value names a row: a text, a whole number or a UUID. The key is
          its text, so 1 and ``"1"`` name one row.
        - ``columns``: the names of all columns, or a dictionary of their types (str, int, float,
          bool, date, datetime, or None for any value), which rows must fit.
        - ``max_rows``: when there are more, a tenth of the rows is dropped, those inserted first.
        - ``max_row_bytes``: of one row as JSON, 512 KiB at most; larger rows are refused.
        - ``interval``: seconds between two messages to a page. Changes of a row in between are sent
          as one.

        Call it before the app starts.
        """
        check(interval=(interval, SECONDS))
        settings = table_settings(key, columns, max_rows=max_rows, max_row_bytes=max_row_bytes)
        return self.tables.declare(ChannelPattern(table), settings, interval)

    def unsubscribe(self, client: Client | str, channel: str) -> Sending[None]:
        """Take a channel or table from a page, given by its `Client` or its id, on any worker.

        Its `Subscription` or `TableFeed` becomes "denied". The page cannot subscribe to the channel
        again until it is loaded again, for which `authorize` is asked. The result may be awaited,
        as that of `publish`.
        """
        check_name(channel)
        client_id = client if isinstance(client, str) else client.id
        return self._begin(self._backplane.unsubscribe(client_id, channel))

    # -- rooms and presence ----------------------------------------------------------------------

    def room(self, name: str) -> Recipients:
        """Return the pages that are in a room, on any worker, for ``to=`` of `flash.set_props`.

        The app's `Live` has the same. Raises `InvalidChannel` for what is no room's name.
        """
        check_name(name)
        return recipients.room(name)

    def present_name(self, channel: str) -> Callable[[H], H]:
        """Let ``function(client, **variables)`` give the name that `Present` shows for a page.

        It may be plain or async, gets an entry as those of `who`, and runs on each worker that
        shows the room, once for each page; it has 5 seconds. Without a name a page is only counted.
        """
        return self._on_presence(self._present_names, channel)

    async def who(self, channel: str) -> list[ClientInfo]:
        """Return the pages that are subscribed to a channel on any worker."""
        assert self._presence is not None
        return await self._presence.who(channel)

    def on_join(self, channel: str) -> Callable[[H], H]:
        """Call ``handler(client, **variables)`` when a page subscribes; on one worker only."""
        return self._on_presence(self._join_handlers, channel)

    def on_leave(self, channel: str) -> Callable[[H], H]:
        """Call ``handler(client, **variables)`` when a page has left; on one worker only.

        The handler is not called for a page that comes back within the grace period on any worker.
        """
        return self._on_presence(self._leave_handlers, channel)

    def _on_presence(
        self, handlers: list[tuple[ChannelPattern, Handler]], channel: str
    ) -> Callable[[H], H]:
        def register(handler: H) -> H:
            pattern = ChannelPattern(channel)
            check_takes(handler, pattern, "client")
            handlers.append((pattern, handler))
            return handler

        return register

    # -- state -----------------------------------------------------------------------------------

    @property
    def app(self) -> Flash:
        """The app; raises `ConfigurationError` before `init_app`."""
        if self._app is None:
            raise ConfigurationError("this PubSub has no app yet: PubSub(app), or init_app(app)")
        return self._app

    @property
    def live(self) -> Live:
        """The app's `Live`; raises `ConfigurationError` before `init_app`."""
        if self._live is None:
            raise ConfigurationError("this PubSub has no app yet: PubSub(app), or init_app(app)")
        return self._live

    @property
    def status(self) -> Status:
        """The broker's state and counters.

        ``status.ready`` is False while publications of other workers do not arrive.
        """
        return self.broker.status

    def _metrics(self) -> Iterable[Metric]:
        assert self._deliveries is not None
        return metrics_of(
            self.broker.status,
            skipped=self._deliveries.counters.skipped,
            lost=self._deliveries.counters.lost,
            fenced=self._shared_callbacks.counters.fenced,
            rooms=len(self._shared_callbacks.rooms or ()),
            timeouts=self._deliveries.counters.timeouts
            + self._shared_callbacks.counters.timeouts
            + self._feeders.timeouts,
        )

    # -- layouts ---------------------------------------------------------------------------------

    def _fill_layout(self, layout: Any) -> Any:
        """Return a layout with the shared values in it and with its subscriptions signed."""
        return fill_layout(layout, self._shared_callbacks.values(), partial(sign, self.app))

    # -- serving ---------------------------------------------------------------------------------

    async def _start(self) -> None:
        check_workers(self.broker, 'Flash(__name__, redis="redis://…")')
        # Now all callbacks of the app are known.
        self._shared_callbacks.check_outputs()
        assert self._deliveries is not None
        assert self._presence is not None
        # An app with a Redis has agreed on a key there, before it started.
        has_key = self.app.server.secret_key or self.app.redis is not None
        if not (has_key or isinstance(self.broker, MemoryBroker)):
            await SharedSigningKey(self.app, self._listeners, self._backplane).start()
        if not isinstance(self.broker, MemoryBroker):
            retention_rules = RetentionRules.of(self._declarations.configured)
            await published_retention(retention_rules, self._listeners, self._backplane).start()
        # Callbacks of channels run before any page is there.
        await self.app.warm_up()
        await self._shared_callbacks.state.start()
        await self.tables.start()
        guarded = {pattern.text for pattern, _ in self._declarations.guards}
        for channel in self._declarations.single_channels():
            await self._deliveries.acquire(channel)
            if channel not in guarded:
                for each in self._declarations.page_channels(channel):
                    if each not in hub_of(self.app).common:
                        hub_of(self.app).common.append(each)
        await self._presence.start()
        self._feeders.start(self.broker, self._publish, self._lease_ttl)

    async def _close(self) -> None:
        await self._feeders.close()
        await self._shared_callbacks.close()
        if self._deliveries is not None:
            await self._deliveries.close()
        if self._presence is not None:
            self._presence.close()
        if self._present_lists is not None:
            self._present_lists.close()
