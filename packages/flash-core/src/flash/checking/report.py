"""What checks found, sorted, as text for people or as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flash.checking.finding import Finding
    from flash.checking.project import Project
    from flash.checking.security import Risk


def run_checks(
    project: Project, checks: Iterable[Callable[[Project], Iterable[Finding]]]
) -> list[Finding]:
    """Return what the checks find, in order of files and lines, each once."""
    found = {finding for check in checks for finding in check(project)}
    return sorted(each for each in found if not project.is_kept(each.file, each.line))


def as_text(target: str, project: Project, findings: Sequence[Finding]) -> str:
    """Return findings for people; what was read is named also where nothing was found."""
    files = len(project.sources) + len(project.texts)
    read = f"{files} file{'' if files == 1 else 's'} read"
    if not findings:
        return f"{target}: nothing to change ({read})\n"
    count = f"{len(findings)} thing{'' if len(findings) == 1 else 's'} to change"
    return "".join(f"{each}\n" for each in findings) + f"{target}: {count} ({read})\n"


def as_json(target: str, findings: Sequence[Finding]) -> str:
    """Return findings as one JSON object with the keys ``target`` and ``findings``."""
    return _json(target, "findings", findings)


def risks_as_text(target: str, risks: Sequence[Risk]) -> str:
    """Return what an app leaves open for people."""
    if not risks:
        return f"{target}: nothing is left open\n"
    count = f"{len(risks)} thing{'' if len(risks) == 1 else 's'} left open"
    return "".join(f"{each}\n" for each in risks) + f"{target}: {count}\n"


def risks_as_json(target: str, risks: Sequence[Risk]) -> str:
    """Return what an app leaves open as a JSON object with the keys ``target`` and ``risks``."""
    return _json(target, "risks", risks)


def _json(target: str, key: str, entries: Sequence[Finding | Risk]) -> str:
    found = [asdict(each) for each in entries]
    return json.dumps({"target": target, key: found}, indent=2, ensure_ascii=False) + "\n"
