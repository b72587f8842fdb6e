"""Mutation tests: changes the source a little, many times, and counts how often the tests notice.

mutmut makes the changes in a copy of the tree under `.tools/mutants` and runs the tests of the
room that each change is in. Usage: `make mutants`, `make mutants ROOM=flash_ws/protocol`,
`make mutants SAMPLE=all`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
COPIES = ROOT / ".tools" / "mutants"
SEED = "flash"
# Lines that mutmut writes over again and again.
SPINNER = re.compile("[⠀-⣿]")
# Per cent of the mutants that the tests must notice.
REQUIRED = 90.0
# Seconds. A mutant whose tests take longer counts as noticed: the tests would hang.
TEST_TIMEOUT = 20
# What mutmut writes if pytest refused to run. mutmut shows it as a time-out.
NOT_RUN = 255
# Log texts are no behaviour that a test should hold fast.
UNMUTATED_LINES = [r"\b(logger|_logger|log|_log|LOG|_LOG|LOGGER|_LOGGER)\.\w+\("]


@dataclass(frozen=True)
class Room:
    """Modules of one package, and the tests that must notice a change in them."""

    # The folder below `packages/`.
    distribution: str
    # Patterns below the package's folder.
    modules: tuple[str, ...]
    # Files and folders below `packages/`.
    tests: tuple[str, ...]
    # Further arguments of pytest.
    arguments: tuple[str, ...] = ()


ROOMS = {
    "flash_ws/protocol": Room(
        "flash-ws",
        ("protocol/*.py",),
        ("flash-ws/tests/protocol",),
    ),
    "flash/access": Room(
        "flash-core",
        ("access/*.py",),
        (
            "flash-core/tests/access",
            # The link and Dash's socket ask it who gets in, for how long and in which place.
            "flash-ws/tests/test_admission.py",
            "flash-ws/tests/test_places.py",
            "flash-ws/tests/test_revocation.py",
        ),
    ),
    "flash/callbacks": Room(
        "flash-core",
        ("callbacks/*.py",),
        # Bodies are checked here; the socket calls the dispatcher in a way of its own; spans are
        # told how a call ended.
        (
            "flash-core/tests/callbacks",
            "flash-core/tests/http/test_bad_input.py",
            "flash-core/tests/http/test_socket_calls.py",
            "flash-core/tests/test_tracing.py",
        ),
    ),
    "flash/http": Room(
        "flash-core",
        ("http/*.py",),
        (
            "flash-core/tests/http",
            # What Dash asks of its backend, its socket, and its MCP server.
            "flash-core/tests/test_app.py",
            "flash-core/tests/access/test_callback_socket.py",
            "flash-core/tests/seams/test_dashs_own.py",
            # The gateway refuses what is for another host.
            "flash-core/tests/access/test_hosts.py",
        ),
        # Random requests for 14 s, and a process of its own.
        ("--ignore-glob=*/test_fuzz.py", "--ignore-glob=*/test_garbage_collection.py"),
    ),
    "flash/serialize": Room(
        "flash-core",
        ("serialize/*.py",),
        ("flash-core/tests/serialize",),
    ),
    "flash/static": Room(
        "flash-core",
        ("static/codings.py", "static/disk.py", "static/file.py", "static/response.py"),
        ("flash-core/tests/static",),
    ),
    "flash/redis": Room(
        "flash-core",
        ("redis/address.py", "redis/backoff.py", "redis/names.py", "redis/scripts.py"),
        # Without those that start a server.
        ("flash-core/tests/redis/test_address.py", "flash-core/tests/redis/test_scripts.py"),
    ),
    "flash/settings": Room(
        "flash-core",
        ("settings.py",),
        ("flash-core/tests/test_settings.py",),
    ),
    "flash_ws/endpoints": Room(
        "flash-ws",
        ("endpoints/sse.py",),
        ("flash-ws/tests/endpoints/test_sse.py",),
    ),
    "flash_pubsub/broker": Room(
        "flash-pubsub",
        (
            "broker/address.py",
            "broker/envelope.py",
            "broker/recent_frames.py",
            "broker/redis/keys.py",
            "broker/redis/sequence.py",
        ),
        # Without the contract suite, which starts five servers.
        (
            "flash-pubsub/tests/broker/test_broker_envelope.py",
            "flash-pubsub/tests/broker/test_broker_sequence.py",
            "flash-pubsub/tests/broker/test_broker_url.py",
        ),
    ),
    "flash_pubsub/channels": Room(
        "flash-pubsub",
        (
            "channels/declaration.py",
            "channels/joining.py",
            "channels/outputs.py",
            "channels/retention.py",
            "channels/schema.py",
        ),
        (
            "flash-pubsub/tests/channels/test_declarations.py",
            "flash-pubsub/tests/channels/test_joining.py",
            "flash-pubsub/tests/channels/test_published_retention.py",
            "flash-pubsub/tests/channels/test_schema.py",
        ),
    ),
    "flash_pubsub/shared": Room(
        "flash-pubsub",
        (
            "shared/change_times.py",
            "shared/conflicts.py",
            "shared/declaration.py",
            "shared/layout.py",
            "shared/mirror.py",
            "shared/patch.py",
            "shared/picks.py",
            "shared/room_pattern.py",
            "shared/values.py",
        ),
        ("flash-pubsub/tests/shared",),
    ),
    "flash_pubsub/table": Room(
        "flash-pubsub",
        ("table/changes.py", "table/columns.py", "table/parts.py", "table/rows.py"),
        ("flash-pubsub/tests/table/test_columns.py", "flash-pubsub/tests/table/test_rows.py"),
    ),
    "flash_lazy/tokens": Room(
        "flash-lazy",
        ("tokens/*.py",),
        # The second has loaders of one name in several apps and modules.
        ("flash-lazy/tests/tokens", "flash-lazy/tests/test_names.py"),
    ),
}

# Runs in the copy: the fastest test first, so that most mutants end after milliseconds.
ORDER_PLUGIN = """
import gc
import json
from pathlib import Path

