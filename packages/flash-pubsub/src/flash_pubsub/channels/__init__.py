"""Channels: their declarations, the callbacks for their messages, and the subscribed pages.

In come declarations, messages of the broker and subscriptions of pages; out go frames for pages.
Called by `flash_pubsub.pubsub`, which also registers it for frames of the live link.
"""
