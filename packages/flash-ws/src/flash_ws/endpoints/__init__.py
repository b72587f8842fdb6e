"""WebSocket and SSE endpoints that an app declares, for the components of dash-extensions.

ASGI requests for an endpoint's path come in; messages of the user's function go out.
`flash_ws.live` may call it; the gateway of flash-core routes requests to it.
"""