import flash.settings
import mutmut
import pytest
from flash.pages import error_page
from hypothesis import settings


def pytest_collection():
    # The line of an app that an error names is none of mutmut's, which calls each function.
    flash.settings.PACKAGES |= {"mutmut"}
    # Nor is mutmut's code the user's on the page that shows an error.
    error_page._FRAMEWORK += (str(Path(mutmut.__file__).parent),)
    # The same examples in every run, and none remembered from another mutant.
    settings.register_profile("mutants", settings(), derandomize=True, database=None)
    settings.load_profile("mutants")


def pytest_collection_modifyitems(config, items):
    # No test may take longer than the others, whatever it says of itself.
    limit = pytest.mark.timeout(config.getoption("timeout"))
    for item in items:
        item.add_marker(limit, append=False)
    try:
        with open("mutmut-stats.json") as file:
            seconds = json.load(file)["duration_by_test"]
    except FileNotFoundError:
        return
    items.sort(key=lambda item: seconds.get(item.nodeid, 0))


def pytest_collection_finish(session):
    # pytest keeps what it has made of `ids=`, and would escape it again in each mutant's process,
    # which would not find the tests by their first ids.
    for item in session.items:
        for mark in item.iter_markers("parametrize"):
            if mark._param_ids_from is not None:
                object.__setattr__(mark._param_ids_from, "_param_ids_generated", None)


def pytest_unconfigure(config):
    # The process that mutants are forked off: they need not walk what it has loaded.
    if config.option.collectonly:
        gc.freeze()
"""


@dataclass
class Tally:
    """What became of a room's mutants."""

    made: int = 0
    killed: int = 0
    timed_out: int = 0
    # Those that change the first argument of `typing.cast`, which nothing reads; not counted.
    without_effect: int = 0
    survivors: list[str] = field(default_factory=list[str])

    @property
    def tried(self) -> int:
        """How many were run."""
        return self.killed + self.timed_out + len(self.survivors)

    @property
    def rate(self) -> float:
        """Per cent."""
        return 100 * (self.killed + self.timed_out) / self.tried if self.tried else 100.0

    def __str__(self) -> str:
        return (
            f"{self.rate:.1f} % of {self.tried} mutants noticed "
            f"({self.timed_out} by time-out), of {self.made} possible"
        )


