"""A dashboard over a million orders, served by Flash: ``python examples/demo/app.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import shell
from resources import database, live, machine, pubsub

from flash import Flash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = Flash(
    __name__,
    title="Meridian Trade",
    use_pages=True,
    # On the first start there is none of the pages, until their database is filled.
    suppress_callback_exceptions=True,
    index_string=shell.INDEX,
)
app.layout = shell.layout
live.init_app(app)
pubsub.init_app(app)


@app.server.while_serving
async def resources() -> AsyncIterator[None]:
    """Open what the pages share, and close it when the server stops."""
    async with database, machine:
        yield


if __name__ == "__main__":
    app.run()
