"""Channels that an app declares, the callbacks that run on their messages, and who subscribes.

In come declarations, messages of the broker and subscriptions of pages; out go frames for pages.
Called by `flash_pubsub.pubsub` and by the live link's frames.
"""
