"""A worker with a channel callback, which prints the spans of the first message as JSON."""

import asyncio
import json
import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flash import Flash, html
from flash.tracing import OpenTelemetryTracing
from flash_pubsub import PubSub
from flash_ws import Live

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracing = OpenTelemetryTracing(provider)

app = Flash(__name__, tracing=tracing)
app.server.secret_key = "the same everywhere"
app.layout = html.Div()
live = Live(app)
pubsub = PubSub(app, broker=sys.argv[1])


@pubsub.channel_callback("prices")
async def shown(message: int) -> None:
    """Push what came."""
    with tracing.span("query", {}):
        await asyncio.sleep(0)
    await live.push("out", {"children": message})


async def main() -> None:
    """Serve until the message has come."""
    await app.server.startup()
    print("ready", flush=True)
    while not any(each.name.startswith("channel") for each in exporter.get_finished_spans()):  # noqa: ASYNC110  spans wake nobody
        await asyncio.sleep(0.01)
    spans = {
        each.name: {
            "trace": f"{each.context.trace_id:032x}",
            "id": f"{each.context.span_id:016x}",
            "parent": None if each.parent is None else f"{each.parent.span_id:016x}",
        }
        for each in exporter.get_finished_spans()
    }
    print(json.dumps(spans), flush=True)
    await app.server.shutdown()


asyncio.run(main())
