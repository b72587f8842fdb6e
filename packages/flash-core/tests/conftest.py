"""What Dash keeps for the whole process is empty for each test, and put back after it."""

import copy

import dash
import pytest
from redis_servers import own_redis, redis_cluster, redis_sentinel, redis_server

from flash.seams import dash as dash_seam

__all__ = ["own_redis", "redis_cluster", "redis_sentinel", "redis_server"]


@pytest.fixture(scope="session")
def hooks_of_other_packages():
    """Let installed packages register their hooks now rather than in the midst of some test."""
    dash_seam.HooksManager.register_setuptools()


@pytest.fixture(autouse=True)
def dashs_registries(hooks_of_other_packages):
    """Callbacks without an app, hooks and pages: what one test leaves, no other sees."""
    hooks = dash.hooks
    kept = {name: copy.copy(value) for name, value in vars(hooks).items()}
    hooks.__init__()
    yield
    vars(hooks).update(kept)
    dash_seam.GLOBAL_CALLBACK_LIST.clear()
    dash_seam.GLOBAL_CALLBACK_MAP.clear()
    dash_seam.GLOBAL_INLINE_SCRIPTS.clear()
    dash.page_registry.clear()
