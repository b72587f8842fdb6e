"""The request that opened a connection or a stream, available as long as that is open."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

import quart
from quart.globals import request_ctx

from flash.moved import renamed_exports

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from werkzeug.datastructures import Headers, MultiDict

T = TypeVar("T")

# Key of the ASGI state under which `flash.serving` stores the event that says: server is stopping.
_DRAINING = "flash.draining"


def draining_event(scope: Mapping[str, Any]) -> asyncio.Event | None:
    """Return the event that is set when the server begins to stop; None if it provides none."""
    return (scope.get("state") or {}).get(_DRAINING)


class OpeningRequest:
    """The request that opened a connection; ``authorize`` decides by it.

    It is the base class of `Connection` and `StreamRequest`. Quart's request is built on the first
    access to one of the properties.
    """

    def __init__(self, scope: dict[str, Any]) -> None:
        self._scope = scope
        # The context in which Quart's request is the current one. Empty until `bind_context`, which
        # is called before any other code gets the object.
        self._context = Context()
        # The user name that ``authorize`` returned, or None if it returned True.
        self.user: str | None = None

    @property
    def request(self) -> quart.Request:
        """Quart's request; of a WebSocket, its opening request as a GET."""
        return self._read(lambda: request_ctx.request)

    @property
    def path(self) -> str:
        """The path, without the prefix under which a proxy serves the app."""
        return self._read(lambda: quart.request.path)

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The variables of a path such as ``/room/<name>``."""
        return self._scope.get("path_params", {})

    @property
    def query(self) -> MultiDict[str, str]:
        """The parameters of the query string."""
        return self._read(lambda: quart.request.args)

    @property
    def headers(self) -> Headers:
        """The headers of the request."""
        return self._read(lambda: quart.request.headers)

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies of the request."""
        return self._read(lambda: quart.request.cookies)

    @property
    def session(self) -> Mapping[str, Any]:
        """A copy of Quart's session as it was when ``authorize`` was called last."""
        return self._read(lambda: dict(quart.session))

    @property
    def remote_address(self) -> str | None:
        """The address of the client."""
        return self._read(lambda: quart.request.remote_addr)

    def bind_context(self, context: Context) -> None:
        """Store the context in which Quart's request is the current one."""
        self._context = context

    def context(self) -> Context:
        """Return a new context for code that runs on behalf of this request."""
        return self._context.copy()

    def _read(self, read: Callable[[], T]) -> T:
        # A context cannot be entered twice, and the caller may already run in this one.
        return self._context.copy().run(read)


__getattr__ = renamed_exports(__name__, {"Visit": "OpeningRequest"})
