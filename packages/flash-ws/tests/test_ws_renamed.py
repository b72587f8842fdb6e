"""Old public names go on working for one release, with a warning that names the new one."""

import importlib

import pytest

import flash_ws
from flash import Flash, html
from flash.testing import AppClient
from flash_ws import Client, Disconnect, Live, MemoryBackplane, Metric
from flash_ws.callbacks.deferred import hub_of


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("flash_ws", "Audience", "Recipients"),
        ("flash_ws", "Figure", "Metric"),
        ("flash_ws", "Figures", "CustomMetrics"),
        ("flash_ws", "PageAudience", "PageRecipients"),
        ("flash_ws.clients.backplane", "Obey", "OnCommand"),
        ("flash_ws.clients.backplane", "Order", "Command"),
        ("flash_ws.clients.backplane", "Stranger", "OwnedByAnotherUser"),
        ("flash_ws.clients.recipients", "Audience", "Recipients"),
        ("flash_ws.clients.recipients", "PageAudience", "PageRecipients"),
        ("flash_ws.operating.statistics", "Figure", "Metric"),
        ("flash_ws.operating.statistics", "Figures", "CustomMetrics"),
    ],
)
def test_an_old_name_is_the_new_one(module, old, new):
    found = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is now {module}\.{new}"):
        assert getattr(found, old) is getattr(found, new)


def test_other_names_are_no_names():
    with pytest.raises(AttributeError, match="Stranger"):
        _ = flash_ws.Stranger


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    return app


async def test_metrics_are_found_under_their_old_names(app):
    live = Live(app)
    cakes = Metric("cakes", 3, "Cakes")
    with pytest.warns(DeprecationWarning, match=r"Live\.figures is now Live\.metrics"):
        live.figures.add(lambda: [cakes])
    async with AppClient(app):
        statistics = live.statistics()
        with pytest.warns(DeprecationWarning, match=r"LiveStatistics\.figures is now metrics"):
            assert statistics.figures == statistics.metrics == (cakes,)
        for each in (statistics, statistics.endpoints):
            with pytest.warns(DeprecationWarning, match="as_figures is now as_metrics"):
                assert list(each.as_figures()) == list(each.as_metrics())


class OldBackplane(MemoryBackplane):
    """A backplane of somebody's own, from before `order` was renamed."""

    broadcast_command = None

    def __init__(self):
        super().__init__()
        self.ordered = []

    async def order(self, order):
        self.ordered.append(order)


async def test_a_backplane_with_the_old_method_is_still_told_of_commands(app):
    backplane = OldBackplane()
    live = Live(app, backplane=backplane)
    async with AppClient(app):
        with pytest.warns(DeprecationWarning, match="order is now broadcast_command"):
            await live.disconnect(user="ada")
    assert backplane.ordered == [Disconnect(user="ada")]


async def test_14_6_the_hub_is_no_name_of_live_but_is_found_for_a_release(app):
    live = Live(app)
    assert "hub" not in dir(live)
    with pytest.raises(AttributeError, match="'Live' object has no attribute 'hup'"):
        _ = live.hup
    async with AppClient(app):
        with pytest.warns(DeprecationWarning, match=r"Live\.hub is internal.*next release"):
            assert live.hub is hub_of(app)


def test_14_6_a_client_offers_what_apps_use():
    offered = {name for name in dir(Client) if not name.startswith("_")}
    assert offered == {
        *("channel", "data", "groups", "id", "info", "is_connected", "join", "leave", "path"),
        *("session", "user"),
    }
