"""The export of metrics by OpenTelemetry, under the names that they have in Prometheus.

Nothing of OpenTelemetry is imported unless the app or the process has asked for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from flash import ConfigurationError
from flash.settings import here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import MeterProvider

    from flash_ws.operating.statistics import Metric

logger = logging.getLogger(__name__)

# The name of the meter.
SCOPE = "flash"

# Seconds that the exporter's thread waits for the event loop; its metrics are left out after that.
READ_TIMEOUT = 2.0

# Seconds for which the instruments of one export share a reading.
MAX_AGE = 1.0

# Names of metrics for which there is an instrument, at most.
MAX_INSTRUMENTS = 1000


def choose_meters(setting: MeterProvider | bool | None) -> MeterProvider | None:
    """Return the provider that ``Live(otel_metrics=…)`` asks for; called when the app starts.

    None asks for the one that the process has set, if it has; nothing is imported to find out.
    """
    if setting is False:
        return None
    if setting is not None and setting is not True:
        return setting
    module: Any = sys.modules.get("opentelemetry.metrics")
    if setting is None:
        if module is None:
            return None
        provider = module.get_meter_provider()
        # Without a provider there is a stand-in, which is the API's own.
        is_set = not type(provider).__module__.startswith("opentelemetry.metrics")
        return provider if is_set else None
    try:
        from opentelemetry import metrics
    except ImportError as error:
        raise ConfigurationError(
            "otel_metrics=True needs OpenTelemetry's API: pip install flash-core[otel]"
        ) from error
    return metrics.get_meter_provider()


def check_meters(setting: object) -> None:
    """Raise `ConfigurationError` for a setting that is none."""
    if isinstance(setting, bool | None) or callable(getattr(setting, "get_meter", None)):
        return
    raise ConfigurationError(
        f"otel_metrics={setting!r}: must be True, False, None or a MeterProvider{here()}"
    )


class MetricsReader:
    """Reads the metrics of one app on its event loop, for exporters in any thread."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._metrics: tuple[Metric, ...] = ()
        self._read_at = 0.0
        # The names whose instruments have this reading.
        self._served: set[str] = set()

    def read(self, name: str) -> tuple[Metric, ...]:
        """Return all metrics; those of one reading for each name once.

        So all instruments of an export share a reading, and the next export gets another.
        """
        with self._lock:
            is_fresh = time.monotonic() - self._read_at <= MAX_AGE
            if is_fresh and name not in self._served:
                self._served.add(name)
                return self._metrics
        # Without the lock, for which the loop would wait.
        metrics = self.read_now()
        with self._lock:
            self._metrics, self._read_at, self._served = metrics, time.monotonic(), {name}
        return metrics

    def read_now(self) -> tuple[Metric, ...]:
        """Return all metrics as they are now; none if the loop does not answer in time."""
        if threading.get_ident() == self._thread:
            return tuple(self._read())
        reading: Future[tuple[Metric, ...]] = Future()

        def read() -> None:
            if reading.set_running_or_notify_cancel():
                try:
                    reading.set_result(tuple(self._read()))
                except Exception as error:  # noqa: BLE001  raised in the thread that waits
                    reading.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(read)
        except RuntimeError:
            # The loop is closed.
            return ()
        try:
            return reading.result(READ_TIMEOUT)
        except TimeoutError:
            reading.cancel()
            logger.warning(
                "metrics are left out: the event loop was blocked for more than %g s", READ_TIMEOUT
            )
            return ()

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function on the loop, soon."""
        self._loop.call_soon_threadsafe(function)


class Instruments:
    """Observable instruments of one provider: one for each name that a metric has had.

    An instrument cannot be removed, so those of a provider stay when an app stops, and serve the
    next one.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter(SCOPE)
        self._readers: list[MetricsReader] = []
        self._known: set[str] = set()
        self._is_growing = False

    def add(self, reader: MetricsReader) -> None:
        """Export the metrics that ``reader`` reads."""
        self._readers.append(reader)
        self._grow(reader)

    def remove(self, reader: MetricsReader) -> None:
        """Export them no more; idempotent."""
        if reader in self._readers:
            self._readers.remove(reader)

    def _grow(self, reader: MetricsReader) -> None:
        """Make instruments for new names; on the loop, and so not in the middle of an export."""
        self._is_growing = False
        for metric in reader.read_now():
            if metric.name not in self._known and len(self._known) < MAX_INSTRUMENTS:
                self._known.add(metric.name)
                self._make(metric)

    def _make(self, metric: Metric) -> None:
        is_counter = metric.kind == "counter"
        make = (
            self._meter.create_observable_counter
            if is_counter
            else self._meter.create_observable_gauge
        )
        # As prometheus_client has it: an exporter to Prometheus adds it again.
        name = metric.name.removesuffix("_total") if is_counter else metric.name
        try:
            make(name, [self._observer(metric.name)], description=metric.meaning)
        except Exception:  # the SDK's, for a name of an app's own metric that it does not take
            logger.exception("the metric %r is not exported", metric.name)

    def _observer(self, name: str) -> Callable[[Any], Iterable[Any]]:
        from opentelemetry.metrics import Observation

        def observe(_: object) -> Iterable[Observation]:
            worker = str(os.getpid())
            found: list[Observation] = []
            for reader in tuple(self._readers):
                for metric in reader.read(name):
                    if metric.name == name:
                        found.append(Observation(metric.value, {"worker": worker, **metric.labels}))
                    elif metric.name not in self._known and not self._is_growing:
                        self._is_growing = len(self._known) < MAX_INSTRUMENTS
                        reader.call_soon(lambda reader=reader: self._grow(reader))
            return found

        return observe


_instruments: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()


def instruments_of(provider: MeterProvider) -> Instruments:
    """Return the instruments of a provider, of which there is one set in a process."""
    found = _instruments.get(provider)
    if found is None:
        found = _instruments[provider] = Instruments(provider)
    return found


class OpenTelemetryMetrics:
    """Exports the metrics of one app while it is served.

    ``setting`` is that of ``Live(otel_metrics=…)``.
    """

    def __init__(
        self, setting: MeterProvider | bool | None, read: Callable[[], Iterable[Metric]]
    ) -> None:
        check_meters(setting)
        if setting is True:
            # Raises an error where the app is made if the package is missing.
            choose_meters(setting)
        self._setting = setting
        self._read = read
        self._exported: tuple[Instruments, MetricsReader] | None = None

    def start(self) -> None:
        """Begin to export, if that is asked for; on the event loop."""
        provider = choose_meters(self._setting)
        if provider is not None:
            instruments, reader = instruments_of(provider), MetricsReader(self._read)
            instruments.add(reader)
            self._exported = instruments, reader

    def stop(self) -> None:
        """Export no more; idempotent."""
        if self._exported is not None:
            instruments, reader = self._exported
            self._exported = None
            instruments.remove(reader)
