"""Functions that answer a page over the live link: event callbacks and handlers of page events.

In come calls and events from a page; out go property updates and acknowledgements.
Called by `flash_ws.live` and by the hub.
"""
