"""The ASGI entry point: serves callbacks and files itself and passes other requests to Quart.

In: ASGI scopes. Out: responses, compressed if the app and the client want that.
Called by the server. Add-ons use `handshake`, `disconnect`, and the ASGI types of `gateway`.
"""
