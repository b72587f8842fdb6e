"""Takes the screenshots of the documentation: ``python scripts/screenshots.py [NAME …]``.

Each picture is of an app in ``examples/``, in a real Chromium, once it shows what it is about.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flash.testing import AppProcess
from flash.testing.browser import Browser, Chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"

# What is done on a page of the gallery before its picture is taken.
ACTS = {
    "chat": "document.getElementById('ask').click()",
    "form": "[[2, 9], [4, 6], [7, 10], [9, 3], [10, 8]].forEach(([x, y], at) => setTimeout(() =>"
    " dash_clientside.set_props('board', {clickData: {points: [{x, y}]}}), 500 * at))",
    "jobs": "document.getElementById('report').click()",
    "machines": "dash_clientside.set_props('limit', {value: 66})",
    "kanban": "setTimeout(() => document.querySelector('#board button').click(), 2000)",
    "trading": "['buy', 'sell', 'buy', 'buy', 'sell'].forEach((id, at) => setTimeout(() =>"
    " document.getElementById(id).click(), 500 + 900 * at))",
}

# Environment variables that let Dash show its developer tools, and ask nobody else for news.
DEV_TOOLS = ("DASH_UI", "DASH_SERVE_DEV_BUNDLES", "DASH_DISABLE_VERSION_CHECK")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is taken of an app, and where it is kept."""

    app: Path
    file: Path
    # What has to be there, and how long the app then goes on, so that there is something to see.
    there: str
    seconds: float = 6.0
    path: str = "/"
    # JavaScript that is run on the page before that.
    act: str = ""
    size: tuple[int, int] = (1280, 900)
    # Whether Dash's developer tools are shown.
    dev_tools: bool = False


def pictures() -> Iterator[Picture]:
    """All pictures of the documentation."""
    demo, docs = EXAMPLES / "demo" / "app.py", ROOT / "docs"
    yield Picture(demo, docs / "demo.png", "#race", size=(1280, 1000))
    yield Picture(demo, docs / "demo-overview.png", ".tile-value", path="/overview", seconds=12)
    trading = EXAMPLES / "gallery" / "trading.py"
    act = "document.getElementById('flash-panel-button').click();" + ACTS["trading"]
    panel = docs / "developers-panel.png"
    yield Picture(trading, panel, "#flash-panel-button", act=act, size=(1200, 760), dev_tools=True)
    for app in sorted((EXAMPLES / "gallery").glob("*.py")):
        file, act = docs / "gallery" / f"{app.stem}.png", ACTS.get(app.stem, "")
        yield Picture(app, file, "main h1", act=act, size=(1000, 640))


def take(picture: Picture, chromium: Chromium) -> None:
    """Serve the app, look at it, and keep what is seen."""
    picture.file.parent.mkdir(exist_ok=True)
    browser = Browser(chromium, timeout=60)
    try:
        env = dict.fromkeys(DEV_TOOLS, "true") if picture.dev_tools else {}
        with AppProcess(picture.app, env=env, timeout=120) as served:
            browser.set_viewport(*picture.size)
            browser.visit(served, picture.path)
            browser.find(picture.there)
            browser.run_js(picture.act)
            time.sleep(picture.seconds)
            browser.driver.save_screenshot(str(picture.file))
    finally:
        browser.quit()


def main(names: list[str]) -> int:
    """Take the pictures of these names, or all of them."""
    with tempfile.TemporaryDirectory() as profile:
        chromium = Chromium(Path(profile))
        try:
            for picture in pictures():
                if not names or picture.file.stem in names:
                    take(picture, chromium)
                    print(picture.file.relative_to(ROOT))
        finally:
            chromium.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
