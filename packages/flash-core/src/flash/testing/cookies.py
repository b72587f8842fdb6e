"""The cookies that a client remembers, with a browser's rules for which request gets which."""

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
    """Names to values; path, domain, expiry and ``Secure`` of what the server set are honoured.

    Setting an item makes a cookie for every path of ``origin``. One name set for several paths
    reads as the one that was set last.
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
        """Remember what an answer from ``url`` said in its ``Set-Cookie`` headers."""
        self._jar.extract_cookies(cast("HTTPResponse", _SetCookieHeaders(set_cookie)), Request(url))

    def header(self, url: str) -> str | None:
        """Return the ``Cookie`` header of a request to ``url``, None where no cookie is due."""
        request = Request(url)
        self._jar.add_cookie_header(request)
        return request.get_header("Cookie")

    def _values(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self._jar}


class _SetCookieHeaders:
    """As much of an HTTP answer as `CookieJar` reads."""

    def __init__(self, set_cookie: Iterable[str]) -> None:
        self._message = Message()
        for value in set_cookie:
            self._message["Set-Cookie"] = value

    def info(self) -> Message:
        return self._message
