"""`Hub`: the pages of one worker, the channels they follow, and how they connect and reconnect."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flash.log_limit import limited_logger
from flash_ws.clients import recipients
from flash_ws.clients.backplane import ClientInfo, Command, Moved, OwnedByAnotherUser
from flash_ws.clients.client import LinkedClient
from flash_ws.clients.followers import Followers
from flash_ws.clients.handlers import ClientHandler, HandlerCalls
from flash_ws.clients.identities import MIN_TOKEN_LENGTH, PageIdentities
from flash_ws.clients.missed import Missed
from flash_ws.clients.spans import LinkSpan, push_span, traced_push
from flash_ws.errors import PayloadTooLarge
from flash_ws.link.flushing import FlushScheduler
from flash_ws.link.link import Link, LinkLimits
from flash_ws.operating.statistics import LinkCounters
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import ProtocolError
from flash_ws.protocol.frames import (
    VERSION,
    Frame,
    Hello,
    connection_frame,
    parse_hello,
    parse_message,
)
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from flash import Flash
    from flash.http.handshake import Handshake
    from flash_ws.clients.backplane import Backplane
    from flash_ws.link.link import Transport
    from flash_ws.protocol.frames import Message

logger = limited_logger(__name__)

# Seconds within which a page has to send ``hello``.
HELLO_TIMEOUT = 10.0

# Pages closed at a time when the server stops, and seconds between two batches.
DRAIN_BATCH_SIZE = 100
DRAIN_PAUSE = 0.05

# Seconds that the ``on_connect`` handlers of one page may take together. What the page sends waits
# for them.
INTRODUCTION_TIMEOUT = 10.0

# Seconds that the ``on_disconnect`` handlers of one page may take together, and that a stopping
# server waits for those of all its pages.
FAREWELL_TIMEOUT = 10.0

# Seconds that event callbacks and event handlers of a page that is gone have to end after they were
# cancelled. Its ``on_disconnect`` handlers run then.
END_TIMEOUT = 5.0

# Seconds that tasks have to end after they were cancelled because the server stops.
CANCEL_TIMEOUT = 1.0

FrameHandler = Callable[[LinkedClient, dict[str, Any]], Awaitable[None]]


class Hub:
    """Connects pages to the backplane. Belongs to the app's event loop.

    - ``resume_window``: seconds within which a disconnected page can resume as the same client.
    - ``token_lifetime``: seconds for which the token of a page is accepted. Open links get another
      before their token is half as old.
    - ``max_clients``: pages connected or within their resume window; the link of one more is closed
      with `CloseCode.FULL`.
    """

    def __init__(
        self,
        app: Flash,
        backplane: Backplane,
        *,
        limits: LinkLimits,
        resume_window: float,
        token_lifetime: float,
        max_clients: int,
    ) -> None:
        self._app = app
        # The process whose pages these are; a forked one cannot use their futures.
        self._process = os.getpid()
        self._backplane = backplane
        self._limits = limits
        self._resume_window = resume_window
        self.identities = PageIdentities(app, token_lifetime)
        # Renews the tokens of open links.
        self._renewal: asyncio.TimerHandle | None = None
        self._max_clients = max_clients
        self.clients: dict[str, LinkedClient] = {}
        # The handler of each kind of frame from pages.
        self.handlers: dict[str, FrameHandler] = {}
        # Channels that every page follows; the channel for everybody is first.
        self.common = [recipients.EVERYBODY.channel]
        # Called with every command, before the hub handles it.
        self.on_command: list[Callable[[Command], object]] = []
        self.on_connect: list[ClientHandler] = []
        # Called when this worker removes a page: one that is gone, before `on_disconnect`, and one
        # that continues on another worker.
        self.on_forget: list[ClientHandler] = []
        # Returns the numbers of a page's calls that run; a welcome lists them.
        self.calls_of: Callable[[LinkedClient], list[int]] = lambda _: []
        self.on_disconnect: list[ClientHandler] = []
        self.followers = Followers(backplane, self.common, self._spawn)
        self._handler_calls = HandlerCalls(app, self._spawn)
        # By client id: done when a removed page has left the backplane. The same page that connects
        # meanwhile waits, so that its entry is not removed.
        self._leaving: dict[str, asyncio.Future[None]] = {}
        # By client id, the timer that removes a page which does not reconnect.
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        # Counters of the links that have ended.
        self.counters = LinkCounters()
        # Kept until done, since the loop holds only weak references to tasks.
        self._tasks: set[asyncio.Task[Any]] = set()
        # Awaited before pages are closed because the server stops; each returns soon.
        self.on_drain: list[Callable[[], Awaitable[None]]] = []
        self._draining: asyncio.Task[None] | None = None
        # Decides when waiting frames are written.
        self._flush_scheduler = FlushScheduler(limits.max_batch_delay)

    async def start(self) -> None:
        """Start the backplane and follow the common channels; call before `serve`."""
        await self._backplane.start(self.deliver, self.handle_command)
        for channel in self.common:
            await self._backplane.follow(channel)
        self._renew_tokens()

    async def close(self) -> None:
        """Close every link and remove every page.

        Disconnect handlers run, unless pages can continue on another worker.
        """
        leaving: list[asyncio.Task[None]] = []
        for client in list(self.clients.values()):
            client.close(CloseCode.DRAINING)
            leaving.append(
                self._spawn(self._remove_client(client, moved=self._backplane.spans_workers))
            )
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=FAREWELL_TIMEOUT)
            if late:
                logger.warning(
                    "%d pages are left: their on_disconnect handlers took longer than %g s",
                    len(late),
                    FAREWELL_TIMEOUT,
                )
        if self._renewal is not None:
            self._renewal.cancel()
        if self._draining is not None:
            self._draining.cancel()
        cancelled = list(self._tasks)
        for task in cancelled:
            task.cancel()
        if cancelled:
            # A handler may suppress the cancellation.
            await asyncio.wait(cancelled, timeout=CANCEL_TIMEOUT)
        self._flush_scheduler.close()
        await self._backplane.close()

    # -- messages --------------------------------------------------------------------------------

    async def publish(self, channel: str, message: Message) -> Position:
        """Send a message to the followers of the channel, on any worker.

        Raises `PayloadTooLarge` above `LinkLimits.max_push_bytes`.
        """
        size = len(message.members)
        if size > self._limits.max_push_bytes:
            raise PayloadTooLarge(size, self._limits.max_push_bytes)
        beginning = self.followers.beginning(channel)
        if beginning is not None and os.getpid() == self._process:
            # The channel is just being followed: published now, this worker would miss it.
            await beginning
        return await self._backplane.publish(channel, message)

    async def push(self, channel: str, message: Message) -> None:
        """Do what `publish` does, in a span if the app is traced and this is a part of a trace."""
        tracing = self._app.tracing
        if tracing is None or tracing.current() is None:
            await self.publish(channel, message)
            return
        span = push_span(tracing, channel, message, self.followers.count(channel))
        await traced_push(span, self.publish(channel, message))

    def deliver(self, frame: Frame) -> None:
        """Queue a frame for the followers of its channel on this worker."""
        for client in self.followers.by_channel.get(frame.channel or "", ()):
            link = client.link
            if link is not None:
                link.deliver(frame)
            elif client.joining:
                client.note_missed(frame)

    def handle_command(self, command: Command) -> None:
        """Close the links that a command concerns; for `Moved`, also remove the page."""
        for handler in self.on_command:
            handler(command)
        if isinstance(command, Moved):
            moved = self.clients.get(command.client)
            if moved is not None:
                moved.close(CloseCode.REPLACED)
                self._spawn(self._remove_client(moved, moved=True))
            return
        for client in list(self.clients.values()):
            if command.concerns(client.info):
                client.close(CloseCode.KICKED)

    def join(
        self, client: LinkedClient, channel: str, position: Position | None = None
    ) -> asyncio.Task[bool]:
        """Let a connected client follow a channel from now on.

        With a ``position``, it is sent what it has missed since. The task's result is whether that
        was everything.
        """
        link = client.link
        following = self.followers.add(client, channel)
        self._store_channels(client)
        is_followed = channel in client.starts or (link is not None and link.holds(channel))
        if is_followed and recipients.group_of(channel) is not None:
            # Nothing changes for the page, which follows the group already or is about to.
            return self._spawn(_succeed(following))
        held = None if link is None else link.hold(channel)
        return self._spawn(self._join(client, following, link, channel, held, position))

    def _store_channels(self, client: LinkedClient) -> None:
        if client.id not in self.clients:
            return
        self._spawn(self._backplane.remember(client.id, client.joined))

    async def _join(
        self,
        client: LinkedClient,
        following: asyncio.Future[None],
        link: Link | None,
        channel: str,
        held: list[Frame] | None,
        position: Position | None,
    ) -> bool:
        try:
            await following
            while (beginning := self.followers.beginning(channel)) is not None:
                # All followers had left meanwhile, so it is being followed again.
                await beginning
            if link is None or not link.is_held(channel, held):
                # The page is away and catches up when it reconnects, or it has left the channel.
                return False
            catch_up = await self._backplane.catch_up(channel, position)
        except ConnectionError as error:
            logger.warning(
                "%r could not follow %r, since the backplane is unavailable: %s",
                client,
                channel,
                error,
            )
            client.note_lost(channel)
            if link is not None and link.is_held(channel, held):
                # The page catches up with its next connection.
                link.close(CloseCode.FULL)
            return False
        if not link.is_held(channel, held):
            return False
        number = catch_up.position.number
        if position is None or not catch_up.recovered:
            # Frames published since the call are held; they come after the position sent here.
            first = None if catch_up.frames else link.first_held(channel)
            number = number if first is None else first - 1
            link.deliver(connection_frame("at", at={channel: (catch_up.position.epoch, number)}))
        client.place(channel, Position(catch_up.position.epoch, number))
        link.release(channel, first=catch_up.frames, after=number)
        return catch_up.recovered

    def unfollow(self, client: LinkedClient, channel: str) -> None:
        """Stop a client from following a channel; idempotent."""
        if client.link is not None:
            client.link.discard_held(channel)
        self._store_channels(client)
        self.followers.remove(client, channel)

    # -- connections -----------------------------------------------------------------------------

    def serve(
        self, transport: Transport, handshake: Handshake, user: str | None
    ) -> Coroutine[Any, Any, None]:
        """Serve one connection until it ends."""
        tracing = self._app.tracing
        if tracing is None:
            return self._serve(transport, handshake, user, None)
        span = LinkSpan(tracing, transport, user)
        return span.around(self._serve(transport, handshake, user, span))

    async def _serve(
        self,
        transport: Transport,
        handshake: Handshake,
        user: str | None,
        span: LinkSpan | None,
    ) -> None:
        hello = await _receive_hello(transport)
        if hello is None:
            return
        hello = self.identities.without_expired(hello)
        try:
            await self._wait_until_left(hello)
            hello, joined = await self._resume(hello, user)
        except ConnectionError as error:
            await self._close_unavailable(transport, error)
            return
        client = self._client_for(hello, handshake, user)
        if client is None:
            await transport.close(CloseCode.FULL, CloseCode.FULL.meaning)
            return
        link = Link(transport, self._limits, self._flush_scheduler)
        has_moved = joined is not None and not client.is_registered
        if joined is not None and has_moved:
            client.restore_channels(joined)
        is_new = not client.is_registered and not has_moved
        self._attach(client, link)
        try:
            if not await self._catch_up(
                client, link, hello, span, is_new=is_new, has_moved=has_moved
            ):
                return
            # The page may stay for days; free what only its opening needed.
            del hello, joined
            if not client.is_registered:
                await self._backplane.enter(client.info)
                client.is_registered = True
                if is_new and self.on_connect:
                    # In a task, since nothing is read from the page in this one meanwhile.
                    client.introducing = self._spawn(self._introduce(client))
        except ConnectionError as error:
            await self._close_unavailable(transport, error)
            return
        else:
            await link.run(lambda frame: self._handle(client, frame))
        finally:
            if span is not None:
                span.ended(link)
            self.counters.ended(link.close_code, link.undelivered, link.outbox.statistics())
            if client.detach(link) and self.clients.get(client.id) is client:
                self._start_expiry(client)

    async def _introduce(self, client: LinkedClient) -> None:
        """Call the ``on_connect`` handlers of a page."""
        try:
            await self._handler_calls.call_within(
                INTRODUCTION_TIMEOUT, client, self.on_connect, "on_connect"
            )
        finally:
            client.introducing = None

    async def _close_unavailable(self, transport: Transport, error: ConnectionError) -> None:
        """Close the link with a retryable code because the backplane is unavailable."""
        logger.warning(
            "closed a page's link, to reconnect later: the backplane is unavailable: %s", error
        )
        await transport.close(CloseCode.FULL, CloseCode.FULL.meaning)

    def _client_for(
        self, hello: Hello, handshake: Handshake, user: str | None
    ) -> LinkedClient | None:
        identities = self.identities
        token = identities.usable(hello.token)
        page_id = identities.id_of(token)
        known = self.clients.get(page_id)
        is_same_load = known is not None and hello.load is not None and hello.load == known.load
        if known is not None and hello.is_new and not is_same_load:
            # A page that starts under a known token is a copy: a duplicated tab, or a page whose
            # HTML came from the browser's cache.
            token = identities.copied(token)
            page_id = identities.id_of(token)
        client = self.clients.get(page_id)
        if client is not None and client.user != user:
            # The same page has another user now, who must not get messages for the previous one.
            token = identities.replaced(token)
            page_id, client = identities.id_of(token), None
        if client is None:
            if len(self.clients) >= self._max_clients and not self._make_room():
                return None
            info = ClientInfo(page_id, user, hello.path, time.time())
            client = self.clients[page_id] = LinkedClient(self, info, token, handshake)
            client.load = hello.load
        client.handshake = handshake
        self._renew(client)
        return client

    def _renew(self, client: LinkedClient) -> bool:
        """Give a client a new token if half of the lifetime of its token has passed."""
        token = self.identities.renewed(client.token)
        if token is None:
            return False
        client.token = token
        return True

    def _renew_tokens(self) -> None:
        """Send new tokens to the pages that need one, now and from time to time."""
        for client in self.clients.values():
            if client.is_connected and self._renew(client):
                client.deliver(connection_frame("page", page=client.token))
        self._renewal = asyncio.get_running_loop().call_later(
            self.identities.token_lifetime / 4, self._renew_tokens
        )

    def _make_room(self) -> bool:
        """Remove the page that is away for longest; False if all are connected."""
        for client_id in tuple(self._expiries):
            client = self.clients.get(client_id)
            if client is not None and client.link is None:
                self._expiries.pop(client_id).cancel()
                self._spawn(self._remove_client(client))
                return True
        return False

    async def _wait_until_left(self, hello: Hello) -> None:
        """Wait until an earlier client of the same page has left the backplane."""
        if hello.token is not None and self._leaving:
            leaving = self._leaving.get(self.identities.id_of(hello.token))
            if leaving is not None:
                await asyncio.shield(leaving)

    def position_of_everybody(self) -> Position | None:
        """Return the position of the channel for everybody, from any thread; None if unknown."""
        position = getattr(self._backplane, "position", None)
        return None if position is None else position(recipients.EVERYBODY.channel)

    async def _resume(self, hello: Hello, user: str | None) -> tuple[Hello, frozenset[str] | None]:
        """Take a page over from the worker that had it.

        Returns the ``hello`` to use and the channels that the page has joined there, or None if no
        other worker had the page. A page that belonged to another user becomes a new page, and gets
        nothing that was sent to the old one.
        """
        token = hello.token
        if token is None or len(token) < MIN_TOKEN_LENGTH or hello.is_new:
            return hello, None
        page_id = self.identities.id_of(token)
        if page_id in self.clients:
            return hello, None
        joined = await self._backplane.resume(page_id, user)
        if isinstance(joined, OwnedByAnotherUser):
            token = self.identities.replaced(token)
            return replace(hello, token=token, positions={}, is_new=True), None
        return hello, joined

    def _attach(self, client: LinkedClient, link: Link) -> None:
        expiry = self._expiries.pop(client.id, None)
        if expiry is not None:
            expiry.cancel()
        # Hold before the first await, so that no frame published from now on is lost.
        for channel in self._channels(client):
            link.hold(channel)
        client.attach(link)

    def _channels(self, client: LinkedClient) -> list[str]:
        """Return the channels of a client in the order in which it catches up."""
        return [*self.common, *sorted(client.joined), client.channel]

    async def _catch_up(
        self,
        client: LinkedClient,
        link: Link,
        hello: Hello,
        span: LinkSpan | None,
        *,
        is_new: bool,
        has_moved: bool,
    ) -> bool:
        """Send ``welcome`` and what the page missed, then release the frames held meanwhile.

        Returns False if the page has left; what it missed stays in the channels' histories.
        """
        missed = Missed()
        channels = self._channels(client)
        await missed.read(channels, client, link, hello, self.followers, self._backplane)
        recovered: bool | None = missed.is_everything
        if hello.is_new:
            recovered = None if recovered else False
        elif is_new:
            # No server knows the page, so its groups and calls are lost as well.
            recovered = False
        welcome = connection_frame(
            "welcome",
            v=VERSION,
            page=client.token,
            id=client.id,
            connection=link.id,
            beat=round(self._limits.heartbeat * 1000),
            at=missed.at,
            recovered=recovered,
            version=self._app.version,
            calls=self.calls_of(client),
            # Its event callbacks ran on the previous worker and have ended there.
            **({"moved": True} if has_moved else {}),
        )
        missed.note(client)
        frames = missed.frames
        try:
            await link.send_first([welcome, *frames])
        except OSError:
            return False
        self.counters.resumed(recovered, len(frames))
        if span is not None:
            span.opened(client.path, recovered)
        missed.release(link)
        return True

    async def _handle(self, client: LinkedClient, frame: dict[str, Any]) -> None:
        handler = self.handlers.get(frame["t"])
        if handler is None:
            raise ProtocolError(
                CloseCode.MALFORMED, f"no frame {frame['t'][:40]!r} in version {VERSION}"
            )
        await handler(client, frame)

    def _start_expiry(self, client: LinkedClient) -> None:
        loop = asyncio.get_running_loop()
        self._expiries[client.id] = loop.call_later(
            self._resume_window, lambda: self._spawn(self._expire(client))
        )

    async def _expire(self, client: LinkedClient) -> None:
        # The page may have reconnected while this task was starting.
        if client.link is None:
            await self._remove_client(client)

    async def _remove_client(self, client: LinkedClient, *, moved: bool = False) -> None:
        """Remove a page that is gone or, with ``moved``, continues on another worker."""
        if self.clients.get(client.id) is not client:
            # Removed already. The page may have connected again, as another client.
            return
        del self.clients[client.id]
        expiry = self._expiries.pop(client.id, None)
        if expiry is not None:
            expiry.cancel()
        for channel in self._channels(client):
            self.unfollow(client, channel)
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving[client.id] = left
        try:
            await self._handler_calls.call(client, self.on_forget)
            if not moved:
                await self._backplane.leave(client.id)
        finally:
            del self._leaving[client.id]
            left.set_result(None)
        if client.ending:
            _, late = await asyncio.wait(client.ending, timeout=END_TIMEOUT)
            if late:
                logger.warning(
                    "%d calls of %r have not ended within %g s after it was gone",
                    len(late),
                    client,
                    END_TIMEOUT,
                )
        if not moved:
            await client.wait_until_introduced()
            await self._handler_calls.call_within(
                FAREWELL_TIMEOUT, client, self.on_disconnect, "on_disconnect"
            )

    # -- the end ---------------------------------------------------------------------------------

    def watch_draining(self, draining: asyncio.Event | None) -> None:
        """Close the links in batches once the event ``draining`` is set; idempotent."""
        if draining is not None and self._draining is None:
            self._draining = self._spawn(self._drain(draining))

    async def _drain(self, draining: asyncio.Event) -> None:
        await draining.wait()
        for before in self.on_drain:
            await before()
        clients = [client for client in self.clients.values() if client.is_connected]
        batches = [
            clients[i : i + DRAIN_BATCH_SIZE] for i in range(0, len(clients), DRAIN_BATCH_SIZE)
        ]
        # Milliseconds; about the time that the other workers need to accept so many pages.
        spread = 200.0 + 5.0 * len(clients)
        for batch in batches:
            for client in batch:
                client.deliver(connection_frame("bye", after=round(random.uniform(0, spread))))
                if client.link is not None:
                    # Some servers close all WebSockets themselves soon after the stop signal.
                    client.link.flush_now()
            await asyncio.sleep(0)
        for batch in batches:
            await asyncio.sleep(DRAIN_PAUSE)
            for client in batch:
                client.close(CloseCode.DRAINING)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _succeed(following: asyncio.Future[None]) -> bool:
    """Wait until a channel is followed."""
    with contextlib.suppress(ConnectionError):
        await asyncio.shield(following)
        return True
    return False


async def _receive_hello(transport: Transport) -> Hello | None:
    """Return the ``hello`` of a page; None if it has left or its link was closed."""
    try:
        async with asyncio.timeout(HELLO_TIMEOUT):
            message = await transport.receive()
        if message is None:
            return None
        frames = parse_message(message)
        return parse_hello(frames[0] if frames else {})
    except TimeoutError:
        await transport.close(CloseCode.SILENT, "no 'hello' came")
    except ProtocolError as error:
        await transport.close(error.code, error.reason)
    return None
