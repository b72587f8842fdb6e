"""Panels that load when they are seen, for Flash."""

from flash_lazy.cache import Entry, LazyCache, MemoryCache
from flash_lazy.component import LazyLoad, LazyPanel, Skeleton
from flash_lazy.errors import ArgumentError, LoadersBusy, LoaderTimeout, TokenRefused
from flash_lazy.loader import Loader, lazy
from flash_lazy.setup import configure

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "Entry",
    "LazyCache",
    "LazyLoad",
    "LazyPanel",
    "Loader",
    "LoaderTimeout",
    "LoadersBusy",
    "MemoryCache",
    "Skeleton",
    "TokenRefused",
    "__version__",
    "configure",
    "lazy",
]

# What Dash puts into every page of an app that imports this package.
_js_dist = [{"relative_package_path": "flash_lazy.js", "namespace": "flash_lazy"}]
_css_dist = [{"relative_package_path": "flash_lazy.css", "namespace": "flash_lazy"}]
