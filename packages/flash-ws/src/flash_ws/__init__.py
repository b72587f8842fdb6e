"""WebSocket and SSE endpoints and the live link, for Flash."""

from flash_ws.link_status import LinkStatus

__all__ = ["LinkStatus", "__version__"]

__version__ = "0.1.0"

# Dash looks here for the scripts of the package's components.
_js_dist = [{"relative_package_path": "flash_ws.js", "namespace": "flash_ws"}]
