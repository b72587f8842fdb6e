"""Packages whose older versions have known holes, and the lowest version of each without them.

The lower bounds in ``pyproject.toml`` are none below them; a test compares the two.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The lowest version without the hole that is named. Most come by way of Dash, Quart or Hypercorn.
SAFE_VERSIONS: Mapping[str, tuple[str, str]] = {
    "flask": ("3.1.3", "CVE-2026-27205, caches may share pages of a session"),
    "h11": ("0.16.0", "CVE-2025-43859, request smuggling by chunked bodies"),
    "h2": ("4.3.0", "CVE-2025-57804, request splitting by headers"),
    "jinja2": ("3.1.6", "CVE-2025-27516, a sandbox that can be left"),
    "requests": ("2.32.4", "CVE-2024-47081, credentials of .netrc sent to other hosts"),
    "urllib3": ("2.7.0", "CVE-2026-44432, decompression bombs"),
    "werkzeug": ("3.1.6", "GHSA-29vq-49wr-vm6x and earlier, safe_join and multipart forms"),
}


@dataclass(frozen=True, slots=True)
class Outdated:
    """An installed package with a known hole."""

    name: str
    installed: str
    # The lowest version without it.
    safe: str
    reason: str


def outdated() -> Iterator[Outdated]:
    """Yield the installed packages whose version is below a safe one."""
    for name, (safe, reason) in SAFE_VERSIONS.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if _release(installed) < _release(safe):
            yield Outdated(name, installed, safe, reason)


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; what follows them, such as ``.post1``, is left out."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
