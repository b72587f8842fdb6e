"""Numbered, replayable publish and subscribe over memory or Redis, behind the `Broker` Protocol.

In come bytes for a channel; out come messages with their position, in order, to every listener.
Called by `channels`, `shared`, `presence` and `dash_storage`; `backplane` is flash-ws's over it.
"""
