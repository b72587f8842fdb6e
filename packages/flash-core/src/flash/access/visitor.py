"""`Visitor`: who asks, as every ``authorize`` gets it, on each way in."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    import quart
    from werkzeug.datastructures import Headers, MultiDict

    from flash.access.opening_request import OpeningRequest

_KINDS_WITHOUT_DEFAULT = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


class VisitingPage(Protocol):
    """The page that asks, as the live link knows it: a `flash_ws.Client`."""

    # For the application's use; lives as long as the page.
    data: dict[str, Any]
    # Names of the groups joined.
    groups: set[str]

    @property
    def id(self) -> str:
        """The public identifier of the page; not a secret."""
        ...

    @property
    def user(self) -> str | None:
        """The user that was named when the link was opened."""
        ...

    @property
    def path(self) -> str:
        """The path of the page's location when it first connected."""
        ...

    def join(self, group: str) -> asyncio.Task[bool]:
        """Join a group."""
        ...

    def leave(self, group: str) -> None:
        """Leave a group."""
        ...


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Visitor:
    """Who asks: the request that opened the connection, its session, and the user known so far.

    ``authorize(visitor)`` returns True or the name of a user to allow, a false value to refuse. It
    may be async. What it reads is that of the moment of asking. Attributes that are not listed
    here are those of ``client`` or of the request that opened the connection, which older functions
    read.
    """

    _opening: OpeningRequest
    # The user that the ``authorize`` of wider scope has named: that of the app for one of `Live`
    # or an endpoint, that of the link for a channel or a shared callback. None if it named nobody.
    user: str | None = None
    # The page that asks for a channel or changes a shared callback; None where a connection opens.
    client: VisitingPage | None = None

    @property
    def request(self) -> quart.Request:
        """The request; of a WebSocket, its opening request as a GET."""
        return self._opening.request

    @property
    def path(self) -> str:
        """The path of the page's location if there is a ``client``, else that of the request."""
        return self._opening.path if self.client is None else self.client.path

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The variables of an endpoint's path such as ``/room/<name>``."""
        return self._opening.path_params

    @property
    def query(self) -> MultiDict[str, str]:
        """The parameters of the query string."""
        return self._opening.query

    @property
    def host(self) -> str:
        """The host that the request names, with its port."""
        return self.request.host

    @property
    def headers(self) -> Headers:
        """The headers of the request."""
        return self._opening.headers

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies of the request."""
        return self._opening.cookies

    @property
    def session(self) -> Mapping[str, Any]:
        """A copy of Quart's session at the moment of asking."""
        return self._opening.session

    @property
    def remote_address(self) -> str | None:
        """The address of the browser, or of a proxy that is not trusted."""
        return self._opening.remote_address

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Return an attribute of the page or of the opening request, for older functions."""
            if not name.startswith("_"):
                for source in (self.client, self._opening):
                    if source is not None and hasattr(source, name):
                        return getattr(source, name)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def takes_visitor(function: Callable[..., object]) -> bool:
    """Tell whether a function wants a `Visitor`: whether it has a parameter without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some builtins and callables of extensions have no signature.
        return False
    return any(
        each.kind in _KINDS_WITHOUT_DEFAULT and each.default is inspect.Parameter.empty
        for each in parameters
    )
