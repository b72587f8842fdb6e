"""What the operators of an app see of one worker: its routes, metrics and readiness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from flash import ConfigurationError
from flash.access.admission import Admission
from flash_ws.operating.inspection import Inspection
from flash_ws.operating.meters import OpenTelemetryMetrics
from flash_ws.operating.metrics import (
    PORT,
    Exposition,
    MetricsEndpoint,
    MetricsPort,
    bearer,
    metrics_disabled,
)
from flash_ws.operating.panel import link_sections
from flash_ws.operating.readiness import Probes, Readiness
from flash_ws.operating.statistics import (
    BlockedLoopMetrics,
    CustomMetrics,
    LoopLag,
    callback_metrics,
    pool_metrics,
    supervised_task_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.metrics import MeterProvider

    from flash import Flash
    from flash.access.admission import Authorize
    from flash.access.origin import OriginPolicy
    from flash.checking.security import Risk
    from flash.http.gateway import ASGIApp
    from flash.pages.panel import PanelSection
    from flash_ws.operating.inspection import PageRow
    from flash_ws.operating.metrics import MetricsAccess
    from flash_ws.operating.statistics import LiveStatistics, Metric


class WatchedPage(Protocol):
    """A page as operators see it; implemented by `LinkedClient`."""

    def row(self) -> PageRow:
        """Return how the page is now."""
        ...


class Monitor:
    """Shows one worker to its operators and to monitoring.

    - ``metrics``, ``otel_metrics`` and ``inspect``: as of `Live`.
    - ``pages``: returns the pages of this worker by id; None while the app is not served.
    - ``statistics``: returns the state of the worker; called only while the app is served.
    """

    def __init__(
        self,
        metrics: MetricsAccess,
        otel_metrics: MeterProvider | bool | None,
        inspect: Authorize | None,
        *,
        pages: Callable[[], Mapping[str, WatchedPage] | None],
        statistics: Callable[[], LiveStatistics],
    ) -> None:
        self._metrics_access = metrics
        self._inspect = inspect
        self._pages = pages
        self._statistics = statistics
        # Metrics and readiness checks that add-on packages and the app add.
        self.metrics = CustomMetrics()
        self.metrics.add(supervised_task_metrics)
        self.readiness = Readiness()
        self._app: Flash | None = None
        self._lag: LoopLag | None = None
        self._exposition = None if metrics is False else Exposition(self.read)
        self._otel_metrics = OpenTelemetryMetrics(otel_metrics, self.read)
        self._port: MetricsPort | None = None
        self._inspection: Inspection | None = None
        if self._exposition is not None and isinstance(metrics, int):
            self._port = MetricsPort(self._exposition, PORT if metrics is True else metrics)

    def connect(self, app: Flash, origins: OriginPolicy, authorize: Authorize | None) -> None:
        """Add the routes to an app; called once, before it is served.

        ``authorize`` is that of `Live`, which operators have to pass besides ``inspect``.
        """
        self._app = app
        self.metrics.add(BlockedLoopMetrics(app))
        self.readiness.pool = app.internal_pool
        self.readiness.pools = (app.pool, app.page_pool)
        if self._exposition is not None:
            self._exposition.pool = app.internal_pool
        probes = Probes(self.readiness, lambda: self._pages() is not None)
        app.add_asgi_route("_flash/health", probes.health)
        app.add_asgi_route("_flash/ready", probes.ready)
        app.add_asgi_route("_flash/metrics", self._metrics_route(app, origins))
        guard, wider = self._inspect, (app.authorize, authorize)
        self._inspection = Inspection(
            None if guard is None else Admission(app, origins, guard, wider=wider),
            lambda: app.is_developing,
            self.readiness,
            lambda: [page.row() for page in (self._pages() or {}).values()],
            self.read,
        )
        app.add_asgi_route("_flash/inspect", self._inspection)
        app.panel_sources.append(self._panel_sections)

    def _metrics_route(self, app: Flash, origins: OriginPolicy) -> ASGIApp:
        guard, exposition = self._metrics_access, self._exposition
        if exposition is None or isinstance(guard, int):
            return metrics_disabled
        guard = bearer(guard) if isinstance(guard, str) else guard
        # Who scrapes has not logged in, so nobody else is asked.
        return MetricsEndpoint(exposition, Admission(app, origins, guard))

    def _panel_sections(self, page: str | None) -> dict[str, PanelSection]:
        """Return what this worker tells the developer's panel of a page about its link."""
        client = None if page is None else (self._pages() or {}).get(page)
        return link_sections(None if client is None else client.row(), self.lag)

    def read(self) -> Iterable[Metric]:
        """Yield all metrics of this worker; none while the app is not served."""
        if self._app is None or self._pages() is None:
            return
        yield from self._statistics().as_metrics()
        yield from callback_metrics(self._app.dispatcher.counts)
        yield from pool_metrics("callbacks", self._app.pool)
        yield from pool_metrics("pages", self._app.page_pool)

    @property
    def lag(self) -> float:
        """The largest delay of the event loop lately, in seconds; see `LoopLag`."""
        return 0.0 if self._lag is None else self._lag.seconds

    async def sample(self) -> bytes:
        """Return how this worker is, as `flash top --redis` reads it."""
        if self._inspection is None:
            raise ConfigurationError("this Live has no app; use Live(app) or live.init_app(app)")
        return await self._inspection.sample()

    def risks(self) -> Iterator[Risk]:
        """Yield what `flash check` says about metrics and the inspection page."""
        from flash_ws.operating.security_checks import operating_risks

        return operating_risks(self._metrics_access, self._inspect)

    async def start(self) -> None:
        """Begin to measure and to export; raises ``OSError`` if no port is free."""
        self._lag = LoopLag()
        if self._port is not None:
            await self._port.start()
        self._otel_metrics.start()

    async def stop(self) -> None:
        """End what `start` began; idempotent."""
        self._otel_metrics.stop()
        if self._port is not None:
            await self._port.stop()
        if self._lag is not None:
            self._lag.stop()
