"""The structure of the workspace: one version, who may import whom, honest names."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from shutil import copytree, ignore_patterns

import dash
import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT: dict[str, set[str]] = {
    "flash": set(),
    "flash_lazy": {"flash"},
    "flash_pubsub": {"flash", "flash_ws"},
    "flash_ws": {"flash"},
}
SAYS_NOTHING = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
SEAMS = "flash.seams."
ALLOWED_IN_THE_PROTOCOL: list[str] = []
# Tasks that loop for ever and yet end before the app does, with why.
LASTING_BUT_NOT_AS_LONG_AS_THE_APP = {
    "flash.redis.connection: _read": "one connection; whoever waits on it is told, and dials anew",
    "flash.serving._hypercorn: _end_closing": "the stop of the server, which waits for it",
    "flash.serving.worker: _call_when_accepting": "until the server answers for the first time",
    "flash.supervision: _run": "the supervision itself",
    "flash_pubsub.broker.redis.feed: _prove": "one connection, which the listener replaces",
    "flash_pubsub.broker.redis.feed: _read": "one connection, which the listener replaces",
    "flash_pubsub.broker.redis.feed: _say": "one connection, which the listener replaces",
    "flash_pubsub.broker.redis.feed: _write": "one connection, which the listener replaces",
    "flash_pubsub.shared.runs: _renew": "one run of a shared callback",
    "flash_ws.endpoints.websocket: _read_ahead": "one WebSocket",
}


@dataclass(frozen=True)
class Module:
    """One source file of a package, by its dotted name."""

    name: str
    is_package: bool
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    # Read once: half of the tests look at every module.

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node, what stands under ``if TYPE_CHECKING`` included."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def imports(self) -> tuple[tuple[str, str], ...]:
        """Each name that an import binds, and what it stands for: ``from a import b`` is a.b."""
        return tuple(self._find_imports())

    def _find_imports(self) -> Iterator[tuple[str, str]]:
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.asname or alias.name.partition(".")[0], alias.name
            elif isinstance(node, ast.ImportFrom):
                source = self.source_of(node)
                for alias in node.names:
                    yield alias.asname or alias.name, f"{source}.{alias.name}"
            elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node):
                # A late import by name: `import_module("a.b")`, `run(import_module, "a.b")`.
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and self.is_own(argument.value):
                        yield "", str(argument.value)

    def is_own(self, name: object) -> bool:
        """Tell whether ``name`` is of this package: others are optional, and looked for by name."""
        return isinstance(name, str) and name.startswith(f"{self.package}.")

    def source_of(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*kept, node.module] if node.module else kept)

    @cached_property
    def reaches(self) -> set[str]:
        """Every dotted name outside that the module names: imports, and attributes of them."""
        bound: dict[str, str] = {}
        reached: set[str] = set()
        for alias, target in self.imports:
            reached.add(target)
            # `import a.b` binds a alone.
            bound[alias] = alias if target.startswith(f"{alias}.") else target
        for node in self.nodes:
            if isinstance(node, ast.Attribute):
                chain = ast.unparse(node)
                root, _, rest = chain.partition(".")
                if root in bound and re.fullmatch(r"[\w.]+", rest):
                    reached.add(f"{bound[root]}.{rest}")
        return reached


def read(folder: Path) -> Iterator[Module]:
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder.parent).with_suffix("")
        is_package = inner.name == "__init__"
        name = ".".join(inner.parts[:-1] if is_package else inner.parts)
        yield Module(name, is_package, ast.parse(path.read_text(), str(path)))


MODULES = [
    module
    for package in sorted(MAY_IMPORT)
    for folder in ROOT.glob(f"packages/*/src/{package}")
    for module in read(folder)
]


def nearest(name: str, known: set[str]) -> str | None:
    """The module that a dotted name is, or is defined in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def has_private_part(name: str) -> bool:
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Path(line) for line in listed.splitlines()]


# -- one version


