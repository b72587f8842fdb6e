"""Tags of the page's HTML. They are cached, except for the identity of the page.

All code here runs in a thread: it reads modification times of files and calls methods that users
may override.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash.serialize import dumps_for_html

if TYPE_CHECKING:
    from flash.seams.dash_app import DashApp


# Placeholders for the page identity and for the values of `Flash.page_values` in the cached
# configuration; no app contains these texts.
_IDENTITY = "flash-page-identity-7c1d2e"
_VALUES = "flash-page-values-5b0f93"


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
        # The values on which the configuration tag depends, and its three parts around the identity
        # and the values of the page.
        self._config: tuple[tuple[Any, ...], str, str, str] = ((), "", "", "")

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
        cached_state, before, between, after = self._config
        if cached_state != state or self._app.is_developing:
            before, between, after = self._make_config()
            self._config = (state, before, between, after)
        identity = self._app.new_page_identity()
        if not self._app.page_values:
            return f"{before}{identity}{between}{after}"
        values: dict[str, Any] = {}
        for each in self._app.page_values:
            values.update(each())
        return f"{before}{identity}{between}{dumps_for_html(values)}{after}"

    def _make_config(self) -> tuple[str, str, str]:
        """Return the parts of the tag around the page identity and the values of the page."""
        config = self._app.page_config()
        config["end_id"] = _IDENTITY
        if self._app.page_values:
            config["flash_page"] = _VALUES
        text = dumps_for_html(config)
        before, _, rest = text.partition(_IDENTITY)
        between, _, after = rest.partition(f'"{_VALUES}"')
        head = f'<script id="_dash-config" type="application/json">{before}'
        return head, between, f"{after}</script>"
