"""Dash's shared storage (Dash 4.5 and newer) over a broker.

In come the calls of Dash's storage interface; out come values and ordered messages.
Called by Dash alone.
"""
