"""JSON in the renderer's format, from any value in a test, such as components and figures."""

from __future__ import annotations

import json
from typing import Any

from plotly.utils import PlotlyJSONEncoder


def dump(value: Any) -> bytes:
    """Encode a value as the renderer's `JSON.stringify` does, without spaces."""
    return json.dumps(value, cls=PlotlyJSONEncoder, separators=(",", ":")).encode()
