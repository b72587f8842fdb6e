"""The developer's panel: what a worker tells it, and what pages need to show it.

Pages have it where Dash's developer tools are shown (``dev_tools_ui``). Then each page gets the
script ``flash_dev.js`` and a button among those of Dash, and the app has one route more. Other
pages load nothing of it.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import quart

from flash.callbacks.response import EncodedResponse, to_quart_response
from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flash.callbacks.dispatch import Dispatcher
    from flash.callbacks.execution import WorkerPool
    from flash.loop_watch import LoopWatch

# The path of the data, below the URL prefix of the app.
PATH = "_flash/panel"

# The header with the signed identity of the page that asks; a URL would stand in logs.
PAGE_HEADER = "Flash-Page"

SCRIPT = {"relative_package_path": "flash_dev.js", "namespace": "flash"}

# The button, as Dash's renderer expects a component among its developer tools.
BUTTON: Mapping[str, Any] = {
    "namespace": "flash_dev",
    "type": "PanelButton",
    "props": {},
    "position": "right",
}

Fact: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class PanelSection:
    """A part of the panel: single values by their names, and a table."""

    facts: Mapping[str, Fact] = field(default_factory=dict[str, Fact])
    # Each row has the same names, which are the headings of the table.
    rows: Sequence[Mapping[str, Fact]] = ()


if TYPE_CHECKING:
    # Called on the event loop with the id of the page that asks, or None; must not block. A section
    # that the page has as well, by the same name, is added to it.
    PanelSource: TypeAlias = Callable[[str | None], Mapping[str, PanelSection]]


class PanelApp(Protocol):
    """What the panel needs of the app."""

    pool: WorkerPool
    page_pool: WorkerPool
    internal_pool: WorkerPool
    dispatcher: Dispatcher
    # None if the loop is not watched.
    loop_watch: LoopWatch | None
    panel_sources: list[PanelSource]

    @property
    def shows_dev_tools(self) -> bool:
        """Whether pages show Dash's developer tools."""
        ...

    def page_of(self, token: str) -> str | None:
        """Return the page id in a signed identity, or None if the signature is not valid."""
        ...


class PanelData:
    """Serves the state of this worker to the panel of a page."""

    def __init__(self, app: PanelApp) -> None:
        self._app = app

    async def serve(self) -> quart.Response:
        """Return the sections by name, as JSON; 404 once the developer tools are turned off."""
        if not self._app.shows_dev_tools:
            quart.abort(HTTPStatus.NOT_FOUND)
        token = quart.request.headers.get(PAGE_HEADER)
        sections = self.sections(self._app.page_of(token) if token else None)
        body = dumps({name: asdict(section) for name, section in sections.items()})
        response = EncodedResponse(HTTPStatus.OK, body, cache_control="no-store")
        return to_quart_response(response)

    def sections(self, page: str | None) -> dict[str, PanelSection]:
        """Return the sections of this worker and of the add-ons, for one page or for none."""
        sections = {"Server": self._server()}
        for source in self._app.panel_sources:
            for name, section in source(page).items():
                known = sections.get(name, PanelSection())
                sections[name] = PanelSection(
                    {**known.facts, **section.facts}, [*known.rows, *section.rows]
                )
        return sections

    def _server(self) -> PanelSection:
        app = self._app
        counts, watch = app.dispatcher.counts, app.loop_watch
        calls = sum(counts.by_outcome.values())
        facts: dict[str, Fact] = {
            "worker": str(os.getpid()),
            "callbacks running": counts.running,
            "callbacks answered": calls,
            "milliseconds each": round(1000 * counts.seconds / calls, 1) if calls else None,
        }
        for outcome, count in sorted(counts.by_outcome.items()):
            if outcome not in ("ok", "no_update"):
                facts[f"callbacks: {outcome}"] = count
        facts["event loop blocked"] = None if watch is None else watch.total
        return PanelSection(facts, list(self._pools()))

    def _pools(self) -> Iterable[Mapping[str, Fact]]:
        app = self._app
        pools = {"callbacks": app.pool, "pages": app.page_pool, "Flash's own": app.internal_pool}
        for name, pool in pools.items():
            state = pool.statistics()
            yield {
                "threads for": name,
                "busy": state.running,
                "of": pool.max_threads,
                "queue": state.waiting,
                "of at most": pool.max_waiting,
                "abandoned": state.abandoned,
                "refused": state.refused,
            }
