"""Checks of an app's sources and of the imported app: what to change, where, and how.

In: a target such as ``app:app`` and the working directory. Out: `Finding`s, as text or JSON.
Called by the command ``flash check``. A check is a function that takes a `Project`.
"""