def projects() -> dict[str, dict]:
    files = [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml")]
    files.append(ROOT / "integration-tests" / "pyproject.toml")
    return {
        project["name"]: project
        for project in (tomllib.loads(f.read_text())["project"] for f in files)
    }


def sibling_pins(project: dict) -> Iterator[str]:
    extras = project.get("optional-dependencies", {}).values()
    for requirement in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        if found := re.match(r"flash-(?:ws|pubsub|lazy|core)(?:\[.*\])?==(.+)", requirement):
            yield found[1]


def test_all_packages_carry_one_version_and_pin_each_other_to_it():
    found = projects()
    version = found["flash-core"]["version"]
    assert {project["version"] for project in found.values()} == {version}
    pins = [pin for project in found.values() for pin in sibling_pins(project)]
    assert len(pins) == 8
    assert set(pins) == {version}
    assert {importlib.import_module(package).__version__ for package in MAY_IMPORT} == {version}


def raise_version(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "version.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    skipped = ignore_patterns(".*", "__pycache__", "tests", "docs", "examples", "benchmarks")
    return Path(copytree(ROOT, tmp_path / "copy", ignore=skipped))


def test_one_command_raises_the_version_everywhere(copied: Path):
    assert raise_version(copied, "7.8.9").stdout == "7.8.9\n"
    before = projects()["flash-core"]["version"]
    for file in [
        *copied.glob("packages/*/pyproject.toml"),
        *copied.glob("packages/*/src/*/__init__.py"),
    ]:
        assert f'"{before}"' not in file.read_text()
        assert f"=={before}" not in file.read_text()


def test_versions_that_disagree_are_reported_with_their_files(copied: Path):
    readable = copied / "packages" / "flash-ws" / "src" / "flash_ws" / "__init__.py"
    readable.write_text('__version__ = "6.6.6"\n')
    answer = raise_version(copied)
    assert answer.returncode == 1
    assert "6.6.6: packages/flash-ws/src/flash_ws/__init__.py" in answer.stderr


def test_a_version_that_is_none_is_refused(copied: Path):
    assert raise_version(copied, "next").returncode == 2


# -- who may import whom


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_the_packages_below_it(package: str):
    roots = {
        name.partition(".")[0]
        for module in MODULES
        if module.package == package
        for name in module.reaches
    }
    assert roots & MAY_IMPORT.keys() - {package} <= MAY_IMPORT[package]


def test_add_ons_import_only_the_modules_of_flash_that_the_document_keeps():
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = document.partition("## What add-ons may build on")[2].partition("\n## ")[0]
    kept = {"flash", *re.findall(r"`(flash\.[\w.]+)`", section)}
    modules = {each.name for each in MODULES if each.package == "flash"}
    used = {
        imported
        for module in MODULES
        if module.package != "flash"
        for name in module.reaches
        if (imported := nearest(name, modules))
    }
    assert len(kept) > 5
    # A room that is kept is kept with its modules.
    assert not {name for name in used - kept if name.rpartition(".")[0] not in kept - {"flash"}}


def test_no_package_reaches_into_another_ones_private_names():
    assert not [
        f"{module.name} uses {name}"
        for module in MODULES
        for name in sorted(module.reaches)
        if (root := name.partition(".")[0]) in MAY_IMPORT
        and root != module.package
        and has_private_part(name)
    ]


def room_of(name: str) -> str:
    """The folder directly below a package, or the module that stands there."""
    return ".".join(name.split(".")[:2])


def circle_of(modules: list[Module], *, by_room: bool) -> list[str] | None:
    """A circle of imports, each importing the one before it; None if there is none."""
    known = {module.name for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        place = room_of if by_room else str
        targets = {nearest(target, known) for _, target in module.imports} - {None}
        graph.setdefault(place(module.name), set()).update(map(place, targets))
    for place, targets in graph.items():
        targets.discard(place)
        # A package's own `__init__` offers the names of its rooms, and nothing below imports it.
        if place in MAY_IMPORT:
            targets.clear()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


@pytest.mark.parametrize("by_room", [False, True], ids=["modules", "rooms"])
def test_imports_make_no_circles_those_for_types_included(by_room: bool):
    assert circle_of(MODULES, by_room=by_room) is None


def test_no_module_imports_the_package_that_it_is_in():
    """What a package offers comes from its modules; only its own entry points may use it whole."""
    known = {module.name for module in MODULES}
    assert [
        module.name
        for module in MODULES
        if module.name != module.package
        and module.package in {nearest(target, known) for _, target in module.imports}
    ] == ["flash.cli"]


@pytest.fixture
def planted() -> Callable[[str, str], list[Module]]:
    """All modules, one of which has a few lines more."""

    def plant(name: str, lines: str) -> list[Module]:
        (path,) = ROOT.glob(f"packages/*/src/{name.replace('.', '/')}.py")
        tree = ast.parse(f"{path.read_text()}\n{textwrap.dedent(lines)}")
        return [replace(module, tree=tree) if module.name == name else module for module in MODULES]

    return plant


def test_a_planted_circle_through_types_is_found(planted):
    modules = planted(
        "flash.callbacks.size",
        """
        if TYPE_CHECKING:
            from flash.callbacks.dispatch import Dispatcher
        """,
    )
    circle = circle_of(modules, by_room=False)
    assert circle is not None
    assert {"flash.callbacks.size", "flash.callbacks.dispatch"} <= set(circle)
    modules = planted("flash.static.codings", "from flash.http.compression import compress")
    assert {"flash.static", "flash.http"} <= set(circle_of(modules, by_room=True) or ())


def test_a_planted_circle_through_a_late_import_is_found(planted):
    for line in (
        "from flash.callbacks.dispatch import Dispatcher",
        'importlib.import_module("flash.callbacks.dispatch")',
        'pool.run(importlib.import_module, "flash.callbacks.dispatch")',
    ):
        modules = planted("flash.callbacks.size", f"def late():\n    {line}")
        circle = circle_of(modules, by_room=False)
        assert circle is not None
        assert {"flash.callbacks.size", "flash.callbacks.dispatch"} <= set(circle)


# -- what the protocol may know


def loops_in_the_protocol(modules: list[Module]) -> list[str]:
    return [
        f"{module.name} imports {target}"
        for module in modules
        if module.name.startswith("flash_ws.protocol")
        for _, target in module.imports
        if target.partition(".")[0] in {"anyio", "asyncio", "quart", "threading"}
    ]


def test_the_protocol_of_the_link_knows_no_event_loop(planted):
    assert loops_in_the_protocol(MODULES) == ALLOWED_IN_THE_PROTOCOL
    modules = planted("flash_ws.protocol.limits", "import asyncio")
    assert "flash_ws.protocol.limits imports asyncio" in loops_in_the_protocol(modules)


# -- tasks that last


def lasting_tasks(modules: list[Module]) -> list[str]:
    """Tasks made of a function of their module that loops for ever, but for supervised ones."""
    found: list[str] = []
    for module in modules:
        endless = {
            node.name
            for node in module.nodes
            if isinstance(node, ast.AsyncFunctionDef)
            and any(
                isinstance(inner, ast.While) and ast.unparse(inner.test) == "True"
                for inner in ast.walk(node)
            )
        }
        found += [
            f"{module.name}: {name}"
            for node in module.nodes
            if isinstance(node, ast.Call)
            and ast.unparse(node.func).rpartition(".")[2] in {"create_task", "ensure_future"}
            and node.args
            and isinstance(node.args[0], ast.Call)
            and (name := ast.unparse(node.args[0].func).rpartition(".")[2]) in endless
        ]
    return found


def test_tasks_that_last_as_long_as_the_app_are_supervised(planted):
    assert set(lasting_tasks(MODULES)) == set(LASTING_BUT_NOT_AS_LONG_AS_THE_APP)
    modules = planted(
        "flash_pubsub.feeder",
        """
        class Bare:
            def start(self):
                self.task = asyncio.create_task(self._listen())

            async def _listen(self):
                while True:
                    await asyncio.sleep(1)
        """,
    )
    assert "flash_pubsub.feeder: _listen" in lasting_tasks(modules)


# -- Dash's private names


def private_names_outside_the_seams(modules: list[Module]) -> list[str]:
    def is_private(name: str) -> bool:
        return name.partition(".")[0] in {"dash", "flask", "quart"} and (
            has_private_part(name) or name == "dash.dash" or name.startswith("dash.dash.")
        )

    return [
        f"{module.name} uses {name}"
        for module in modules
        if not module.name.startswith(SEAMS)
        for name in sorted(module.reaches)
        if is_private(name)
    ]


def test_private_names_of_dash_quart_and_flask_are_named_in_the_seams_alone(planted):
    assert private_names_outside_the_seams(MODULES) == []
    for line in ("from dash._utils import x", "from quart.globals import _cv_app as y"):
        modules = planted("flash_ws.live", line)
        assert any(
            each.startswith("flash_ws.live uses ")
            for each in private_names_outside_the_seams(modules)
        )
    modules = planted("flash_lazy.loader", "import flask\nflask.globals._cv_request")
    assert private_names_outside_the_seams(modules) == [
        "flash_lazy.loader uses flask.globals._cv_request"
    ]


def private_attributes_of_dash() -> set[str]:
    source = ast.parse(textwrap.dedent(inspect.getsource(dash.Dash)))
    own = {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    return {name for name in own | set(dir(dash.Dash)) if re.match(r"_[a-z]", name)}


def apps_and_other_receivers(module: Module) -> Iterator[ast.Attribute]:
    """Attributes read or set, except on the ``self`` of a class that is no Dash app."""
    own = {
        id(node)
        for defined in module.nodes
        if isinstance(defined, ast.ClassDef)
        and not any(ast.unparse(base).split(".")[-1] == "Dash" for base in defined.bases)
        for node in ast.walk(defined)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    }
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and id(node) not in own:
            yield node


def test_private_attributes_of_a_dash_app_are_touched_in_the_seams_alone():
    private = private_attributes_of_dash()
    assert "_callback_list" in private
    assert not [
        f"{module.name}:{node.lineno} uses {ast.unparse(node)}"
        for module in MODULES
        if not module.name.startswith(SEAMS)
        for node in apps_and_other_receivers(module)
        if node.attr in private
    ]


# -- names


def test_no_file_or_folder_has_a_name_that_says_nothing():
    assert not [
        file for file in tracked_files() if SAYS_NOTHING & {Path(part).stem for part in file.parts}
    ]


def in_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff keeps."""
    bare = name.strip("_")
    kind = 0 if bare.isupper() and len(bare) > 1 else 1 if bare[0].isupper() else 2
    return kind, name


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_the_public_list_is_sorted_and_every_name_on_it_exists(package: str):
    imported = importlib.import_module(package)
    names = list(imported.__all__)
    assert names == sorted(names, key=in_order)
    assert len(names) == len(set(names))
    assert not [name for name in names if not hasattr(imported, name)]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_says_that_it_is_typed(package: str):
    (folder,) = ROOT.glob(f"packages/*/src/{package}")
    assert (folder / "py.typed").is_file()
