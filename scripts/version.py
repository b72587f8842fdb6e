"""The one version that the workspace's packages share.

``python scripts/version.py`` prints it, and fails where the packages disagree.
``python scripts/version.py 0.2.0`` writes it everywhere, the packages' pins on each other included.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
# What stands before a version, and ends it: a project's own version, or a pin on a sibling.
PLACE = re.compile(
    r'(?P<before>^(?:__version__|version) = "|"flash-(?:core|ws|pubsub|lazy)(?:\[[a-z,]+\])?==)'
    r'(?P<version>[^"]+)',
    re.MULTILINE,
)


def files(root: Path) -> list[Path]:
    """Every file that states the version."""
    return [
        root / "pyproject.toml",
        root / "integration-tests" / "pyproject.toml",
        *sorted(root.glob("packages/*/pyproject.toml")),
        *sorted(root.glob("packages/*/src/*/__init__.py")),
    ]


def stated(root: Path) -> dict[str, set[str]]:
    """Each version found, with the files that state it."""
    found: dict[str, set[str]] = {}
    for file in files(root):
        for place in PLACE.finditer(file.read_text()):
            found.setdefault(place["version"], set()).add(str(file.relative_to(root)))
    return found


def write(root: Path, version: str) -> None:
    """State ``version`` everywhere."""
    for file in files(root):
        file.write_text(PLACE.sub(rf"\g<before>{version}", file.read_text()))


def main(arguments: list[str], root: Path) -> int:
    """Print the version, or write the one given; a non-zero result is a failure."""
    if arguments:
        version = arguments[0]
        if not VERSION.fullmatch(version):
            print(f"not a version: {version!r}; write it as 1.2.3 or 1.2.3rc1", file=sys.stderr)
            return 2
        write(root, version)
    found = stated(root)
    if len(found) != 1:
        for version, places in sorted(found.items()):
            print(f"{version}: {', '.join(sorted(places))}", file=sys.stderr)
        return 1
    print(*found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path.cwd()))
