"""The cookies of a client, with a browser's rules for sending them."""

from __future__ import annotations

from collections.abc import MutableMapping
from email.message import Message
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, cast
from urllib.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from http.client import HTTPResponse


class Cookies(MutableMapping[str, str]):
    """A mapping of cookie names to values; observes path, domain, expiry and ``Secure``.

    Setting an item creates a cookie for every path of ``origin``. If a name was set for several
    paths, its value is the one that was set last.
    """

    def __init__(self, origin: str, values: Mapping[str, str] | None = None) -> None:
        self._origin = origin
        self._jar = CookieJar()
        self.update(values or {})

    def __getitem__(self, name: str) -> str:
        return self._values()[name]

    def __setitem__(self, name: str, value: str) -> None:
        self.store(self._origin, [f"{name}={value}; Path=/"])

    def __delitem__(self, name: str) -> None:
        found = [cookie for cookie in self._jar if cookie.name == name]
        if not found:
            raise KeyError(name)
        for cookie in found:
            self._jar.clear(cookie.domain, cookie.path, cookie.name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def __repr__(self) -> str:
        return f"Cookies({self._values()!r})"

    def store(self, url: str, set_cookie: Iterable[str]) -> None:
        """Store the cookies in the ``Set-Cookie`` headers of a response from ``url``."""
        self._jar.extract_cookies(cast("HTTPResponse", _SetCookieHeaders(set_cookie)), Request(url))

    def header(self, url: str) -> str | None:
        """Return the ``Cookie`` header for a request to ``url``; None if no cookie applies."""
        request = Request(url)
        self._jar.add_cookie_header(request)
        return request.get_header("Cookie")

    def _values(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self._jar}


class _SetCookieHeaders:
    """The part of an HTTP response that `CookieJar` reads."""

    def __init__(self, set_cookie: Iterable[str]) -> None:
        self._message = Message()
        for value in set_cookie:
            self._message["Set-Cookie"] = value

    def info(self) -> Message:
        return self._message
