"""Who may connect: origin, the app's guards and `authorize`, checked before a connection opens.

In comes the request that asks for a connection; out comes permission or a refusal with its reason.
Called by every way in that stays open: the live link and endpoints of flash-ws.
"""
