"""How long an import takes, and how long a large application takes until its first answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from browser import get_request
from load import Connection, http_request
from report import Row, Spread, Target
from rounds import Effort, take_turns
from servers import App, Server, ServerError, Subject, free_port, on_all_cores

if TYPE_CHECKING:
    from collections.abc import Sequence

_DASH = "import dash, quart"
# What is imported, and how many times Dash's time it may take.
_IMPORTS = (("import flash", 1.1), ("import flash_pubsub", 1.3))

_FLASH = Subject(App("Flash", "apps.start_flash:app"), "hypercorn")
_DASH_QUART = Subject(App("Dash Quart", "apps.start_dash:server"), "hypercorn")

# A process takes half a second to import and one to start, so a turn is shorter than others' are.
_TURNS_PER_ROUND = 3
_LIMIT_SECONDS = 60.0
_POLL_SECONDS = 0.005

_HEADERS = {"Host": "127.0.0.1", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a process took until it was where it should be, in seconds."""

    cpu: float
    wall: float


async def measure_import(effort: Effort) -> list[Row]:
    """Processor time of a process that imports a package and ends. Bytecode is there already."""
    statements = [_DASH, *(statement for statement, _ in _IMPORTS)]
    for statement in statements:
        await _import(statement)
    dash, *others = await take_turns(statements, effort.rounds * _TURNS_PER_ROUND, _import)
    return [
        _row(f"{statement}: CPU", _DASH, costs, dash, Target(limit, "at most"))
        for (statement, limit), costs in zip(_IMPORTS, others, strict=True)
    ]


async def measure_start(effort: Effort) -> list[Row]:
    """From the start of a server's process until it has sent its page, or a callback's answer."""
    rows: list[Row] = []
    for first, request, target in (
        ("page", get_request("/"), Target(1.0, "at most")),
        ("callback", _call(), None),
    ):
        turn = partial(_first_answer, request=request)
        for subject in (_FLASH, _DASH_QUART):
            await turn(subject)
        turns = effort.long_rounds * _TURNS_PER_ROUND
        flash, dash = await take_turns((_FLASH, _DASH_QUART), turns, turn)
        work = f"start of an app with 2,000 callbacks until its first {first}: CPU"
        rows.append(_row(work, str(_DASH_QUART), flash, dash, target))
    return rows


def _row(
    work: str, peer: str, flash: Sequence[_Cost], dash: Sequence[_Cost], target: Target | None
) -> Row:
    """A row of processor time; its ratio is that of the best turns, the ones disturbed least."""
    cpu, peers_cpu = (Spread.of((cost.cpu for cost in costs), "s") for costs in (flash, dash))
    wall, peers_wall = (Spread.of((cost.wall for cost in costs), "s") for costs in (flash, dash))
    notes = (
        "the ratio is that of the best turns",
        f"wall clock: {wall} against {peers_wall}, best turns {wall.low / peers_wall.low:.2f} ×",
    )
    return Row(work, peer, cpu, peers_cpu, cpu.low / peers_cpu.low, target, notes)


def _call() -> bytes:
    body = {
        "output": "out-1.children",
        "outputs": {"id": "out-1", "property": "children"},
        "inputs": [{"id": "in-1", "property": "value", "value": "word"}],
        "state": [{"id": "in-2", "property": "value", "value": "other"}],
        "changedPropIds": ["in-1.value"],
    }
    return http_request("POST", "/_dash-update-component", _HEADERS, json.dumps(body).encode())


def _environment() -> dict[str, str]:
    """This process's environment, but for what would make each start compile all modules anew."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


async def _import(statement: str) -> _Cost:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with on_all_cores():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", statement, env=_environment()
        )
    if await process.wait():
        raise ServerError(f"{statement!r} exited with {process.returncode}")
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _Cost(cpu, wall)


async def _first_answer(subject: Subject, request: bytes) -> _Cost:
    port = free_port()
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        with on_all_cores():
            process = await asyncio.create_subprocess_exec(
                *subject.command(port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=Path(__file__).parent,
                env=_environment(),
            )
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                connection = await _connection(process, port)
                answer = await connection.fetch(request)
            wall, cpu = (
                time.perf_counter() - start,
                Server(subject, port, process.pid).cpu_seconds(),
            )
            connection.close()
        except (TimeoutError, ServerError) as error:
            output.seek(0)
            text = output.read().decode(errors="replace")[-4000:]
            raise ServerError(f"{subject} did not answer:\n{text}") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if answer.status != 200:
        raise ServerError(f"{subject} answered {answer.status}: {answer.body[:200]!r}")
    return _Cost(cpu, wall)


async def _connection(process: asyncio.subprocess.Process, port: int) -> Connection:
    while process.returncode is None:
        with contextlib.suppress(OSError):
            return await Connection.open(port)
        await asyncio.sleep(_POLL_SECONDS)
    raise ServerError(f"exited with {process.returncode}")
