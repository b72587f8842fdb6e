"""The wheels, as a stranger installs them: into an empty environment, without the workspace."""

import os
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
# Each distribution, and what can be imported once it alone is asked for.
BRINGS = {
    "flash-core": {"flash"},
    "flash-lazy": {"flash", "flash_lazy"},
    "flash-pubsub": {"flash", "flash_pubsub", "flash_ws"},
    "flash-ws": {"flash", "flash_ws"},
}
ALL = {"flash", "flash_lazy", "flash_pubsub", "flash_ws"}
# Answers with the installed packages that it could import, and from where.
IMPORT_ALL = """
import importlib, importlib.util
for name in ("flash", "flash_lazy", "flash_pubsub", "flash_ws"):
    if importlib.util.find_spec(name):
        print(name, importlib.import_module(name).__file__)
"""


def run(*command: str | Path) -> str:
    """What the command printed. It runs at the root, where uv finds its settings."""
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    program = shutil.which("uv", path=f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert program, "uv is missing: run `make setup`"
    return program


@pytest.fixture(scope="module")
def wheels(uv: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in BRINGS:
        run(uv, "build", "--quiet", "--wheel", "--package", name, "--out-dir", folder)
    return {name: next(folder.glob(f"{name.replace('-', '_')}-*.whl")) for name in BRINGS}


def imported_after_installing(
    name: str, extras: str, uv: str, wheels: dict[str, Path], folder: Path
) -> set[str]:
    """The packages of ours that an environment can import into which ``name`` was installed."""
    requirement = f"{name}{extras} @ {wheels[name].as_uri()}"
    # An override says where a sibling comes from if something depends on it, and only then. It
    # keeps an index out of it that holds another package of that name.
    siblings = folder / "siblings.txt"
    siblings.write_text(
        "".join(f"{other} @ {wheel.as_uri()}\n" for other, wheel in wheels.items() if other != name)
    )
    environment = folder / "environment"
    python = environment / "bin" / "python"
    run(uv, "venv", "--quiet", environment)
    run(uv, "pip", "install", "--python", python, "--overrides", siblings, requirement)
    lines = run(python, "-I", "-c", IMPORT_ALL).splitlines()
    found = dict(line.split(" ", 1) for line in lines)
    assert all(Path(file).is_relative_to(environment) for file in found.values())
    return set(found)


@pytest.mark.parametrize("extras", ["[ws,pubsub,lazy]", "[all]"])
def test_the_extras_of_flash_core_bring_all_four_packages(extras, uv, wheels, tmp_path):
    assert imported_after_installing("flash-core", extras, uv, wheels, tmp_path) == ALL


@pytest.mark.parametrize("name", sorted(BRINGS))
def test_a_package_installs_and_imports_with_its_own_dependencies(name, uv, wheels, tmp_path):
    assert imported_after_installing(name, "", uv, wheels, tmp_path) == BRINGS[name]


@pytest.mark.parametrize("name", sorted(BRINGS))
def test_a_wheel_holds_its_licence_and_its_typing_marker(name, wheels):
    held = ZipFile(wheels[name]).namelist()
    assert any(file.endswith("/licenses/LICENSE") for file in held)
    assert any(file.endswith("/py.typed") for file in held)
