"""`AppClient`: HTTP requests to an ASGI app, with cookies, redirects and the app's lifespan."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

from flash.serving.target import check_application
from flash.testing.asgi import Exchange, Lifespan, Response, http_scope
from flash.testing.cookies import Cookies
from flash.testing.errors import PageFailed
from flash.testing.wire import dump

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

_MAX_REDIRECTS = 20


class AppClient:
    """Sends HTTP requests to an ASGI app in this process; ``async with`` starts and stops the app.

    Paths are relative to ``base_url``. Cookies persist between requests, and every request has
    ``headers``. If the app does not return within ``grace`` seconds after its response was read or
    abandoned, it is cancelled.
    """

    def __init__(
        self,
        app: Any,
        *,
        base_url: str = "http://testserver/",
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        grace: float = 5.0,
    ) -> None:
        # The URL to which paths are relative.
        self.base_url = base_url
        # The cookies that a browser would have stored.
        self.cookies = Cookies(base_url, cookies)
        # The headers of every request.
        self.headers = dict(headers or {})
        self._app = check_application(app, type(app).__name__)
        self._grace = grace
        self._lifespan = Lifespan(self._app)

    async def __aenter__(self) -> Self:
        await self._lifespan.startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lifespan.shutdown()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        body: bytes = b"",
    ) -> AsyncGenerator[Exchange]:
        """Send a request and yield the response while it arrives; leaving the block disconnects.

        ``path`` is an absolute path, including the app's prefix, or a URL. Give only one of
        ``json``, ``form`` and ``body``. Redirects are not followed.
        """
        url = urljoin(self.base_url, path)
        if params:
            url = f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(params, doseq=True)}"
        sent = {"host": urlsplit(url).netloc, "accept": "*/*"}
        if json is not None:
            body = dump(json)
            sent["content-type"] = "application/json"
        elif form is not None:
            body = urlencode(form, doseq=True).encode()
            sent["content-type"] = "application/x-www-form-urlencoded"
        if cookie := self.cookies.header(url):
            sent["cookie"] = cookie
        for extra in (self.headers, headers or {}):
            sent.update((name.lower(), value) for name, value in extra.items())
        if body:
            sent["content-length"] = str(len(body))
        exchange = Exchange(
            self._app,
            http_scope(method, url, sent.items(), self._lifespan.state),
            body,
            url,
        )
        try:
            await exchange.start(self._lifespan.context.copy())
            self.cookies.store(url, exchange.headers.get_all("set-cookie"))
            yield exchange
        finally:
            await exchange.close(self._grace)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | Sequence[tuple[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        body: bytes = b"",
        follow_redirects: bool = False,
    ) -> Response:
        """Send a request and return the complete response; see `stream` for the arguments.

        Cancelling the call disconnects, as a browser does when the user leaves the page.
        """
        redirects = 0
        while True:
            async with self.stream(
                method, path, params=params, headers=headers, json=json, form=form, body=body
            ) as exchange:
                response = await exchange.read()
            target = response.headers.get("location")
            if not follow_redirects or target is None or response.status not in range(300, 400):
                return response
            redirects += 1
            if redirects > _MAX_REDIRECTS:
                raise PageFailed(
                    response.url, response.status, f"it redirects more than {_MAX_REDIRECTS} times"
                )
            path, params = urljoin(response.url, target), None
            if response.status not in (307, 308) and method.upper() != "HEAD":
                method, json, form, body = "GET", None, None, b""

    async def get(self, path: str, **request: Any) -> Response:
        """Send a GET; the keywords are those of `request`."""
        return await self.request("GET", path, **request)

    async def post(self, path: str, **request: Any) -> Response:
        """Send a POST; the keywords are those of `request`."""
        return await self.request("POST", path, **request)
