"""Panels for Flash that load when they come near the viewport."""

import warnings

from flash_lazy.cache.redis import RedisCache
from flash_lazy.cache.redis_connection import CacheStatistics
from flash_lazy.cache.seam import Entry, Invalidation, Key, LazyCache, MemoryCache
from flash_lazy.components.component import LazyLoad, LazyPanel, Skeleton
from flash_lazy.components.thumbnail import Picture, Renderer
from flash_lazy.errors import ArgumentError, LoadersBusy, LoaderTimeout, TokenRefused
from flash_lazy.loader import Loader, lazy
from flash_lazy.setup import configure

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
    "lazy",
]


def __getattr__(name: str) -> object:
    """Return `CacheStatistics` under its old name, with a warning."""
    if name != "LineStatistics":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    text = (
        "flash_lazy.LineStatistics is now CacheStatistics; the old name goes with the next release"
    )
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    return CacheStatistics


# Dash adds these files to every page of an app that imports this package.
_js_dist = [{"relative_package_path": "flash_lazy.js", "namespace": "flash_lazy"}]
_css_dist = [{"relative_package_path": "flash_lazy.css", "namespace": "flash_lazy"}]
