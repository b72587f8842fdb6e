"""What Dash keeps for the whole process is put back after each test."""

import copy

import dash
import pytest


@pytest.fixture(autouse=True)
def dashs_registries():
    kept = {name: copy.copy(value) for name, value in vars(dash.hooks).items() if name != "_ns"}
    kept["_ns"] = {kind: list(hooks) for kind, hooks in dash.hooks._ns.items()}
    yield
    vars(dash.hooks).update(kept)
    dash.page_registry.clear()
