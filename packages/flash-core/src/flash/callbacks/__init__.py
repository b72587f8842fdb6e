"""Callbacks: each is compiled to a plan once; per request, arguments are bound and the plan is run.

In: the parsed JSON body of a callback request. Out: the serialised response.
Called by `flash.http`, by the Quart views and, through `callback_map`, by Dash's own handlers.
"""
