"""`flash top`: what the workers of an app do, in the terminal.

In: the address of an app, whose ``_flash/inspect`` answers in JSON, or that of the Redis over which
its workers answer. Out: a table, drawn again at each interval. Called by `flash.cli`; workers use
`flash.top.exchange` and `flash.top.sample`.
"""
