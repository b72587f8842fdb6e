"""A dashboard over a million orders, served by Flash: ``python examples/demo/app.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import shell
from resources import database, machine, race

from flash import Flash
from flash_pubsub import PubSub
from flash_ws import Live

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = Flash(
    __name__,
    title="Meridian Trade",
    # The name of a page stays in its tab while callbacks run.
    update_title="",
    use_pages=True,
    # On the first start there is none of the pages, until their database is filled.
    suppress_callback_exceptions=True,
    index_string=shell.INDEX,
)
app.layout = shell.layout
# A page that was closed is counted for as long as it might come back: here for a few seconds only,
# so that whoever closes a tab sees it.
Live(app, resume_window=5.0)
# In memory, unless FLASH_REDIS_URL names a Redis, as `cluster.py` does. Short times, so that
# whoever kills a worker sees another go on in its place.
PubSub(app, lease_ttl=2.0, presence_ttl=10.0, presence_grace=0.3)


@app.server.while_serving
async def resources() -> AsyncIterator[None]:
    """Open what the pages share, and close it when the server stops."""
    async with database, machine, race:
        yield


if __name__ == "__main__":
    app.run()
