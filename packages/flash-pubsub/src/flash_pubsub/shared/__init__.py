"""Shared callbacks: values that every page sees, changed in one total order.

In comes a change from one page; out go the new inputs and outputs to every page.
Called by `flash_pubsub.pubsub` and by the live link's frames.
"""
