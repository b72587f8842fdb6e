"""What a worker tells the developer's panel of a page about the page's link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash.pages.panel import PanelSection

if TYPE_CHECKING:
    from flash_ws.operating.inspection import PageRow


def link_sections(page: PageRow | None, lag: float) -> dict[str, PanelSection]:
    """Return the sections of one page.

    ``page`` is None if the link of the page is on another worker, or if it has none. ``lag`` is in
    seconds.
    """
    server = PanelSection({"event loop late (ms)": round(1000 * lag)})
    if page is None:
        facts = {"on this worker": False}
    else:
        facts = {
            "page": page.id,
            "user": page.user,
            "groups": ", ".join(page.groups),
            "sent by the server": page.frames_sent,
            "conflated by the server": page.frames_conflated,
            "frames waiting there": page.frames_waiting,
            "bytes waiting there": page.bytes_waiting,
        }
    return {"Link": PanelSection(facts), "Server": server}
