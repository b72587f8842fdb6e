"""The page's HTML: what changes seldom is kept, what changes with every page is filled in.

Everything here runs in a thread: it asks the disk how old files are, and calls what a user may have
overridden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash.serialize import dumps_for_html

if TYPE_CHECKING:
    from flash._dash import DashApp


class Document:
    """The parts of one app's index that are worth keeping.

    The tags of scripts and styles cost a look at every file; they are kept until something they
    depend on changes. The validation layout is by far the largest part of the page's configuration
    and seldom changes; its JSON is kept as long as it is the same object. While a developer works
    (hot reload, developer bundles) nothing is kept.
    """

    def __init__(self, app: DashApp) -> None:
        self._app = app
        # What the kept tags were made from, and they.
        self._tags: dict[str, tuple[tuple[Any, ...], str]] = {}
        self._validation: tuple[Any, str] = (None, "")

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
        config = self._app.page_config()
        layout = config.pop("validation_layout", None)
        text = dumps_for_html(config)
        if layout is not None:
            text = f'{text[:-1]},"validation_layout":{self._validation_json(layout)}}}'
        return f'<script id="_dash-config" type="application/json">{text}</script>'

    def _validation_json(self, layout: Any) -> str:
        source = self._app.validation_layout
        kept, text = self._validation
        if kept is not source or self._app.has_extras or self._app.is_developing:
            text = dumps_for_html(layout)
            self._validation = (source, text)
        return text
