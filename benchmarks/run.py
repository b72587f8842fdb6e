"""Measure Flash against its peers and print the table: ``uv run python benchmarks/run.py``."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import backfill
import broker
import callbacks
import channels
import dragging
import lazy
import live
import loop_hold
import pages
import serialize
import sleepers
import start
import tables
from report import Row, render
from rounds import FULL, QUICK, Effort
from servers import pin_generator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Every benchmark, in the order of the table. One more is one more line.
BENCHMARKS: dict[str, Callable[[Effort], Awaitable[list[Row]]]] = {
    "callback": callbacks.measure,
    "installed": callbacks.measure_installed,
    "bridge": callbacks.measure_bridge,
    "tracing": callbacks.measure_tracing,
    "sleepers": sleepers.measure_rate,
    "neighbour": sleepers.measure_neighbour,
    "serialize": serialize.measure,
    "page": pages.measure_page,
    "layout": pages.measure_layout,
    "loop": loop_hold.measure,
    "lazy": lazy.measure,
    "scroll": lazy.measure_scrolling,
    "push": live.measure_push,
    "installed-push": live.measure_installed,
    "crowds": live.measure_crowds,
    "full": live.measure_full,
    "memory": live.measure_memory,
    "streams": live.measure_streams,
    "batching": live.measure_batching,
    "sockets": live.measure_round_trip,
    "publish": broker.measure_publish,
    "hearing": broker.measure_hearing,
    "worker": channels.measure_worker,
    "backfill": backfill.measure,
    "latency": channels.measure_latency,
    "workers": channels.measure_workers,
    "slider": dragging.measure,
    "tables": tables.measure,
    "import": start.measure_import,
    "start": start.measure_start,
}

# A benchmark that takes longer than this is stuck.
_LIMIT_SECONDS = 180.0


async def run(names: list[str], effort: Effort) -> list[Row]:
    """Run the benchmarks of these names, one after the other."""
    rows: list[Row] = []
    for name in names:
        begin = time.perf_counter()
        print(f"{name} …", end=" ", flush=True, file=sys.stderr)
        async with asyncio.timeout(_LIMIT_SECONDS):
            rows += await BENCHMARKS[name](effort)
        print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return rows


def environment() -> str:
    """One line on what was measured, and on what."""
    packages = ("dash", "quart", "hypercorn", "uvicorn", "fastapi", "orjson")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    load = os.getloadavg()[0]
    return (
        f"Python {platform.python_version()}, {versions}; "
        f"{os.cpu_count()} cores, load {load:.1f} before the start"
    )


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, metavar="name", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--quick", action="store_true", help="shorter turns: ten minutes in all")
    options = parser.parse_args()
    facts = environment()
    pin_generator()
    rows = asyncio.run(run(options.only or list(BENCHMARKS), QUICK if options.quick else FULL))
    print(f"{facts}\n\n{render(rows)}")


if __name__ == "__main__":
    main()
