"""`flash top`: what the workers behind an address do, in the terminal.

In: the address of an app, whose ``_flash/inspect`` answers in JSON. Out: a table, drawn again at
each interval. Called by `flash.cli`.
"""
