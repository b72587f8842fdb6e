"""Numbered, replayable publish and subscribe over memory or Redis: the `Broker` Protocol.

In come bytes for a channel; out come messages with their positions, in order, for each listener.
Called by `channels`, `shared`, `presence`, `feeder` and `dash_storage`, and by flash-ws through
`backplane`.
"""
