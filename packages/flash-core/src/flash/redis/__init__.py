"""The one way to Redis: address, topology, connections and backoff.

In comes an address (`redis://`, Sentinel or Cluster); out come connections to its nodes.
Called by flash-pubsub's broker and by flash-lazy's cache.
"""
