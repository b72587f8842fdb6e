"""`FlashClient`: an app's pages and callbacks without a browser, in the test's event loop."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin, urlsplit

from dash import Dash

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
from flash.testing.errors import CallbackFailed, CallbackNotFound, PageFailed
from flash.testing.http import AppClient
from flash.testing.layout import Node
from flash.testing.wire import dump

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flash.testing.asgi import Response

_CONFIG = re.compile(r'<script id="_dash-config"[^>]*>(.*?)</script>', re.DOTALL)
# Seconds; background callbacks are polled at least this often, even if a page would poll slower.
_MAX_POLL_INTERVAL = 0.05
# The ids of the components in `dash.page_container`.
_PAGES_LOCATION = "_pages_location"
_PAGES_CONTENT = Prop("_pages_content", "children")


@dataclass(frozen=True, slots=True)
class _Page:
    """A loaded page: its URL, configuration and callbacks."""

    url: str
    config: Mapping[str, Any]
    callbacks: tuple[Callback, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """A running background callback; ``outputs`` is JSON, to find a later call that replaces it."""

    outputs: str
    cancel: tuple[Prop, ...]


class FlashClient(AppClient):
    """Loads pages and runs callbacks of a Flash app, or of a Dash app with an ASGI server object.

    The path of ``base_url`` is the prefix of the app's pages; by default it is the app's own
    prefix. Requests, cookies and the start and stop of the app are those of `AppClient`.
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
        prefix = urlsplit(base_url).path
        if not prefix and isinstance(app, Dash):
            prefix = cast("str", app.config["routes_pathname_prefix"])
        super().__init__(
            app,
            base_url=urljoin(base_url, f"{prefix.rstrip('/')}/"),
            cookies=cookies,
            headers=headers,
            grace=grace,
        )
        self._page: _Page | None = None
        # The running background callbacks, by the job ids from the server.
        self._jobs: dict[str, _Job] = {}
        # Held until a started job has its id, so that a later call can cancel or replace it.
        self._start_lock = asyncio.Lock()

    # Pages

    async def layout(self, path: str | None = None) -> Node:
        """Load a page and return its layout as a browser has it before callbacks run.

        ``path`` may contain a query and a hash; by default it is the app's root. In an app with
        pages, the layout contains the content of the page. Later calls on this client, callbacks
        included, belong to the page that was loaded last.
        """
        page = await self._open(path or self.base_url)
        answer = await self.get(
            urljoin(self.base_url, "_dash-layout"), headers={"referer": page.url}
        )
        if answer.status != 200:
            raise PageFailed(answer.url, answer.status, answer.text)
        tree = _with_location(Node.of(answer.json()), page)
        for callback in page.callbacks:
            if _PAGES_CONTENT in callback.outputs:
                return _with_location(await self._with_page_content(tree, page, callback), page)
        return tree

    async def call(
        self,
        output: Key | Sequence[Key] | None,
        values: Mapping[Any, Any] | None = None,
        state: Mapping[Any, Any] | None = None,
        *,
        triggered: Iterable[Key] | None = None,
    ) -> CallbackResult:
        """Run the callback that has the output ``output``, as a page with these ``values`` would.

        Keys are ``"id.property"``, or `Input`, `State` and `Output` objects; one whose id is a
        dictionary must name a single component. ``values`` may contain Inputs and States; States
        may be passed in ``state`` instead. A property without a value is unset: the callback gets
        None, or an empty list for ALL. ``triggered`` lists the Inputs that changed, by default all
        that are given; an empty one is what a page sends when it loads. With an output of None it
        runs the callback without outputs that has these inputs.

        A background callback is polled until it ends. Raises `CallbackNotFound` if the app has no
        such callback, and `CallbackFailed` if the server's response is an error.
        """
        page = self._page or await self._open(self.base_url)
        wanted = read_outputs(output)
        given = {Prop.of(key): value for key, value in {**(values or {}), **(state or {})}.items()}
        changed = None if triggered is None else [Prop.of(key) for key in triggered]
        callback = find_callback(page.callbacks, wanted, [*given, *(changed or [])])
        if callback.clientside:
            raise CallbackNotFound(
                str(callback), "it runs in the browser only; test it with flash_browser"
            )
        if changed is None:
            changed = [p for p in given if any(spec.covers(p) for spec in callback.inputs)]
        body = request_body(callback, wanted, given, changed)
        # For a callback without Outputs, the properties that it sets are the result.
        return await self._execute(page, callback, body, wanted or callback.outputs)

    async def _open(self, path: str) -> _Page:
        answer = await self.get(path, headers={"accept": "text/html"}, follow_redirects=True)
        config = _CONFIG.search(answer.text)
        if answer.status != 200 or config is None:
            raise PageFailed(answer.url, answer.status, answer.text)
        dependencies = await self.get(
            urljoin(self.base_url, "_dash-dependencies"), headers={"referer": answer.url}
        )
        if dependencies.status != 200:
            raise PageFailed(dependencies.url, dependencies.status, dependencies.text)
        url = urljoin(answer.url, path) if "#" in path else answer.url
        callbacks = tuple(Callback.of(entry) for entry in dependencies.json())
        self._page = _Page(url, json.loads(config[1]), callbacks)
        return self._page

    async def _with_page_content(self, tree: Node, page: _Page, router: Callback) -> Node:
        """Put the content for the page's path into the container of an app with pages."""
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
        if callback.interval is not None:
            return await self._follow(page, callback, body, wanted)
        async with self._start_lock:
            query = self._job_arguments(callback, body)
        answer = await self._post(page, callback, body, query)
        if answer.status == 204:
            return CallbackResult(answer, tuple(wanted), {}, {})
        if "application/x-ndjson" in answer.headers.get("content-type", ""):
            return _streamed(callback, answer, wanted)
        reply = _reply(callback, answer)
        return CallbackResult(
            answer,
            tuple(wanted),
            read_updates(reply.get("response", {})),
            read_side_updates(reply.get("sideUpdate", {})),
        )

    async def _follow(
        self, page: _Page, callback: Callback, body: Mapping[str, Any], wanted: Sequence[Prop]
    ) -> CallbackResult:
        """Start a background callback and poll it until it ends, is cancelled or is replaced."""
        async with self._start_lock:
            query = self._job_arguments(callback, body)
            answer = await self._post(page, callback, body, query)
            job_id, handles = self._note_job(callback, body, answer)
        updates: dict[str, Any] = {}
        side_updates: dict[str, Any] = {}
        progress: list[Mapping[str, Any]] = []
        try:
            while answer.status != 204 and (job_id is None or job_id in self._jobs):
                reply = _reply(callback, answer)
                side_updates.update(read_side_updates(reply.get("sideUpdate", {})))
                if reply.get("progress"):
                    progress.append(read_side_updates(reply["progress"]))
                if "response" in reply:
                    updates = read_updates(reply["response"])
                    break
                await asyncio.sleep(min(callback.interval or 0, _MAX_POLL_INTERVAL))
                answer = await self._post(page, callback, without_values(body), handles)
        finally:
            if job_id is not None:
                self._jobs.pop(job_id, None)
        return CallbackResult(answer, tuple(wanted), updates, side_updates, tuple(progress))

    def _note_job(
        self, callback: Callback, body: Mapping[str, Any], answer: Response
    ) -> tuple[str | None, list[tuple[str, str]]]:
        """Register a started job; return its id and the query arguments of its polls."""
        reply = _reply(callback, answer) if answer.status != 204 else {}
        if "job" not in reply:
            return None, []
        cancel = tuple(
            Prop.of(f"{item['id']}.{item['property']}") for item in reply.get("cancel", [])
        )
        self._jobs[reply["job"]] = _Job(json.dumps(body.get("outputs")), cancel)
        return reply["job"], [("cacheKey", reply["cacheKey"]), ("job", reply["job"])]

    def _job_arguments(self, callback: Callback, body: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return query arguments for the running jobs that this call replaces or cancels.

        A replaced job ends without a result for its page.
        """
        outputs = json.dumps(body.get("outputs"))
        replaced = [job_id for job_id, job in self._jobs.items() if job.outputs == outputs]
        for job_id in replaced:
            del self._jobs[job_id]
        cancelled = [
            job_id
            for job_id, job in self._jobs.items()
            if not set(job.cancel).isdisjoint(callback.inputs)
        ]
        return [
            *(("oldJob", job_id) for job_id in replaced),
            *(("cancelJob", job_id) for job_id in cancelled),
        ]

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
        sent = dump(body)
        if callback.compress_from is not None and len(sent) > callback.compress_from:
            sent = gzip.compress(sent)
            headers["content-encoding"] = "gzip"
        identity = [("endId", config["end_id"])] if config.get("end_id") else []
        return await self.post(
            urljoin(self.base_url, "_dash-update-component"),
            params=[*identity, *query],
            headers=headers,
            body=sent,
        )


def _with_location(tree: Node, page: _Page) -> Node:
    """Put the page's URL into each `dcc.Location`, as that component does in a browser."""
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


def _reply(callback: Callback, answer: Response) -> dict[str, Any]:
    if answer.status != 200:
        raise CallbackFailed(callback.output, answer.status, answer.text)
    return answer.json()


def _streamed(callback: Callback, answer: Response, wanted: Sequence[Prop]) -> CallbackResult:
    """Parse the frames of a streaming callback; the result is the last value of each output."""
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
    return CallbackResult(answer, tuple(wanted), updates, side_updates, frames=tuple(frames))
