"""Flash: a graph that begins with the last messages of its channel."""

from __future__ import annotations

import os
from typing import Any

from dash import Output

from apps import channels_work
from flash import Flash
from flash_pubsub import PubSub

app = Flash(__name__)
app.layout = channels_work.layout()
pubsub = PubSub(app)
pubsub.channel(channels_work.TICKS, history=1000, max_age=3600)


@pubsub.channel_callback(
    channels_work.TICKS, Output("tape", "extendData"), backfill=int(os.environ["BACKFILL"])
)
async def tape(message: dict[str, Any]) -> list[Any]:
    return [{"x": [[message["t"]]], "y": [[message["p"]]]}, [0], 500]
