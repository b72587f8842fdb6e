"""The live link's protocol without an event loop: frames, positions, history, outbox and limits.

In come values and JSON text; out come frames, positions and decisions.
Called by `clients`, `link` and flash-pubsub; a test forbids imports of an event loop here.
"""
