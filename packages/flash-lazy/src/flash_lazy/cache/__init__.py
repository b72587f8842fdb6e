"""The cache of loaded panels: in memory or in Redis, behind one Protocol.

In come a key, a time to live and the loader's JSON; out comes the JSON that was kept.
Called by `flash_lazy.panels`; one contract suite holds both implementations to the Protocol.
"""
