"""On a Dash without shared storages ours is not there, and says why to who wants it."""

import sys

import dash
import pytest

import flash_pubsub


@pytest.fixture
def older_dash(monkeypatch):
    """Dash as it was before it had shared storages."""
    monkeypatch.delattr(dash, "BaseSharedStorage", raising=False)
    for module in ("storage", "interface"):
        monkeypatch.delitem(sys.modules, f"flash_pubsub.dash_storage.{module}", raising=False)


@pytest.mark.usefixtures("older_dash")
def test_who_wants_it_is_told_what_it_needs():
    with pytest.raises(ImportError, match=r'needs Dash 4.5 or newer.*pip install "dash>=4.5"'):
        from flash_pubsub import FlashSharedStorage  # noqa: F401


@pytest.mark.usefixtures("older_dash")
def test_nobody_else_notices():
    names: dict[str, object] = {}
    exec("from flash_pubsub import *", names)
    assert "PubSub" in names
    assert "FlashSharedStorage" not in names
    assert "FlashSharedStorage" not in dir(flash_pubsub)
    with pytest.raises(AttributeError, match="'flash_pubsub' has no attribute 'Storage'"):
        flash_pubsub.Storage  # noqa: B018
