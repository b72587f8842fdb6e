"""Admission of connections: origin, the app's guards and `authorize`, checked before one is opened.

In: the ASGI scope of a request that opens a connection. Out: permission, or `Refused` with reason.
Called by everything that keeps a connection open: the live link and the endpoints of flash-ws.
"""
