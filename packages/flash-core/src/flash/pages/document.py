"""The page's HTML: what changes seldom is kept, what changes with every page is filled in.

Everything here runs in a thread: it asks the disk how old files are, and calls what a user may have
overridden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash.serialize import dumps_for_html

if TYPE_CHECKING:
    from flash.seams.dash import DashApp


# Stands for a page's identity in the configuration that is kept: nothing an app would say.
_IDENTITY = "flash-page-identity-7c1d2e"


class Document:
    """The parts of one app's index that are worth keeping.

    The tags of scripts and styles cost a look at every file, the configuration a walk through the
    validation layout. They are kept until something they depend on changes; the identity of each
    page is put in anew. While a developer works (hot reload, developer bundles) nothing is kept.
    """

    def __init__(self, app: DashApp) -> None:
        self._app = app
        # What the kept tags were made from, and they.
        self._tags: dict[str, tuple[tuple[Any, ...], str]] = {}
        # The configuration's tag in two parts, with what it was made from.
        self._config: tuple[tuple[Any, ...], str, str] = ((), "", "")

    def scripts(self) -> str:
        """Return the script tags."""
        return self._kept("scripts", self._app.make_scripts_html)

    def css(self) -> str:
        """Return the style tags."""
        return self._kept("css", self._app.make_css_html)

    def _kept(self, kind: str, make: Any) -> str:
        if self._app.is_developing:
            return make()
        key, tags = self._tags.get(kind, ((), ""))
        # Made before, so that what is claimed while making is noticed the next time.
        current = self._app.resource_state()
        if key != current:
            tags = make()
            self._tags[kind] = (current, tags)
        return tags

    def config(self) -> str:
        """Return the tag with the page's configuration, its signed identity included."""
        state = self._app.page_state()
        kept, before, after = self._config
        if kept != state or self._app.is_developing:
            before, after = self._make_config()
            self._config = (state, before, after)
        return before + self._app.new_page_identity() + after

    def _make_config(self) -> tuple[str, str]:
        """Return the tag in two parts, between which a page's identity goes."""
        config = self._app.page_config()
        config["end_id"] = _IDENTITY
        text = dumps_for_html(config)
        before, _, after = text.partition(_IDENTITY)
        return f'<script id="_dash-config" type="application/json">{before}', f"{after}</script>"
