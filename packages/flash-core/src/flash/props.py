"""`set_props`: sets properties from anywhere, of the page of the call or of other pages."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Protocol

import dash

from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Mapping

    ComponentId = str | Mapping[str, Any]


class Pages(Protocol):
    """The pages of a message: ``live.everybody``, ``live.group(…)``, ``live.room(…)``, a client."""

    @property
    def channel(self) -> str:
        """The channel that these pages follow."""
        ...


class Sent:
    """What is done without ``await``; a callback without outputs may return it, as it may None."""

    __slots__ = ()


class _Set(Sent):
    """Properties that are set already; may be awaited."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


def set_props(
    component_id: ComponentId, props: Mapping[str, Any], *, to: Pages | None = None
) -> Awaitable[None]:
    """Set properties of a component: on the page of the call, or on the pages ``to``.

    In a callback it is that of Dash: the properties are set with the answer. In an event callback
    and in a handler of flash-ws they are set at once. ``to`` works everywhere, in jobs, callbacks
    of channels and threads too. What it returns may be awaited, and need not be: with ``to`` until
    the message is published, which in a thread it is when the call returns.

    Raises ``flash_ws.NoCaller`` or Dash's ``MissingCallbackContextException`` where no page has
    made the call and ``to`` is missing.
    """
    if to is not None:
        return _live().push(component_id, props, to=to)
    context = dash_seam.context_value.get(None)
    if not context and "flash_ws.current" in sys.modules:
        live = _live()
        return live.push(component_id, props, to=live.client)
    dash.set_props(component_id, props)  # type: ignore[arg-type]
    on_update = vars(context).get("on_update") if context else None
    if on_update is not None:
        on_update()
    return _Set()


def _live() -> Any:
    return importlib.import_module("flash_ws.current").live
