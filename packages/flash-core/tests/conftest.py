"""What Dash keeps for the whole process is put back after each test."""

import copy

import dash
import pytest

from flash import _dash


@pytest.fixture(autouse=True)
def dashs_registries():
    """Callbacks without an app, hooks and pages: what one test leaves, no other sees."""
    hooks = dash.hooks
    kept = {name: copy.copy(getattr(hooks, name)) for name in vars(hooks)}
    kept["_ns"] = {kind: list(registered) for kind, registered in hooks._ns.items()}
    yield
    vars(hooks).update(kept)
    _dash.GLOBAL_CALLBACK_LIST.clear()
    _dash.GLOBAL_CALLBACK_MAP.clear()
    _dash.GLOBAL_INLINE_SCRIPTS.clear()
    dash.page_registry.clear()
