"""Headers that Flash adds to responses of the server: to HTML pages, and to cookies of sessions.

A header that the app sets itself is kept.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    import quart

    Header = tuple[bytes, bytes]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

# What pages get unless the app says otherwise.
PAGE_HEADERS = {
    # The browser does not guess that a file of another type is a script or a page.
    "X-Content-Type-Options": "nosniff",
    # Other sites get the origin of the page, but not its path and query.
    "Referrer-Policy": "strict-origin-when-cross-origin",
    # Pages of other sites cannot show the app in a frame and have the user click in it.
    "X-Frame-Options": "SAMEORIGIN",
}

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Header values as RFC 9110 allows them, in ASCII.
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


class PageHeaders:
    """The headers of the HTML pages of one app; a value of None leaves out the default."""

    def __init__(self, changes: Mapping[str, str | None]) -> None:
        self._headers: list[Header] = []
        self.update(PAGE_HEADERS)
        self.update(changes)

    def update(self, changes: Mapping[str, str | None]) -> None:
        """Set headers for the pages that are made from now on; None leaves one out.

        Raises `ConfigurationError` for what is no header.
        """
        headers = dict(self._headers)
        for name, value in changes.items():
            if not _NAME.fullmatch(name) or (value is not None and not _VALUE.fullmatch(value)):
                raise ConfigurationError(
                    f"page_headers={{{name!r}: {value!r}}}: must be the name and the value of a "
                    "header, in one line of ASCII, or None as the value to leave the header out"
                )
            headers.pop(name.lower().encode(), None)
            if value is not None:
                headers[name.lower().encode()] = value.encode()
        self._headers = list(headers.items())

    @property
    def names(self) -> set[str]:
        """The names of the headers, in lower case."""
        return {name.decode() for name, _ in self._headers}

    def missing_from(self, sent: Iterable[Header]) -> list[Header]:
        """Return the headers to add to a page with the headers ``sent``."""
        by_name = {name.lower(): value for name, value in sent}
        missing = [each for each in self._headers if each[0] not in by_name]
        policy = by_name.get(b"content-security-policy")
        if policy is None:
            policy = dict(missing).get(b"content-security-policy", b"")
        if b"frame-ancestors" in policy.lower():
            # It says the same more precisely, and browsers then ignore the older header.
            missing = [each for each in missing if each[0] != b"x-frame-options"]
        return missing


def use_safe_cookies(server: quart.Quart) -> None:
    """Let the session cookie of ``server`` be ``SameSite=Lax``, and ``Secure`` where TLS is used.

    ``SESSION_COOKIE_SAMESITE`` and ``SESSION_COOKIE_SECURE`` that the app sets are kept. None for
    the latter means: Secure if the request came over https.
    """
    config = server.config
    if config.get("SESSION_COOKIE_SAMESITE") is None:
        config["SESSION_COOKIE_SAMESITE"] = "Lax"
    if config.get("SESSION_COOKIE_SECURE") is False:
        config["SESSION_COOKIE_SECURE"] = None


def with_headers(
    send: Send,
    scope: dict[str, Any],
    pages_of: Callable[[dict[str, Any]], PageHeaders | None],
    config: Mapping[str, Any],
) -> Send:
    """Return a ``send`` that adds the headers of pages, and Secure to the session's cookie.

    ``pages_of`` returns the headers of the app that serves ``scope``; it is called for HTML alone.
    """
    is_secure = scope.get("scheme") == "https" and config.get("SESSION_COOKIE_SECURE") is None

    # No ``async def``, since every message of every response comes here.
    def send_with_headers(message: dict[str, Any]) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers: Iterable[Header] = message.get("headers", ())
            if not isinstance(headers, (list, tuple)):
                # An iterator can be read once.
                headers = list(headers)
                message = {**message, "headers": headers}
            pages = pages_of(scope) if _is_html(headers) else None
            if is_secure or pages is not None:
                changed = list(headers)
                if is_secure:
                    cookie = f"{config['SESSION_COOKIE_NAME']}=".encode()
                    changed = [_secured(header, cookie) for header in changed]
                if pages is not None:
                    changed += pages.missing_from(changed)
                message = {**message, "headers": changed}
        return send(message)

    return send_with_headers


def _is_html(headers: Iterable[Header]) -> bool:
    for name, value in headers:
        if name == b"content-type" or name.lower() == b"content-type":
            return value.startswith(b"text/html")
    return False


def _secured(header: Header, cookie: bytes) -> Header:
    name, value = header
    if name.lower() != b"set-cookie" or not value.startswith(cookie):
        return header
    attributes = {part.strip().lower() for part in value.split(b";")[1:]}
    return header if b"secure" in attributes else (name, value + b"; Secure")


def changes_here() -> dict[str, str | None]:
    """Return what differs from the default headers of pages in a notebook.

    A notebook has another origin than the app, and shows it in a frame.
    """
    return {"X-Frame-Options": None} if "ipykernel" in sys.modules else {}
