"""Tuning of garbage collection at start-up, so that full collections stay short."""

from __future__ import annotations

import gc

_frozen = False


def freeze_what_start_up_left() -> None:
    """Exclude every object that exists now from garbage collection; once per process.

    Dash, plotly, numpy and an app's own modules are a hundred thousand objects and more that live
    as long as the process. Every full collection walks them all and holds every thread for some
    60 ms meanwhile; under load there is one every other second. What is alive here and becomes a
    cycle of garbage later is never freed: imports and start-up made it, and bound it.
    """
    global _frozen
    if not _frozen:
        _frozen = True
        gc.collect()
        gc.freeze()
