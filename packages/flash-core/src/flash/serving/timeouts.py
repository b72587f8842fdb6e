"""Time limits that the adapters of the servers share."""

from __future__ import annotations

# Seconds, about, within which a connection must send the whole head of a request. Hypercorn allows
# its 5 s of quiet instead.
HEAD_TIMEOUT = 15.0