def copy_room(room: Room, folder: Path) -> None:
    """Put the packages, their tests and mutmut's settings into a folder of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    # All packages: what is edited meanwhile in the working tree must not meet an older copy.
    for init in (ROOT / "packages").glob("*/src/*/__init__.py"):
        package = init.parent
        shutil.copytree(package, folder / "src" / package.name, ignore=ignored)
    for tests in (ROOT / "packages").glob("*/tests"):
        shutil.copytree(tests, folder / tests.relative_to(ROOT), ignore=ignored)
    shutil.copytree(
        ROOT / "integration-tests/tests", folder / "integration-tests/tests", ignore=ignored
    )
    shutil.copy2(ROOT / "conftest.py", folder)
    (folder / "fastest_first.py").write_text(ORDER_PLUGIN)

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    mutmut = {
        "source_paths": ["src"],
        "only_mutate": [f"src/{room_package(room)}/{pattern}" for pattern in room.modules],
        "do_not_mutate_patterns": UNMUTATED_LINES,
        "also_copy": ["packages", "integration-tests", "conftest.py", "fastest_first.py"],
        "pytest_add_cli_args": [
            *("-p", "fastest_first", "-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT}"),
            *room.arguments,
        ],
        "pytest_add_cli_args_test_selection": [f"packages/{tests}" for tests in room.tests],
        # Each mutant's process is forked off one that has collected the tests but run none.
        "process_isolation": "forkserver",
        # Tests that hang end by their own limit; on a busy machine the others may be slow.
        "timeout_constant": 60.0,
        "timeout_multiplier": 2.0,
        "track_dependencies": False,
        "use_git_change_detection": False,
    }
    (folder / "pyproject.toml").write_text(
        "[tool.mutmut]\n"
        + toml(mutmut)
        + "[tool.pytest.ini_options]\n"
        + toml(settings["ini_options"])
    )


def toml(table: dict[str, object]) -> str:
    """Strings, numbers, booleans and lists of them are written alike in TOML and JSON."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def room_package(room: Room) -> str:
    """The name that the package is imported by."""
    return "flash" if room.distribution == "flash-core" else room.distribution.replace("-", "_")


def names_of_mutants(folder: Path) -> dict[str, list[str]]:
    """The names of all mutants by module; needs mutmut's settings in the current folder."""
    os.chdir(folder)
    # mutmut reads its settings from the current folder when it is imported first.
    from mutmut.configuration import config
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    names: dict[str, list[str]] = {}
    for path in sorted(Path("src").rglob("*.py")):
        if config().should_mutate(path):
            made = mutate_file_contents(str(path), path.read_text()).mutant_names
            names[str(path)] = [get_mutant_name(path, name) for name in made]
    return names


def sampled(names: dict[str, list[str]], per_module: int | None) -> list[str]:
    """The same mutants in every run: at most so many of a module."""
    chosen: list[str] = []
    for path, of_module in names.items():
        if per_module is None or len(of_module) <= per_module:
            chosen += of_module
        else:
            chosen += random.Random(f"{SEED} {path}").sample(of_module, per_module)
    return chosen


