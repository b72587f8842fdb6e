"""Metrics by OpenTelemetry's SDK: the same names and values as in Prometheus."""

import asyncio
import subprocess
import sys

import pytest
from broker_worlds import until
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from page import Page
from prometheus_client.parser import text_string_to_metric_families

from flash import ConfigurationError, Flash, Input, Output, html
from flash.testing import FlashClient
from flash_ws import Live, Metric
from flash_ws.operating import meters

TOKEN = "a-token-that-nobody-guesses"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}


class Exporter:
    """A provider, and what an export would send."""

    def __init__(self):
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def points(self):
        """Return values by name and labels, without that of the worker."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            (metric.name, *sorted((k, v) for k, v in point.attributes.items() if k != "worker")): (
                point.value
            )
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def exporter():
    return Exporter()


def an_app(**live):
    app = Flash("metered")
    app.layout = html.Div([html.P(id="in"), html.P(id="out")])

    @app.callback(Output("out", "children"), Input("in", "children"))
    async def answer(value):
        return value

    return app, Live(app, **live)


async def test_15_6_metrics_have_the_names_and_values_of_prometheus(exporter):
    app, live = an_app(otel_metrics=exporter.provider, metrics=TOKEN)
    live.metrics.add(lambda: [Metric("shop_orders", 7, "Orders", "counter", {"shop": "oslo"})])
    async with FlashClient(app) as client:
        page = await Page(app).open()
        await page.hello()
        for number in range(3):
            await client.call("out.children", {"in.children": number})
        # In a thread, as exporters read.
        await asyncio.to_thread(exporter.points)
        await until(lambda: ("flash_callbacks", ("outcome", "ok")) in exporter.points())
        exported = await asyncio.to_thread(exporter.points)
        response = await client.get("/_flash/metrics", headers=AUTHORIZATION)
        text = response.text
        await page.leave()
    prometheus = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sorted((k, v) for k, v in sample.labels.items() if k != "worker")
            prometheus[sample.name.removesuffix("_total"), *labels] = sample.value
    ours = {key for key in prometheus if key[0].startswith(("flash_", "shop_"))}
    assert set(exported) == ours
    assert exported["flash_callbacks", ("outcome", "ok")] == 3
    assert exported["flash_live_pages", ("state", "connected")] == 1
    assert exported["flash_threads_waiting", ("pool", "callbacks")] == 0
    assert exported["shop_orders", ("shop", "oslo")] == 7
    changing = {"flash_live_lag_seconds"}
    assert {key: exported[key] for key in ours if key[0] not in changing} == {
        key: prometheus[key] for key in ours if key[0] not in changing
    }


async def test_15_6_an_app_that_stops_exports_nothing_and_the_next_one_does(exporter):
    for number in (1, 2):
        app, live = an_app(otel_metrics=exporter.provider)
        live.metrics.add(lambda number=number: [Metric("shop_orders", number, "Orders")])
        async with FlashClient(app):
            assert exporter.points()["shop_orders",] == number
        assert exporter.points() == {}


async def test_15_6_a_blocked_loop_ends_no_export(exporter, monkeypatch):
    monkeypatch.setattr(meters, "READ_TIMEOUT", 0.05)
    app, _ = an_app(otel_metrics=exporter.provider)
    async with FlashClient(app):
        done = []
        reading = asyncio.get_running_loop().run_in_executor(
            None, lambda: done.append(exporter.points())
        )
        import time

        time.sleep(0.3)  # noqa: ASYNC251  the loop is blocked
        await reading
        assert done == [{}]
        assert await asyncio.to_thread(exporter.points)


async def test_15_6_a_name_that_opentelemetry_refuses_is_logged_once(exporter, caplog):
    app, live = an_app(otel_metrics=exporter.provider)
    live.metrics.add(lambda: [Metric("1 wrong name", 1, "Wrong"), Metric("right", 1, "Right")])
    async with FlashClient(app):
        for _ in range(3):
            assert exporter.points()["right",] == 1
    assert len([each for each in caplog.records if "1 wrong name" in each.message]) == 1


@pytest.mark.parametrize(
    ("before", "setting", "exported"),
    [
        ("", "None", False),
        ("import opentelemetry.metrics", "None", False),
        ("set_provider()", "None", True),
        ("set_provider()", "False", False),
        ("set_provider()", "True", True),
    ],
)
def test_15_6_a_provider_of_the_process_turns_metrics_on(before, setting, exported):
    code = f"""
import asyncio, sys
from flash import Flash, html
from flash_ws import Live

def set_provider():
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    global reader
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))

reader = None
app = Flash("app")
app.layout = html.Div()
Live(app, otel_metrics={setting})
{before}

async def main():
    await app.server.startup()
    if reader is not None:
        assert (reader.get_metrics_data() is not None) is {exported}
    assert ("opentelemetry.metrics" in sys.modules) is {bool(before)}
    await app.server.shutdown()

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("setting", ["yes", 9464, object()])
def test_15_6_another_setting_is_refused_with_what_is_allowed(setting):
    with pytest.raises(ConfigurationError, match=r"otel_metrics=.*a MeterProvider.*test_otel"):
        Live(otel_metrics=setting)


def test_15_6_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "opentelemetry.metrics", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install flash-core\[otel\]"):
        Live(otel_metrics=True)
