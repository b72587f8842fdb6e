"""WebSocket and SSE endpoints and the live link, for Flash."""

__all__ = ["__version__"]

__version__ = "0.1.0"
