"""WebSocket and SSE endpoints and the live link, for Flash."""

from flash_ws.audience import EVERYBODY, Audience, PageAudience
from flash_ws.backplane import Backplane, ClientInfo, Disconnect, MemoryBackplane
from flash_ws.client import Client
from flash_ws.codes import CloseCode
from flash_ws.connection import (
    Connection,
    ConnectionLimits,
    ConnectionStatistics,
    Heartbeat,
)
from flash_ws.endpoints import Endpoints
from flash_ws.errors import (
    ConnectionClosed,
    LinkClosed,
    LiveError,
    NoCaller,
    NotServing,
    ProtocolError,
    Refused,
)
from flash_ws.eventstream import StreamRequest
from flash_ws.figures import Figure, Figures, LiveStatistics
from flash_ws.groups import ConnectionGroup
from flash_ws.guests import EndpointStatistics
from flash_ws.limits import RateLimit
from flash_ws.link import LinkLimits
from flash_ws.link_status import LinkStatus
from flash_ws.live import Live
from flash_ws.readiness import Readiness
from flash_ws.registry import event_callback
from flash_ws.sse import ServerSentEvent
from flash_ws.streams import StreamedProps, stream_props
from flash_ws.visit import Visit

__all__ = [
    "EVERYBODY",
    "Audience",
    "Backplane",
    "Client",
    "ClientInfo",
    "CloseCode",
    "Connection",
    "ConnectionClosed",
    "ConnectionGroup",
    "ConnectionLimits",
    "ConnectionStatistics",
    "Disconnect",
    "EndpointStatistics",
    "Endpoints",
    "Figure",
    "Figures",
    "Heartbeat",
    "LinkClosed",
    "LinkLimits",
    "LinkStatus",
    "Live",
    "LiveError",
    "LiveStatistics",
    "MemoryBackplane",
    "NoCaller",
    "NotServing",
    "PageAudience",
    "ProtocolError",
    "RateLimit",
    "Readiness",
    "Refused",
    "ServerSentEvent",
    "StreamRequest",
    "StreamedProps",
    "Visit",
    "__version__",
    "event_callback",
    "stream_props",
]

__version__ = "0.1.0"

# Dash looks here for the scripts of the package's components.
_js_dist = [{"relative_package_path": "flash_ws.js", "namespace": "flash_ws"}]
