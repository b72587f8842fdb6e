"""One link: a page's connection over WebSocket or SSE, and the writing of frames to it.

In come frames from the hub and bytes from the browser; out go bytes to the browser.
Called by `flash_ws.clients` and by the gateway, which opens links.
"""
