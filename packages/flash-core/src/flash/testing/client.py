"""The browserless client: an app's pages and callbacks, in this process and on this loop."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlencode, urljoin, urlsplit

from dash import Dash
from plotly.utils import PlotlyJSONEncoder

from flash.target import check_application
from flash.testing.asgi import Exchange, Lifespan, Response, http_scope
from flash.testing.calls import (
    Callback,
    CallbackResult,
    Key,
    Prop,
    find_callback,
    read_outputs,
    read_side_updates,
    read_updates,
    request_body,
    without_values,
)
from flash.testing.cookies import Cookies
from flash.testing.errors import CallbackFailed, CallbackNotFound, PageFailed
from flash.testing.layout import Node

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from types import TracebackType

_CONFIG = re.compile(r'<script id="_dash-config"[^>]*>(.*?)</script>', re.DOTALL)
_MAX_REDIRECTS = 20
# A background callback is looked at this often even where its page would look less often.
_MAX_INTERVAL = 0.05
# The ids that `dash.page_container` is made of.
_PAGES_LOCATION = "_pages_location"
_PAGES_CONTENT = Prop("_pages_content", "children")


@dataclass(frozen=True, slots=True)
class _Page:
    """A loaded page, as far as the renderer would remember it."""

    url: str
    config: Mapping[str, Any]
    callbacks: tuple[Callback, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """A background callback that a page waits for; ``outputs`` is JSON, to find its successor."""

    outputs: str
    cancel: tuple[Prop, ...]


class FlashClient:
    """Speaks to a Flash app, or to any Dash app on an ASGI server object, as a browser would.

    ``async with`` runs the app's start and stop. The path of ``base_url`` is where the app's pages
    live; without one it is the app's own prefix. Cookies persist from request to request.
    ``headers`` go with every request. An app that does not return ``grace`` seconds after its
    answer was taken or abandoned is cancelled.
    """

    def __init__(
        self,
        app: Any,
        *,
        base_url: str = "http://testserver",
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        grace: float = 5.0,
    ) -> None:
        self._app = check_application(app, type(app).__name__)
        prefix = urlsplit(base_url).path
        if not prefix and isinstance(app, Dash):
            prefix = cast("str", app.config["routes_pathname_prefix"])
        self._base_url = urljoin(base_url, f"{prefix.rstrip('/')}/")
        # What the client's browser would remember.
        self.cookies = Cookies(self._base_url, cookies)
        # What goes with every request.
        self.headers = dict(headers or {})
        self._grace = grace
        self._lifespan = Lifespan(self._app)
        self._page: _Page | None = None
        self._jobs: dict[str, _Job] = {}

    async def __aenter__(self) -> Self:
        await self._lifespan.startup()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._lifespan.shutdown()

    # Requests

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
        """Send a request and hand out the answer while it arrives; leaving disconnects.

        ``path`` is absolute on the server, the app's prefix included, or a URL. Of ``json``,
        ``form`` and ``body`` one is sent. Redirects are not followed.
        """
        url = urljoin(self._base_url, path)
        if params:
            url = f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(params, doseq=True)}"
        sent = {"host": urlsplit(url).netloc, "accept": "*/*"}
        if json is not None:
            body = _dump(json)
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
        """Send a request and return the whole answer; see `stream` for the arguments.

        Cancelling the call disconnects, as a browser does that leaves the page.
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
                raise PageFailed(response.url, response.status, "it redirects without end")
            path, params = urljoin(response.url, target), None
            if response.status not in (307, 308) and method.upper() != "HEAD":
                method, json, form, body = "GET", None, None, b""

    async def get(self, path: str, **request: Any) -> Response:
        """Send a GET; the keywords are those of `request`."""
        return await self.request("GET", path, **request)

    async def post(self, path: str, **request: Any) -> Response:
        """Send a POST; the keywords are those of `request`."""
        return await self.request("POST", path, **request)

    # Pages

    async def layout(self, path: str | None = None) -> Node:
        """Load a page and return what a browser on that path shows before callbacks run.

        ``path`` may hold a query and a hash; without one it is the app's root. Of an app with
        pages the page's own content stands in its place. What follows on this client, callbacks
        included, comes from the page loaded last.
        """
        page = await self._open(path or self._base_url)
        answer = await self.get(
            urljoin(self._base_url, "_dash-layout"), headers={"referer": page.url}
        )
        if answer.status != 200:
            raise PageFailed(answer.url, answer.status, answer.text)
        tree = _placed(Node.of(answer.json()), page)
        for callback in page.callbacks:
            if _PAGES_CONTENT in callback.outputs:
                return _placed(await self._routed(tree, page, callback), page)
        return tree

    async def call(
        self,
        output: Key | Sequence[Key] | None,
        values: Mapping[Any, Any] | None = None,
        state: Mapping[Any, Any] | None = None,
        *,
        triggered: Iterable[Key] | None = None,
    ) -> CallbackResult:
        """Run the callback that writes ``output``, as a page would that has these ``values``.

        Keys are ``"id.property"`` or `Input`, `State` and `Output` objects, of which those with a
        dictionary as id must name single components. ``values`` holds Inputs and States alike,
        ``state`` is there for who likes them apart. What is not given is unset: None for the
        callback, an empty list for ALL. ``triggered`` names the Inputs that changed, by default
        all that are given; an empty one is what a page sends when it loads. An output of None
        asks for the callback without outputs that takes these values.

        A background callback is followed to its end. Raises `CallbackNotFound` where the app has
        no such callback, `CallbackFailed` where the server answers with an error.
        """
        page = self._page or await self._open(self._base_url)
        wanted = read_outputs(output)
        given = {Prop.of(key): value for key, value in {**(values or {}), **(state or {})}.items()}
        changed = None if triggered is None else [Prop.of(key) for key in triggered]
        callback = find_callback(page.callbacks, wanted, [*given, *(changed or [])])
        if callback.clientside:
            raise CallbackNotFound(
                str(callback), "it runs in the browser only; use flash_browser for it"
            )
        if changed is None:
            changed = [p for p in given if any(spec.covers(p) for spec in callback.inputs)]
        body = request_body(callback, wanted, given, changed)
        # A callback without Outputs has nothing to be asked for: all that it sets is its result.
        return await self._execute(page, callback, body, wanted or callback.outputs)

    async def _open(self, path: str) -> _Page:
        answer = await self.get(path, headers={"accept": "text/html"}, follow_redirects=True)
        config = _CONFIG.search(answer.text)
        if answer.status != 200 or config is None:
            raise PageFailed(answer.url, answer.status, answer.text)
        dependencies = await self.get(
            urljoin(self._base_url, "_dash-dependencies"), headers={"referer": answer.url}
        )
        if dependencies.status != 200:
            raise PageFailed(dependencies.url, dependencies.status, dependencies.text)
        url = urljoin(answer.url, path) if "#" in path else answer.url
        callbacks = tuple(Callback.of(entry) for entry in dependencies.json())
        self._page = _Page(url, json.loads(config[1]), callbacks)
        return self._page

    async def _routed(self, tree: Node, page: _Page, router: Callback) -> Node:
        """Put the content of the page's path into the container of an app with pages."""
        props = {node.id: node.props for node in tree.walk() if isinstance(node.id, str)}
        known = {
            prop: props[prop.id][prop.name]
            for prop in (*router.inputs, *router.state)
            if prop.name in props.get(prop.id, {})
        }
        location = [prop for prop in router.inputs if prop.id == _PAGES_LOCATION]
        body = request_body(router, router.outputs, known, location)
        result = await self._execute(page, router, body, router.outputs)
        changes = {**result.updates, **result.side_updates}
        return tree.replace(
            {(prop.id, prop.name): changes[str(prop)] for prop in map(Prop.of, changes)}
        )

    # Callbacks

    async def _execute(
        self, page: _Page, callback: Callback, body: Mapping[str, Any], wanted: Sequence[Prop]
    ) -> CallbackResult:
        """Post a callback and follow it to its end, as the renderer's `handleServerside` does."""
        query = [*self._job_arguments(callback, body)]
        handles: dict[str, str] = {}
        progress: list[Mapping[str, Any]] = []
        side_updates: dict[str, Any] = {}
        try:
            while True:
                answer = await self._post(page, callback, body, query)
                overtaken = bool(handles) and handles["job"] not in self._jobs
                if answer.status == 204 or overtaken:
                    # Prevented, cancelled, or overtaken by a later call of the same callback.
                    return CallbackResult(answer, tuple(wanted), {}, side_updates, tuple(progress))
                if answer.status != 200:
                    raise CallbackFailed(callback.output, answer.status, answer.text)
                if "application/x-ndjson" in answer.headers.get("content-type", ""):
                    return _streamed(callback, answer, tuple(wanted))
                reply: dict[str, Any] = answer.json()
                side_updates.update(read_side_updates(reply.get("sideUpdate", {})))
                if reply.get("progress"):
                    progress.append(read_side_updates(reply["progress"]))
                if "response" in reply or callback.interval is None:
                    updates = read_updates(reply.get("response", {}))
                    return CallbackResult(
                        answer, tuple(wanted), updates, side_updates, tuple(progress)
                    )
                if "job" in reply and not handles:
                    handles = {"cacheKey": reply["cacheKey"], "job": reply["job"]}
                    cancel = tuple(map(_dependency, reply.get("cancel", [])))
                    self._jobs[reply["job"]] = _Job(json.dumps(body.get("outputs")), cancel)
                    body = without_values(body)
                query = list(handles.items())
                await asyncio.sleep(min(callback.interval, _MAX_INTERVAL))
        finally:
            self._jobs.pop(handles.get("job", ""), None)

    def _job_arguments(
        self, callback: Callback, body: Mapping[str, Any]
    ) -> Iterable[tuple[str, str]]:
        """Name the running jobs that this call overtakes or cancels."""
        outputs = json.dumps(body.get("outputs"))
        for job_id, job in list(self._jobs.items()):
            if job.outputs == outputs:
                del self._jobs[job_id]
                yield "oldJob", job_id
            if set(job.cancel) & set(callback.inputs):
                yield "cancelJob", job_id

    async def _post(
        self,
        page: _Page,
        callback: Callback,
        body: Mapping[str, Any],
        query: Sequence[tuple[str, str]],
    ) -> Response:
        config = page.config
        headers = {
            "accept": "application/json",
            "content-type": "application/json",
            "referer": page.url,
        }
        token = self.cookies.get(config.get("csrf_token_name", "_csrf_token"))
        if token:
            headers[config.get("csrf_header_name", "X-CSRFToken")] = token
        sent = _dump(body)
        if callback.compress_from is not None and len(sent) > callback.compress_from:
            sent = gzip.compress(sent)
            headers["content-encoding"] = "gzip"
        identity = [("endId", config["end_id"])] if config.get("end_id") else []
        return await self.post(
            urljoin(self._base_url, "_dash-update-component"),
            params=[*identity, *query],
            headers=headers,
            body=sent,
        )


