"""The table of `flash top`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flash.top.workers import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash.top.sample import Activity
    from flash.top.workers import Workers

_COLUMNS = (
    "worker",
    "ready",
    "cpu",
    "memory",
    "pages",
    "messages/s",
    "waiting",
    "callbacks/s",
    "mean",
    "threads",
    "queued",
    "loop lag",
    "broker lag",
)
# Seconds of lag, and shares of a processor, from which on a figure is shown as a warning.
_LATE = 0.1
_BUSY = 0.9


def table(activities: Sequence[Activity]) -> Table:
    """Return one row for each worker, and one for all of them if there are several."""
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for name in _COLUMNS:
        drawn.add_column(name, justify="left" if name in ("worker", "ready") else "right")
    hosts = {each.sample.worker[0] for each in activities}
    for each in activities:
        host, process = each.sample.worker
        drawn.add_row(f"{host} {process}" if len(hosts) > 1 else str(process), *_cells(each))
    if len(activities) > 1:
        drawn.add_section()
        drawn.add_row(f"all {len(activities)}", *_sums(activities), style="bold")
    return drawn


def _readiness(each: Activity) -> Text:
    if each.silent_for is not None:
        return Text(f"silent for {each.silent_for:.0f} s", style="red")
    failing = each.sample.failing
    return Text(", ".join(failing), style="red") if failing else Text("yes", style="green")


def _cells(each: Activity) -> list[Text]:
    return [
        _readiness(each),
        _warned(_percent(each.cpu), (each.cpu or 0) >= _BUSY),
        Text(_bytes(each.sample.memory_bytes)),
        Text(f"{each.sample.pages:,}"),
        Text(_number(each.messages)),
        Text(_bytes(each.waiting_bytes)),
        Text(_number(each.callbacks)),
        Text(_seconds(each.callback_seconds)),
        Text(f"{each.running:,.0f}"),
        _warned(f"{each.waiting:,.0f}", each.waiting > 0),
        _warned(_seconds(each.loop_lag), each.loop_lag >= _LATE),
        _warned(_seconds(each.broker_lag), (each.broker_lag or 0) >= _LATE),
    ]


def _sums(activities: Sequence[Activity]) -> list[str]:
    ready = sum(not each.sample.failing and each.silent_for is None for each in activities)
    lags = [each.broker_lag for each in activities if each.broker_lag is not None]
    calls = sum(each.callbacks or 0 for each in activities)
    spent = sum((each.callbacks or 0) * (each.callback_seconds or 0) for each in activities)
    return [
        f"{ready} of {len(activities)}",
        _percent(sum(each.cpu or 0 for each in activities)),
        _bytes(sum(each.sample.memory_bytes or 0 for each in activities)),
        f"{sum(each.sample.pages for each in activities):,}",
        _number(sum(each.messages or 0 for each in activities)),
        _bytes(sum(each.waiting_bytes for each in activities)),
        _number(calls),
        _seconds(spent / calls if calls else None),
        f"{sum(each.running for each in activities):,.0f}",
        f"{sum(each.waiting for each in activities):,.0f}",
        _seconds(max(each.loop_lag for each in activities)),
        _seconds(max(lags) if lags else None),
    ]


def _warned(text: str, is_warning: bool) -> Text:
    return Text(text, style="yellow" if is_warning else "")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _bytes(value: float | None) -> str:
    if value is None:
        return "–"
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def show(
    workers: Workers,
    address: str,
    interval: float,
    *,
    once: bool = False,
    console: Console | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Draw the table again and again, until Ctrl-C; with ``once`` after two rounds, and return.

    ``address`` is shown above it. Raises `Unreachable` if the first round has no answer. Later the
    screen says so, and goes on.
    """
    console = console or Console()
    found = workers.collect()
    if once:
        pause(interval)
        console.print(table(workers.collect()))
        if workers.remark:
            console.print(Text(workers.remark, style="red"))
        return
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as screen:
        failure = ""
        while True:
            head = Text(f"{address}  {time.strftime('%H:%M:%S')}", style="dim")
            problem = [Text(each, style="red") for each in (failure or workers.remark,) if each]
            foot = Text("Ctrl-C ends", style="dim")
            screen.update(Group(head, *problem, table(found), foot), refresh=True)
            pause(interval)
            try:
                found, failure = workers.collect(), ""
            except Unreachable as error:
                failure = str(error)
