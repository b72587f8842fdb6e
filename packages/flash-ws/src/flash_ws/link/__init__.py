"""One link: a page's connection over WebSocket or SSE, and the writing of frames to it.

Frames from the hub and messages of the page come in; frames of the page and bytes for it go out.
`clients`, `endpoints` (only `writer`) and `flash_ws.live`, which adds its routes, may call it.
"""
