"""Functions that answer a page over the live link: event callbacks and handlers of page events.

Calls and events of pages come in; property updates and acknowledgements go out.
`flash_ws.live` may call it, the hub calls its frame handlers, and flash-pubsub its registration.
"""
