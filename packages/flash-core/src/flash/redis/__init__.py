"""The one way to Redis: address, topology, connections, scripts and backoff.

In comes an address (`redis://`, Unix socket, Sentinel or Cluster) with commands and scripts; out
come answers. Called by background jobs, flash-pubsub's broker and flash-lazy's cache, which share
one set of connections per address and event loop.
"""

from __future__ import annotations

import importlib


def require_redis(what: str, extra: str) -> None:
    """Raise ``ImportError`` with the remedy if redis-py, an optional dependency, is absent."""
    try:
        importlib.import_module("redis")
    except ImportError as error:
        raise ImportError(f'{what} needs redis: pip install "{extra}"') from error
