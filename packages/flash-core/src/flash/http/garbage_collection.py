"""Tuning of garbage collection at start-up, so that full collections stay short."""

from __future__ import annotations

import gc

_frozen = False


def freeze_startup_objects() -> None:
    """Exclude every object that exists now from garbage collection; once per process.

    Dash, plotly, numpy and the app's modules make 100,000 objects and more that live as long as the
    process. A full collection visits all of them and stops every thread for some 60 ms; under load
    there is one every two seconds. An object that exists now and later becomes part of a garbage
    cycle is never freed. Only imports and start-up make such objects, so their number is bounded.
    """
    global _frozen
    if not _frozen:
        _frozen = True
        gc.collect()
        gc.freeze()
