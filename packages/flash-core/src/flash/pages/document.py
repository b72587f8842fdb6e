"""Tags of the page's HTML. They are cached, except for the identity of the page.

All code here runs in a thread: it reads modification times of files and calls methods that users
may override.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash.serialize import dumps_for_html

if TYPE_CHECKING:
    from flash.seams.dash_app import DashApp


# Placeholder for the page identity in the cached configuration; no app contains this text.
_IDENTITY = "flash-page-identity-7c1d2e"


class Document:
    """Makes and caches the script, style and configuration tags of one app.

    Script and style tags need the modification time of every file; the configuration needs a walk
    through the validation layout. They are cached until a value on which they depend changes. Each
    page gets a new identity. With hot reload or developer bundles nothing is cached.
    """

    def __init__(self, app: DashApp) -> None:
        self._app = app
        # By kind of tag: the values on which the cached tags depend, and the tags.
        self._tags: dict[str, tuple[tuple[Any, ...], str]] = {}
        # The values on which the configuration tag depends, and its two parts around the identity.
        self._config: tuple[tuple[Any, ...], str, str] = ((), "", "")

    def scripts(self) -> str:
        """Return the script tags."""
        return self._cached("scripts", self._app.make_scripts_html)

    def css(self) -> str:
        """Return the style tags."""
        return self._cached("css", self._app.make_css_html)

    def _cached(self, kind: str, make: Any) -> str:
        if self._app.is_developing:
            return make()
        key, tags = self._tags.get(kind, ((), ""))
        # Read before making the tags: a change that happens meanwhile is then detected next time.
        current = self._app.resource_state()
        if key != current:
            tags = make()
            self._tags[kind] = (current, tags)
        return tags

    def config(self) -> str:
        """Return the tag with the configuration of a page, with a new signed identity."""
        state = self._app.page_state()
        cached_state, before, after = self._config
        if cached_state != state or self._app.is_developing:
            before, after = self._make_config()
            self._config = (state, before, after)
        return before + self._app.new_page_identity() + after

    def _make_config(self) -> tuple[str, str]:
        """Return the parts of the tag before and after the page identity."""
        config = self._app.page_config()
        config["end_id"] = _IDENTITY
        text = dumps_for_html(config)
        before, _, after = text.partition(_IDENTITY)
        return f'<script id="_dash-config" type="application/json">{before}', f"{after}</script>"
