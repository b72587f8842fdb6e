"""Static pictures of figures, in the place of graphs that are not drawn yet."""

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
    from collections.abc import Callable

    from flash_lazy.cache.seam import LazyCache
    from flash_lazy.tokens.token import Signer

logger = logging.getLogger("flash_lazy")

ROUTE = "_flash_lazy/thumbnail/<name>"
# Pixels, where neither panel nor figure says it: plotly's own.
_WIDTH, _HEIGHT = 700, 450
# Seconds for which a figure can be drawn after its page was sent, and its picture is kept.
_LIFETIME = 3600
# Pictures are drawn one after the other; these wait, and one more shows the message.
_MAX_WAITING = 200
# Seconds for a picture, its turn included.
_DRAW_TIMEOUT = 120


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure."""

    content: bytes
    # As in "image/svg+xml".
    media_type: str


class Renderer(Protocol):
    """Draws a figure, given as plotly's JSON has it, in so many pixels.

    Called in a thread of its own, one figure after the other; what it raises is logged, and the
    page shows a message.
    """

    def __call__(self, figure: dict[str, Any], width: int, height: int) -> Picture:
        """Return the picture."""
        ...


def kaleido_renderer() -> Renderer | None:
    """Return what draws with kaleido; None where that is not installed."""
    if importlib.util.find_spec("kaleido") is None:
        return None

    def draw(figure: dict[str, Any], width: int, height: int) -> Picture:
        # It needs a Chrome, and says so; imported in the thread, for that takes a second.
        library: Any = importlib.import_module("kaleido")
        # A Chrome for each picture, which takes two seconds: kaleido's own server would save them,
        # but waits for ever once its Chrome is gone.
        size = {"format": "webp", "width": width, "height": height}
        return Picture(library.calc_fig_sync(figure, opts=size), "image/webp")

    return draw


class Thumbnails:
    """Draws the thumbnails of one app, and keeps them in its cache for an hour.

    Figures wait there, too, so that any worker that shares the cache can draw them.
    """

    def __init__(
        self,
        renderer: Renderer | None,
        prefix: str,
        schedule: Callable[[Any], None],
    ) -> None:
        self._renderer = renderer
        self._cache: LazyCache = MemoryCache()
        self._prefix = prefix
        # Awaits something on the app's loop; from any thread.
        self._schedule = schedule
        self._pool = WorkerPool(max_threads=1, max_waiting=_MAX_WAITING)
        self._signer: Signer | None = None
        self._scope = ""

    def open(self, signer: Signer, scope: str, cache: LazyCache) -> None:
        """Settle what figures are called, and where they are kept."""
        self._signer, self._scope, self._cache = signer, scope, cache

    def close(self) -> None:
        """Let go of the thread."""
        self._pool.close()

    def url_of(self, figure: Any, width: object, height: object) -> str | None:
        """Return where a figure's picture will be found; None where nobody can draw."""
        if self._renderer is None or self._signer is None:
            return None
        encoded = dumps(figure)
        layout = orjson.loads(encoded).get("layout") or {}
        wide = _pixels(width, layout.get("width"), _WIDTH)
        high = _pixels(height, layout.get("height"), _HEIGHT)
        # The name cannot be guessed, and says what it shows: it may be cached for good.
        name = self._signer.digest("figure", f"{wide} {high}", encoded.decode())
        content = b"%d %d %b" % (wide, high, encoded)

        async def keep() -> None:
            await self._cache.load(self._key("figure", name), run, seconds=_LIFETIME)

        async def run() -> Entry:
            return Entry(content, 1.0)

        self._schedule(keep)
        return self._prefix + ROUTE.replace("<name>", name)

    async def serve(self, name: str) -> quart.Response:
        """Answer a page that asks for a picture."""
        try:
            entry = await self._picture(name)
        except Exception:  # a boundary: the renderer is the app's own, and the page has a message
            logger.exception("a thumbnail could not be drawn")
            return quart.Response("this figure could not be drawn", 404, mimetype="text/plain")
        if entry is None:
            return quart.Response("no such figure, or not any more", 404, mimetype="text/plain")
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
    """Return the first size that is a number of pixels."""
    return next(int(size) for size in sizes if isinstance(size, int | float) and size > 0)
