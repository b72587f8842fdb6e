"""What `flash check` says about the live link: open guards, origins, rights that stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash.checking.security import Risk, admits_everybody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash.access.admission import Authorize
    from flash.access.origin import OriginPolicy
    from flash.checking.security import Deployment
    from flash_ws.operating.metrics import MetricsAccess


def link_risks(
    deployment: Deployment,
    *,
    origins: OriginPolicy,
    authorize: Authorize | None,
    recheck_interval: float | None,
    spans_workers: bool,
) -> Iterator[Risk]:
    """Report what a `Live` leaves open to other pages and to users of before."""
    guards = any(deployment.app.server.before_request_funcs.values())
    if origins.allows_any:
        yield Risk(
            "origins",
            'Live(allowed_origins="*") lets the pages of all sites connect, without cookies: they '
            "get all that is pushed to everybody",
            'name the origins: allowed_origins=["https://example.org"]',
        )
    if authorize is not None and admits_everybody(authorize):
        what = "Live(authorize=...) returns True for everybody"
        yield Risk("authorize", what, "return the name of the user, or leave it out")
    if deployment.is_public and recheck_interval is None and (guards or authorize is not None):
        yield Risk(
            "recheck",
            "a link stays open although its user has logged out or lost the permission",
            "Live(recheck_interval=30), and `await live.disconnect(user=...)` in the logout",
        )
    if deployment.workers > 1 and not spans_workers:
        yield Risk(
            "memory",
            f"{deployment.workers} workers have a Live in memory: a push reaches the pages of one "
            "worker, and `live.disconnect` closes links of one worker",
            'PubSub(app, broker="redis://...") of flash-pubsub',
        )


def operating_risks(metrics: MetricsAccess, inspect: Authorize | None) -> Iterator[Risk]:
    """Report metrics and the inspection page if strangers can read them."""
    if admits_everybody(metrics):
        what = "_flash/metrics is open to everybody"
        yield Risk("metrics", what, "give Live(metrics=...) a token, or True for a loopback port")
    if admits_everybody(inspect):
        what = "_flash/inspect shows everybody the pages, users and addresses of this app"
        yield Risk("inspect", what, "let Live(inspect=...) return True for operators only")
