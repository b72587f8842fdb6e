"""Thumbnails: static pictures of figures, shown until the graphs are drawn."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import quart

from flash.callbacks.execution import WorkerPool
from flash.serialize import dumps
from flash_lazy.cache.seam import Entry, Key, MemoryCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flash_lazy.cache.seam import LazyCache
    from flash_lazy.tokens.token import Signer

logger = logging.getLogger("flash_lazy")

ROUTE = "_flash_lazy/thumbnail/<name>"
# Plotly's default size in pixels, used if neither the panel nor the figure has one.
_WIDTH, _HEIGHT = 700, 450
# Seconds that a figure is kept for rendering after its page was sent, and that a picture is kept.
_LIFETIME = 3600
# Pictures are rendered one at a time; so many may wait, and further ones show the message.
_MAX_WAITING = 200
# The time limit of a picture in seconds, including its wait.
_DRAW_TIMEOUT = 120


@dataclass(frozen=True, slots=True)
class Picture:
    """A rendered figure."""

    content: bytes
    # The media type, such as "image/svg+xml".
    media_type: str


class Renderer(Protocol):
    """Renders a figure, given as the dictionary of its Plotly JSON; the size is in pixels.

    It is called in a separate thread, for one figure at a time. An error is logged, and the page
    shows a message.
    """

    def __call__(self, figure: dict[str, Any], width: int, height: int) -> Picture:
        """Return the picture."""
        ...


def kaleido_renderer() -> Renderer | None:
    """Return a renderer that uses kaleido; None if kaleido is not installed."""
    if importlib.util.find_spec("kaleido") is None:
        return None

    def draw(figure: dict[str, Any], width: int, height: int) -> Picture:
        # Imported in the thread because it takes a second; it raises an error without a Chrome.
        library: Any = importlib.import_module("kaleido")
        # Starts a Chrome for each picture, which takes two seconds. Kaleido's server would save
        # them, but it waits for ever if its Chrome ends.
        size = {"format": "webp", "width": width, "height": height}
        return Picture(library.calc_fig_sync(figure, opts=size), "image/webp")

    return draw


class Thumbnails:
    """Renders the thumbnails of one app and keeps them in the app's cache for an hour.

    Figures are kept in the cache, too, so any worker that shares the cache can render them.
    """

    def __init__(
        self,
        renderer: Renderer | None,
        prefix: str,
        schedule: Callable[[Callable[[], Coroutine[Any, Any, None]], str], object],
    ) -> None:
        self._renderer = renderer
        self._cache: LazyCache = MemoryCache()
        self._prefix = prefix
        # Runs a coroutine function on the app's event loop, and logs the text if it fails; from any
        # thread.
        self._schedule = schedule
        self._pool = WorkerPool(max_threads=1, max_waiting=_MAX_WAITING)
        self._signer: Signer | None = None
        self._scope = ""

    def open(self, signer: Signer, scope: str, cache: LazyCache) -> None:
        """Set the signer that names figures, and the cache that keeps them."""
        self._signer, self._scope, self._cache = signer, scope, cache

    def close(self) -> None:
        """End the thread."""
        self._pool.close()

    def url_of(self, figure: Any, width: object, height: object) -> str | None:
        """Return the URL of a figure's picture; None if no renderer is available."""
        if self._renderer is None or self._signer is None:
            return None
        encoded = dumps(figure)
        layout = orjson.loads(encoded).get("layout") or {}
        wide = _pixels(width, layout.get("width"), _WIDTH)
        high = _pixels(height, layout.get("height"), _HEIGHT)
        # The name is a keyed hash of the figure: it cannot be guessed, and browsers may cache it.
        name = self._signer.digest("figure", f"{wide} {high}", encoded.decode())
        content = b"%d %d %b" % (wide, high, encoded)

        async def keep() -> None:
            await self._cache.load(self._key("figure", name), run, seconds=_LIFETIME)

        async def run() -> Entry:
            return Entry(content, 1.0)

        self._schedule(keep, "a figure could not be kept for its thumbnail")
        return self._prefix + ROUTE.replace("<name>", name)

    async def serve(self, name: str) -> quart.Response:
        """Return the response to a request for a picture."""
        try:
            entry = await self._picture(name)
        except Exception:  # boundary: the renderer is user code; the page shows a message
            logger.exception("a thumbnail could not be rendered")
            return quart.Response("this figure could not be rendered", 404, mimetype="text/plain")
        if entry is None:
            return quart.Response("no such figure, or it has expired", 404, mimetype="text/plain")
        media_type, _, content = entry.content.partition(b"\n")
        headers = {"Cache-Control": f"private, max-age={_LIFETIME}, immutable"}
        return quart.Response(content, mimetype=media_type.decode(), headers=headers)

    async def _picture(self, name: str) -> Entry | None:
        key = self._key("picture", name)
        if (drawn := await self._cache.find(key)) is not None:
            return drawn
        figure = await self._cache.find(self._key("figure", name))
        if figure is None:
            return None

        async def run() -> Entry:
            async with asyncio.timeout(_DRAW_TIMEOUT):
                return Entry(await self._pool.run(self._draw, figure.content), 1.0)

        return await self._cache.load(key, run, seconds=_LIFETIME)

    def _draw(self, content: bytes) -> bytes:
        width, height, figure = content.split(b" ", 2)
        assert self._renderer is not None
        picture = self._renderer(orjson.loads(figure), int(width), int(height))
        return picture.media_type.encode() + b"\n" + picture.content

    def _key(self, kind: str, name: str) -> Key:
        return Key(self._scope, kind, name, "")


def _pixels(*sizes: object) -> int:
    """Return the first of ``sizes`` that is a positive number."""
    return next(int(size) for size in sizes if isinstance(size, int | float) and size > 0)
