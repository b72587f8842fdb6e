"""The ASGI front of the app: answers what needs no Quart request, and passes the rest to Quart.

In come ASGI scopes; out go responses, compressed where the client accepts it.
Called by the server alone; add-ons use `handshake` and the ASGI types of `gateway`.
"""
