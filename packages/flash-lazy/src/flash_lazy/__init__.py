"""Panels for Flash that load when they come near the viewport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash.collector import paused_collector as _paused_collector

with _paused_collector():
    from flash.moved import renamed_exports as _renamed_exports
    from flash_lazy.cache.seam import Entry, Invalidation, Key, LazyCache, MemoryCache
    from flash_lazy.components.component import LazyLoad, LazyPanel, Skeleton
    from flash_lazy.components.thumbnail import Picture, Renderer
    from flash_lazy.errors import ArgumentError, LoadersBusy, LoaderTimeout, TokenRefused
    from flash_lazy.loader import Loader, lazy
    from flash_lazy.remote_invalidation import invalidate_at, invalidate_at_async
    from flash_lazy.setup import configure

if TYPE_CHECKING:
    from flash_lazy.cache.redis import RedisCache
    from flash_lazy.cache.redis_connection import CacheStatistics

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "CacheStatistics",
    "Entry",
    "Invalidation",
    "Key",
    "LazyCache",
    "LazyLoad",
    "LazyPanel",
    "Loader",
    "LoaderTimeout",
    "LoadersBusy",
    "MemoryCache",
    "Picture",
    "RedisCache",
    "Renderer",
    "Skeleton",
    "TokenRefused",
    "__version__",
    "configure",
    "invalidate_at",
    "invalidate_at_async",
    "lazy",
]


# Imported on first access, since they import the client for Redis, which few apps need.
_LATE = frozenset({"CacheStatistics", "RedisCache"})


def _import_late(name: str) -> object:
    """Return a name that is imported late."""
    if name == "RedisCache":
        from flash_lazy.cache.redis import RedisCache

        return RedisCache
    if name == "CacheStatistics":
        from flash_lazy.cache.redis_connection import CacheStatistics

        return CacheStatistics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__getattr__ = _renamed_exports(__name__, {"LineStatistics": "CacheStatistics"}, _import_late)


def __dir__() -> list[str]:
    """Return all names of the module, those that are imported late included."""
    return sorted({*globals(), *_LATE})


# Dash adds these files to every page of an app that imports this package.
_js_dist = [{"relative_package_path": "flash_lazy.js", "namespace": "flash_lazy"}]
_css_dist = [{"relative_package_path": "flash_lazy.css", "namespace": "flash_lazy"}]
