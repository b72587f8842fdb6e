"""The command line: ``flash-pubsub publish | tail | channels | who``."""

from __future__ import annotations

import argparse
import asyncio
import base64
import signal
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from flash.redis.address import Kind
from flash.serialize import dumps
from flash_pubsub.broker.address import ENVIRONMENT, parse_url
from flash_pubsub.broker.envelope import BYTES, Envelope
from flash_pubsub.broker.redis import RedisBroker
from flash_pubsub.channels.declaration import check_name
from flash_pubsub.errors import PubSubError, UnsupportedEnvelope
from flash_pubsub.publisher import AsyncPublisher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash_pubsub.broker.seam import Publication
    from flash_ws.protocol.position import Position

# Lines that ``tail`` has still to write; the oldest are dropped, and a line reports how many.
_MAX_BUFFERED_LINES = 10_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with status 1 and one line of text after an error."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(options.run(options))
    except PubSubError as error:
        sys.exit(f"flash-pubsub: {error}")
    except (KeyboardInterrupt, BrokenPipeError):
        # Ctrl-C, or the reader of the pipe has ended; nothing more is written.
        sys.stderr.close()
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flash-pubsub", description="Publish to an app's channels, and inspect them."
    )
    parser.add_argument("--url", help=f"the broker's address; by default {ENVIRONMENT}")
    commands = parser.add_subparsers(required=True, metavar="command")
    publish = commands.add_parser("publish", help="publish one message, and print its number")
    publish.add_argument("channel", help="its name")
    publish.add_argument("data", metavar="JSON", help="the message, or - to read it from stdin")
    publish.add_argument("--key", help="publish once only, even if the command is repeated")
    publish.set_defaults(run=_publish)
    tail = commands.add_parser("tail", help="print messages as they arrive, one JSON object a line")
    tail.add_argument("channel", help="its name")
    tail.add_argument("-n", "--count", type=int, help="end after so many messages")
    tail.set_defaults(run=_tail)
    channels = commands.add_parser("channels", help="print the names of all channels")
    channels.set_defaults(run=_channels)
    who = commands.add_parser("who", help="print who is present on a channel, one a line")
    who.add_argument("channel", help="its name")
    who.set_defaults(run=_who)
    return parser


async def _publish(options: argparse.Namespace) -> None:
    text = sys.stdin.read() if options.data == "-" else options.data
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        sys.exit(f"flash-pubsub: the message is not JSON ({error}); quote a text: '\"text\"'")
    async with AsyncPublisher(options.url) as publisher:
        position = await publisher.publish(options.channel, data, key=options.key)
    _print({"seq": position.number, "epoch": position.epoch})


async def _tail(options: argparse.Namespace) -> None:
    check_name(options.channel)
    buffer = _TailBuffer()
    broker = _broker(options)
    try:
        await broker.start(buffer.deliver, buffer.reset)
        await broker.subscribe(options.channel)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        written = 0
        while options.count is None or written < options.count:
            line = await buffer.next_line(ended)
            if line is None:
                break
            _print(line)
            written += "seq" in line and "data" in line
    finally:
        await broker.close()


async def _channels(options: argparse.Namespace) -> None:
    broker = _broker(options)
    await broker.start(_discard, _discard)
    try:
        for name in await broker.channels():
            print(name)
    finally:
        await broker.close()


async def _who(options: argparse.Namespace) -> None:
    broker = _broker(options)
    await broker.start(_discard, _discard)
    try:
        for member in await broker.members(options.channel):
            print(member.id)
    finally:
        await broker.close()


class _TailBuffer:
    """The lines that ``tail`` has still to write, `_MAX_BUFFERED_LINES` at most."""

    def __init__(self) -> None:
        self._lines: deque[dict[str, Any]] = deque()
        self._dropped = 0
        self._has_lines = asyncio.Event()

    def deliver(self, publication: Publication) -> None:
        """Add the line of a message."""
        number = publication.position.number
        try:
            envelope = Envelope.unpack(publication.payload)
            data = envelope.data
        except UnsupportedEnvelope as error:
            self._add({"seq": number, "unreadable": error.reason})
            return
        if envelope.kind == BYTES:
            data = {"base64": base64.b64encode(data).decode()}
        self._add({"seq": number, "data": data, "id": envelope.id, "time": envelope.time})

    def reset(self, channel: str, position: Position) -> None:
        """Add a line that reports lost messages or a new epoch."""
        self._add({"reset": True, "seq": position.number, "epoch": position.epoch})

    def _add(self, line: dict[str, Any]) -> None:
        if len(self._lines) == _MAX_BUFFERED_LINES:
            self._lines.popleft()
            self._dropped += 1
        self._lines.append(line)
        self._has_lines.set()

    async def next_line(self, ended: asyncio.Event) -> dict[str, Any] | None:
        """Wait for the next line; returns None once ``ended`` is set."""
        waits = [asyncio.create_task(event.wait()) for event in (self._has_lines, ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if ended.is_set():
            return None
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return {"dropped": dropped}
        line = self._lines.popleft()
        if not self._lines:
            self._has_lines.clear()
        return line


def _broker(options: argparse.Namespace) -> RedisBroker:
    address = parse_url(options.url)
    if address.kind is Kind.MEMORY:
        sys.exit(
            f"flash-pubsub: memory:// is the memory of another process; set --url or {ENVIRONMENT} "
            f"to the redis:// address of the app"
        )
    return RedisBroker(address)


def _print(line: dict[str, Any]) -> None:
    print(dumps(line).decode(), flush=True)


def _discard(*_: object) -> None:
    """Do nothing; receives deliveries where no channel is subscribed."""


if __name__ == "__main__":
    main()
