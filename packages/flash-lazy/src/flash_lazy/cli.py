"""The command line: ``flash-lazy invalidate``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from functools import reduce
from typing import TYPE_CHECKING, Any

import orjson

from flash import FlashError
from flash.importing import importing_for_a_command
from flash_lazy.cache.redis import RedisCache
from flash_lazy.loader import LOADERS, Loader
from flash_lazy.remote_invalidation import ENVIRONMENT, address_here, invalidate_at

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with status 1 and one line of text after an error."""
    options = _parser().parse_args(arguments)
    try:
        apps = _invalidate(options)
    except (FlashError, TypeError) as error:
        sys.exit(f"flash-lazy: {error}")
    if not apps:
        sys.exit(
            "flash-lazy: no app has used a cache with this address and prefix in the last week; "
            "nothing was invalidated"
        )
    print(f"{options.loader} invalidated in {apps} app{'s' * (apps > 1)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flash-lazy", description="Invalidate what the panels of running apps have loaded."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    invalidate = commands.add_parser(
        "invalidate",
        help="drop the results of a loader in every app that uses a cache in Redis",
        description="Drop the results of a loader, for these arguments or for all, in every app "
        "that uses the cache in Redis; live panels load again. The module is imported.",
    )
    invalidate.add_argument(
        "loader", metavar="MODULE:LOADER", help="such as shop.panels:stock, or app:its-name"
    )
    invalidate.add_argument(
        "arguments",
        nargs="*",
        metavar="ARG",
        help="JSON, or a text as it is: 7 is a number and '\"7\"' a text; name=ARG for a parameter "
        "by name; without any, all results are dropped",
    )
    invalidate.add_argument(
        "--url", help=f"the address of the Redis that is the apps' cache; by default {ENVIRONMENT}"
    )
    invalidate.add_argument("--prefix", help="the prefix= of the apps' RedisCache, if they set one")
    return parser


def _invalidate(options: argparse.Namespace) -> int:
    loader = _find(options.loader)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for text in options.arguments:
        name, equals, value = text.partition("=")
        if equals and name in loader.parameters:
            kwargs[name] = _value(value)
        else:
            args.append(_value(text))
    url = options.url or address_here()
    cache = RedisCache(url, prefix=options.prefix) if options.prefix and url else url
    return invalidate_at(cache, loader, *args, **kwargs)


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _find(text: str) -> Loader[...]:
    """Import the module, and return its loader of that attribute or name."""
    module, colon, name = text.partition(":")
    if not colon or not module or not name:
        sys.exit(f"flash-lazy: {text!r} names no loader; write module:loader, such as app:stock")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        # As `python -m` does.
        sys.path.insert(0, here)
    try:
        with importing_for_a_command():
            imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        sys.exit(f"flash-lazy: no module named {error.name!r} here or on sys.path")
    try:
        found = reduce(getattr, name.split("."), imported)
    except AttributeError:
        found = None
    if not isinstance(found, Loader):
        named = LOADERS.named(name)
        if len(named) != 1:
            what = "no loader" if found is None else f"a {type(found).__name__}, which is no loader"
            sys.exit(f"flash-lazy: {module}:{name} is {what}; give a function decorated with @lazy")
        found = named[0]
    return found


if __name__ == "__main__":
    main()
