"""Dash's shared storage (Dash 4.5 and later), kept in a broker.

In come calls of Dash's storage interface, from any thread; out come values and ordered messages.
Only Dash and the functions of an app call it.
"""
