"""Shared callbacks: values that every page shows and that all pages get in the same order.

In come changes from pages; out go the new inputs and outputs to every page.
Called by `flash_pubsub.pubsub`, which also registers it for frames of the live link.
"""
