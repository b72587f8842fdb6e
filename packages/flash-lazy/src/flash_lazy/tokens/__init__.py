"""Signed tokens that name a loader and its arguments, and the registry that resolves them.

In come a loader and its arguments, or a token from a page; out come a token, or the loader.
Called by the loader when it is placed in a layout and when a page asks for its content.
"""
