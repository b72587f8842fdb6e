"""Signed tokens that name a loader and its arguments, and the registry that resolves them.

In come a loader and its arguments, or a token from a page; out come a token, or the loader call.
Called by `Panels` when a panel is written into a layout and when a page requests its content.
"""
