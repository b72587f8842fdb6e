"""What start-up leaves on the heap, kept out of the garbage collector's way."""

from __future__ import annotations

import gc

_settled = False


def settle() -> None:
    """Tell the garbage collector to leave alone whatever exists now; once per process.

    Dash, plotly, numpy and an app's own modules are a hundred thousand objects and more that live
    as long as the process. Every full collection walks them all and holds every thread for some
    60 ms meanwhile; under load there is one every other second. What is alive here and becomes a
    cycle of garbage later is never freed: imports and start-up made it, and bound it.
    """
    global _settled
    if not _settled:
        _settled = True
        gc.collect()
        gc.freeze()
