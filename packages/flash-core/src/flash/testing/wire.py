"""JSON as a page writes it, from anything that a test may hold: components and figures too."""

from __future__ import annotations

import json
from typing import Any

from plotly.utils import PlotlyJSONEncoder


def dump(value: Any) -> bytes:
    """Write a value the way the renderer's `JSON.stringify` would, without spaces."""
    return json.dumps(value, cls=PlotlyJSONEncoder, separators=(",", ":")).encode()
