"""Invalidating from a process that serves no app, such as a script, by the address of the cache."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from flash import ConfigurationError
from flash.callbacks.functions import name_of, short_name_of

if TYPE_CHECKING:
    from flash_lazy.cache.redis import RedisCache
    from flash_lazy.loader import Loader

# The address of a deployment's Redis, which is that of its cache too, unless the app says another.
ENVIRONMENT = "FLASH_REDIS_URL"
# That of its broker, which comes first where both are set, as it does in the app.
_BROKER_ENVIRONMENT = "FLASH_BROKER_URL"


async def invalidate_at_async(
    cache: str | RedisCache | None, loader: Loader[...], /, *args: Any, **kwargs: Any
) -> int:
    """Drop results in every app that uses the cache at an address, as `Loader.invalidate` does.

    ``cache`` is the address of a Redis; None for ``FLASH_BROKER_URL``, else ``FLASH_REDIS_URL``; or
    a `RedisCache` with the ``prefix`` of the apps, which need not be open. Without arguments all
    results of the loader are dropped. Pages of a live loader load it again. No signing secret is
    needed.

    Returns the number of apps that the cache knows, running or not; an app is forgotten a week
    after its last worker, and not before its results expire. Raises ``TypeError`` and
    `ArgumentError` for wrong arguments, `ConfigurationError` for an address that is no Redis,
    `flash.redis.errors.RedisUnavailable` and `RedisRefused`.
    """
    call = loader.call_of(*args, **kwargs) if args or kwargs else None
    names = [loader.name]
    if loader.name == name_of(loader.function):
        # The same loader in an app that was started as a script, with `python app.py`.
        names.append(f"__main__.{short_name_of(loader.function)}")
    return await _cache_of(cache).forget_everywhere(
        names, None if call is None else call.arguments, seconds=loader.lifetime
    )


def invalidate_at(
    cache: str | RedisCache | None, loader: Loader[...], /, *args: Any, **kwargs: Any
) -> int:
    """Do what `invalidate_at_async` does, and wait for it; not on an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(invalidate_at_async(cache, loader, *args, **kwargs))
    raise ConfigurationError(
        "invalidate_at() would block the event loop; await invalidate_at_async(…)"
    )


def address_here() -> str | None:
    """Return the address that the environment has, if it has one."""
    return os.environ.get(_BROKER_ENVIRONMENT) or os.environ.get(ENVIRONMENT) or None


def _cache_of(given: str | RedisCache | None) -> RedisCache:
    # Not above: it brings redis-py, an optional dependency.
    from flash_lazy.cache.redis import RedisCache

    if isinstance(given, RedisCache):
        return given
    address = given or address_here()
    if not address:
        raise ConfigurationError(
            f"where is the cache? Give the redis:// address of the app, or set {ENVIRONMENT}"
        )
    return RedisCache(address)
