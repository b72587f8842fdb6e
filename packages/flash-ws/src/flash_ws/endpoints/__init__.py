"""WebSocket and SSE endpoints that an app declares, for the components of dash-extensions.

In come ASGI scopes of an endpoint's path; out goes what the user's function sends.
Called by `flash_ws.live` and by the gateway.
"""