def run_mutmut(name: str, folder: Path, mutants: list[str], *, at_once: int) -> None:
    """Try the mutants, so many at once, with a line about the progress every 15 s."""
    # Python never looks again at a folder of its path that was missing when it started.
    (folder / "mutants" / "src").mkdir(parents=True)
    environment = os.environ | {
        # For the processes that tests start.
        "PYTHONPATH": str(folder / "mutants" / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    command = [
        str(Path(sys.executable).with_name("mutmut")),
        "run",
        "--max-children",
        str(at_once),
        *mutants,
    ]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output: list[str] = []
    told = started = time.monotonic()
    for line in pieces(process.stdout):
        output.append(line)
        done = re.search(r"(\d+)/\d+\s", line)
        if done and time.monotonic() - told > 15:
            told = time.monotonic()
            print(f"  {name}: {done[1]} of {len(mutants)}, {told - started:.0f} s", flush=True)
    if process.wait():
        print("\n".join([line for line in output if not SPINNER.match(line)][-80:]))
        raise SystemExit(f"mutmut failed in {folder}")


def pieces(stream: Iterator[str]) -> Iterator[str]:
    """Lines, and what a carriage return ends."""
    for line in stream:
        yield from line.rstrip("\n").split("\r")


def tally(folder: Path, mutants: list[str], made: int) -> Tally:
    """Read mutmut's results; fails if the tests of a mutant did not run."""
    from mutmut.stats import status_by_exit_code

    result = Tally(made=made)
    codes: dict[str, int | None] = {}
    for meta in (folder / "mutants" / "src").rglob("*.meta"):
        codes |= json.loads(meta.read_text())["exit_code_by_key"]
    not_run = [mutant for mutant in mutants if codes[mutant] == NOT_RUN]
    if not_run:
        raise SystemExit(
            f"pytest did not run the tests of {len(not_run)} mutants, such as {not_run[0]}; start "
            f"it by hand in {folder / 'mutants'} with the ids in mutmut-stats.json"
        )
    for mutant in mutants:
        status = status_by_exit_code[codes[mutant]]
        if status in {"killed", "segfault"}:
            result.killed += 1
        elif status == "timeout":
            result.timed_out += 1
        else:
            result.survivors.append(mutant)
    return result


def differences(folder: Path, mutants: list[str]) -> dict[str, str]:
    """What each mutant changes: the lines that a unified diff marks."""
    os.chdir(folder)
    from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant

    shown: dict[str, str] = {}
    for mutant in mutants:
        lines = get_diff_for_mutant(mutant, path=find_mutant(mutant).path).splitlines()
        changed = [line for line in lines if re.match(r"[+-](?![+-])", line)]
        shown[mutant] = "\n".join(f"      {line[0]} {line[1:].strip()}" for line in changed)
    return shown


def has_no_effect(change: str) -> bool:
    """Tell whether the two lines of a change differ in the type given to `typing.cast` only."""
    lines = {line.strip()[1:] for line in change.splitlines()}
    return len({re.sub(r'cast\(("[^"]*"|None), ', "cast(T, ", line) for line in lines}) == 1


def in_folder(function: str, folder: Path, *arguments: str) -> Any:
    """Call a function of this module in a process of its own: mutmut reads its settings once."""
    command = [sys.executable, __file__, f"--{function}", str(folder), *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Try the rooms one after another, and fail if too few mutants are noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", choices=ROOMS, action="append", help="one room only")
    parser.add_argument("--sample", default="all", help="at most so many mutants of each module")
    parser.add_argument("--at-once", type=int, default=1, help="mutants tried at the same time")
    options = parser.parse_args()
    per_module = None if options.sample == "all" else int(options.sample)

    tallies: dict[str, Tally] = {}
    for name in options.room or ROOMS:
        folder = COPIES / name.replace("/", ".")
        copy_room(ROOMS[name], folder)
        names: dict[str, list[str]] = in_folder("names", folder)
        mutants = sampled(names, per_module)
        run_mutmut(name, folder, mutants, at_once=options.at_once)
        tallies[name] = each = tally(folder, mutants, sum(map(len, names.values())))
        changes: dict[str, str] = in_folder("differences", folder, *each.survivors)
        each.survivors = [mutant for mutant in changes if not has_no_effect(changes[mutant])]
        each.without_effect = len(changes) - len(each.survivors)
        print(f"{name}: {each}", flush=True)
        for mutant in each.survivors:
            print(f"    {mutant}\n{changes[mutant]}", flush=True)

    total = Tally(
        made=sum(each.made for each in tallies.values()),
        killed=sum(each.killed for each in tallies.values()),
        timed_out=sum(each.timed_out for each in tallies.values()),
        survivors=[mutant for each in tallies.values() for mutant in each.survivors],
    )
    print()
    for name, each in tallies.items():
        print(f"{name:24}{each}")
    print(f"{'all':24}{total}")
    if total.rate < REQUIRED:
        raise SystemExit(f"fewer than {REQUIRED:.0f} % of the mutants were noticed")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--names"]:
        print(json.dumps(names_of_mutants(Path(sys.argv[2]))))
    elif sys.argv[1:2] == ["--differences"]:
        print(json.dumps(differences(Path(sys.argv[2]), sys.argv[3:])))
    else:
        main()
