"""Builds what would be published, and tries it as a stranger would.

Every package is built (sdist, and the wheel from the sdist), its metadata and README are checked as
an index renders them, and it is installed into an empty environment: bare and with each extra. Each
environment imports what is there, and one of them serves the quick start. A release is good if the
last line says so.

``python scripts/release_check.py [--tag v1.2.3]``; a tag must be the packages' version.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
UV = ROOT / ".tools" / "bin" / "uv"
# Seconds that the app may take until it answers.
PATIENCE = 60

# Imports what is installed of ours, and fails where a package is not as it should be.
IMPORT_ALL = """
import importlib, importlib.metadata as metadata, sys
distribution, *modules = sys.argv[1:]
for name in modules:
    module = importlib.import_module(name)
    assert module.__version__ == metadata.version(distribution), name
    for public in module.__all__:
        try:
            getattr(module, public)
        except ImportError as error:
            # A name that needs an extra says which.
            assert "pip install" in str(error), (public, error)
"""


def run(*command: str | Path) -> str:
    """Return what a command prints; ends the program, with its output, if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def projects() -> dict[str, dict]:
    """The metadata of each package, by the name of its distribution."""
    files = ROOT.glob("packages/*/pyproject.toml")
    found = [tomllib.loads(file.read_text())["project"] for file in files]
    return {project["name"]: project for project in sorted(found, key=lambda each: each["name"])}


def build(names: list[str]) -> dict[str, Path]:
    """Build every package anew and return its wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    for name in names:
        run(UV, "build", "--quiet", "--package", name, "--out-dir", DIST)
    built = sorted(DIST.glob("*.tar.gz"))
    if len(built) != len(names):
        sys.exit(f"{len(built)} sdists for {len(names)} packages")
    return {name: next(DIST.glob(f"{name.replace('-', '_')}-*.whl")) for name in names}


def check_metadata(names: list[str], version: str) -> None:
    """Check names and versions of the files, and what an index would show."""
    expected = {f"{name.replace('-', '_')}-{version}.tar.gz" for name in names} | {
        f"{name.replace('-', '_')}-{version}-py3-none-any.whl" for name in names
    }
    # uv puts a .gitignore beside what it builds.
    found = {file.name for file in DIST.iterdir() if not file.name.startswith(".")}
    if found != expected:
        sys.exit(f"dist has {sorted(found)}, not {sorted(expected)}")
    run(UV, "tool", "run", "--from", "twine>=6.1", "twine", "check", "--strict", *DIST.glob("*-*"))


def install(folder: Path, requirement: str, wheels: dict[str, Path], *, but: str) -> Path:
    """Install into an empty environment and return its Python; siblings are those built here."""
    siblings = folder / "siblings.txt"
    siblings.write_text(
        "".join(f"{name} @ {wheel.as_uri()}\n" for name, wheel in wheels.items() if name != but)
    )
    python = folder / "environment" / "bin" / "python"
    run(UV, "venv", "--quiet", "--clear", "--python", sys.executable, folder / "environment")
    run(UV, "pip", "install", "--python", python, "--overrides", siblings, requirement)
    return python


def brought(name: str, extra: str, found: dict[str, dict]) -> set[str]:
    """The distributions of ours that a package brings with an extra."""
    project = found[name]
    required = [*project["dependencies"], *project.get("optional-dependencies", {}).get(extra, [])]
    names = {name}
    for requirement in required:
        match = re.match(r"(flash-\w+)(?:\[([\w,]+)\])?", requirement)
        if match is None:
            continue
        if match[1] not in names:
            names |= brought(match[1], "", found)
        for inner in filter(None, (match[2] or "").split(",")):
            names |= brought(match[1], inner, found)
    return names


def serve(python: Path) -> None:
    """Serve the quick start with the installed command until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python.with_name("flash"), "run", "quickstart:app", "--bind", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, cwd=ROOT / "examples", stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}/_dash-layout", timeout=5) as answer:
                    answer.read()
                return
            except (URLError, ConnectionError) as error:
                if process.poll() is not None or time.monotonic() > end:
                    process.kill()
                    sys.exit(
                        f"the quick start does not answer: {error}\n{process.communicate()[1]}"
                    )
                time.sleep(0.2)
    finally:
        process.terminate()
        process.wait()


def main(arguments: list[str]) -> None:
    """Do everything that the module's docstring says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tag", help="the tag that is released, such as v1.2.3")
    options = parser.parse_args(arguments)
    version = run(sys.executable, ROOT / "scripts" / "version.py").strip()
    if options.tag not in (None, f"v{version}"):
        sys.exit(f"the tag {options.tag!r} is not the version of the packages, {version}")
    found = projects()
    wheels = build(list(found))
    check_metadata(list(found), version)
    print(f"built and checked: {', '.join(wheel.name for wheel in wheels.values())}")
    for name, project in found.items():
        for extra in ("", *project.get("optional-dependencies", {})):
            wanted = f"{name}[{extra}]" if extra else name
            with tempfile.TemporaryDirectory() as folder:
                requirement = f"{wanted} @ {wheels[name].as_uri()}"
                python = install(Path(folder), requirement, wheels, but=name)
                modules = [
                    each.replace("-core", "").replace("-", "_")
                    for each in sorted(brought(name, extra, found))
                ]
                run(python, "-I", "-c", IMPORT_ALL, name, *modules)
                if wanted == "flash-core[all]":
                    serve(python)
                    modules.append("the quick start is served")
            print(f"{wanted}: {', '.join(modules)}")
    print(f"version {version} can be released")


if __name__ == "__main__":
    main(sys.argv[1:])
