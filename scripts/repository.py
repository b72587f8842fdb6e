"""The address of the repository, which metadata, READMEs and the site lead to.

``python scripts/repository.py`` prints it, and fails where the files disagree.
``python scripts/repository.py https://example.org/flash`` writes it everywhere.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

STATED = re.compile(r'^Repository = "(?P<address>https://[^"]+)"$', re.MULTILINE)


def files(root: Path) -> list[Path]:
    """Every file that may name the address."""
    return [
        *sorted(root.glob("packages/*/pyproject.toml")),
        *sorted(root.glob("packages/*/README.md")),
        *sorted(root.glob(".github/**/*.y*ml")),
    ]


def stated(root: Path) -> set[str]:
    """The addresses that the packages state as their repository."""
    return {
        found["address"]
        for file in root.glob("packages/*/pyproject.toml")
        for found in STATED.finditer(file.read_text())
    }


def main(arguments: list[str], root: Path) -> int:
    """Print the address, or write the one given; a non-zero result is a failure."""
    found = stated(root)
    if len(found) != 1:
        print(f"the packages state several: {', '.join(sorted(found))}", file=sys.stderr)
        return 1
    (address,) = found
    if arguments:
        wanted = arguments[0].rstrip("/")
        if not re.fullmatch(r"https://[\w.-]+(/[\w.~-]+)+", wanted):
            print(f"not an address: {wanted!r}; write https://host/owner/name", file=sys.stderr)
            return 2
        for file in files(root):
            file.write_text(file.read_text().replace(address, wanted))
        address = wanted
    print(address)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path.cwd()))
