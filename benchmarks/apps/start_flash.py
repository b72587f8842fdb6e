"""The same two thousand callbacks on Flash."""

from __future__ import annotations

from apps import start_work
from flash import Flash

app = Flash(__name__)
start_work.install(app)