def _placed(tree: Node, page: _Page) -> Node:
    """Put the page's address into each `dcc.Location`, as that component does in a browser."""
    url = urlsplit(page.url)
    address = {
        "pathname": url.path,
        "search": f"?{url.query}" if url.query else "",
        "hash": f"#{url.fragment}" if url.fragment else "",
        "href": page.url,
    }
    return tree.replace(
        {
            (node.id, prop): value
            for node in tree.find_all("Location")
            if isinstance(node.id, str)
            for prop, value in address.items()
            if node.props.get(prop) is None
        }
    )


def _streamed(callback: Callback, answer: Response, wanted: tuple[Prop, ...]) -> CallbackResult:
    """Read what a streaming callback yielded; the last value of each output is its result."""
    frames: list[Mapping[str, Any]] = []
    updates: dict[str, Any] = {}
    side_updates: dict[str, Any] = {}
    for line in filter(None, map(str.strip, answer.text.splitlines())):
        frame: dict[str, Any] = json.loads(line)
        if frame.get("error"):
            raise CallbackFailed(
                callback.output, answer.status, frame["error"].get("message", line)
            )
        side_updates.update(read_side_updates(frame.get("sideUpdate", {})))
        if "response" in frame:
            frames.append(read_updates(frame["response"]))
            updates.update(frames[-1])
    return CallbackResult(answer, wanted, updates, side_updates, frames=tuple(frames))


def _dependency(item: Mapping[str, Any]) -> Prop:
    return Prop.of(f"{item['id']}.{item['property']}")


def _dump(value: Any) -> bytes:
    return json.dumps(value, cls=PlotlyJSONEncoder, separators=(",", ":")).encode()
