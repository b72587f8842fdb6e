"""The request that opened a connection or a stream, for as long as that lasts."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

import quart

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from werkzeug.datastructures import Headers, MultiDict

T = TypeVar("T")

# Where the server wrapper puts the event that is set when the server is told to stop.
_DRAINING = "flash.draining"


def draining_event(scope: Mapping[str, Any]) -> asyncio.Event | None:
    """Return what is set when the server that serves ``scope`` is told to stop."""
    return (scope.get("state") or {}).get(_DRAINING)


class Visit:
    """What a browser said when it opened this: what ``authorize`` decides by.

    A page's link, a `Connection` and a `StreamRequest` are all opened by one. Quart's request is
    built when something is read.
    """

    def __init__(self, scope: dict[str, Any]) -> None:
        self._scope = scope
        # Where the request is the one at hand; given by `enter` before anybody else sees the visit.
        self._context = Context()
        # The name that ``authorize`` returned; None where it named nobody.
        self.user: str | None = None

    @property
    def path(self) -> str:
        """The path, without the one under which a proxy shows the app."""
        return self._read(lambda: quart.request.path)

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The variables of a path such as ``/room/<name>``."""
        return self._scope.get("path_params", {})

    @property
    def query(self) -> MultiDict[str, str]:
        """What follows the question mark in the URL."""
        return self._read(lambda: quart.request.args)

    @property
    def headers(self) -> Headers:
        """The request's headers."""
        return self._read(lambda: quart.request.headers)

    @property
    def cookies(self) -> Mapping[str, str]:
        """The request's cookies."""
        return self._read(lambda: quart.request.cookies)

    @property
    def session(self) -> Mapping[str, Any]:
        """A copy of Quart's session as it was when this was opened."""
        return self._read(lambda: dict(quart.session))

    @property
    def remote_address(self) -> str | None:
        """The browser's address."""
        return self._read(lambda: quart.request.remote_addr)

    def enter(self, context: Context) -> None:
        """Take ``context`` as the one in which this request is at hand."""
        self._context = context

    def context(self) -> Context:
        """Return a context to run code in that serves this visit."""
        return self._context.copy()

    def _read(self, look: Callable[[], T]) -> T:
        # A copy, since the code that asks may be running in this very context.
        return self._context.copy().run(look)
