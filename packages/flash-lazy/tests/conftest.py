"""What Dash keeps for the whole process is put back after each test; and real Redis servers."""

import copy
import importlib.util

import dash
import pytest
from redis_servers import own_redis, redis_cluster, redis_sentinel, redis_server

__all__ = ["own_redis", "redis_cluster", "redis_sentinel", "redis_server"]

# Of this package's extras the one that is no part of the workspace's environment.
collect_ignore = (
    [] if importlib.util.find_spec("kaleido") else ["components/test_thumbnail_kaleido.py"]
)


@pytest.fixture(autouse=True)
def dashs_registries():
    kept = {name: copy.copy(value) for name, value in vars(dash.hooks).items() if name != "_ns"}
    kept["_ns"] = {kind: list(hooks) for kind, hooks in dash.hooks._ns.items()}
    yield
    vars(dash.hooks).update(kept)
    dash.page_registry.clear()
