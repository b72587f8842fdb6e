"""Flash: pages that follow channels of the broker that `FLASH_BROKER_URL` names."""

from __future__ import annotations

from typing import Any

from dash import Output

from apps import channels_work
from flash import Flash
from flash_pubsub import PubSub

app = Flash(__name__)
app.layout = channels_work.layout()
channels_work.watch(app)
pubsub = PubSub(app)

# The backlog that the benchmark leaves in Redis comes at once; nothing of it is to be skipped.
pubsub.channel(channels_work.TICKS, max_waiting=10_000)


@pubsub.channel_callback(channels_work.TICKS, Output("tape", "extendData"))
async def tape(message: dict[str, Any]) -> list[Any]:
    return [{"x": [[message["t"]]], "y": [[message["p"]]]}, [0], 500]


@pubsub.channel_callback(channels_work.LINES, Output("out", "children"))
async def line(message: str) -> str:
    return message
