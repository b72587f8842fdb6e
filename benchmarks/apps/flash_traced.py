"""Flash with spans of OpenTelemetry's SDK, which nothing exports."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider

from apps import work
from flash import Flash
from flash.tracing import OpenTelemetryTracing

app = Flash(__name__, tracing=OpenTelemetryTracing(TracerProvider()))
work.install(app)
