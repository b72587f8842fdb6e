"""The pages that are connected: the hub that knows them, their groups, and who receives a push.

In come links that opened and frames to deliver; out go frames to the links of the recipients.
Called by `flash_ws.live`; the `Backplane` Protocol lets flash-pubsub span several workers.
"""
