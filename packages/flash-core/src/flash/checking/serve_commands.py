"""Commands that serve the app by WSGI: in a Procfile, a Dockerfile, a unit, a script."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flash.checking.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash.checking.project import Project

_SERVERS = ("gunicorn", "waitress-serve", "uwsgi", "mod_wsgi-express")
_COMMAND = re.compile(rf"(?<![\w./-])(?:[\w./-]*/)?({'|'.join(_SERVERS)})(?![\w.=<>~!\[-])")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?:\(\))?")
# Installing a server is not serving with it.
_INSTALLS = re.compile(r"\b(pip|uv|poetry|apt|apt-get|apk|conda|pipx)\b.*\b(install|add)\b")
_ASGI_WORKER = re.compile(r"uvicorn[._]workers?|UvicornWorker", re.IGNORECASE)
_WORKERS = ("-w", "--workers", "--processes", "-p")
_BIND = ("-b", "--bind", "--listen", "--http")


def wsgi_commands(project: Project) -> Iterator[Finding]:
    """Report commands with a WSGI server; gunicorn with uvicorn's worker is fine."""
    for text in project.texts:
        for line, command in _joined_lines(text.text):
            found = _COMMAND.search(command)
            if found is None or _INSTALLS.search(command) or _ASGI_WORKER.search(command):
                continue
            if found[1] in ("gunicorn", "waitress-serve") and not _TARGET.search(command):
                continue
            yield Finding(
                str(text.path),
                line,
                f"{found[1]} serves by WSGI, without the live link",
                f"serve with {_flash_run(command[found.start() :])}",
            )


def _joined_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield commands with their first line; a backslash at its end continues a line."""
    waiting, start = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not waiting:
            if line.lstrip().startswith("#"):
                continue
            start = number
        if line.rstrip().endswith("\\"):
            waiting += line.rstrip()[:-1] + " "
            continue
        yield start, waiting + line
        waiting = ""
    if waiting:
        yield start, waiting


def _flash_run(command: str) -> str:
    """Return the command that serves the same target on the same address."""
    words = _words(command)
    target = next((word for word in words if _TARGET.fullmatch(word)), "module:app")
    parts = ["flash run", target]
    for name, options in (("--bind", _BIND), ("--workers", _WORKERS)):
        value = _option(words, options)
        if value is not None:
            parts.append(f"{name} {value}")
    return " ".join(parts)


def _words(command: str) -> list[str]:
    """Split a command; that of a Dockerfile may be a list, with brackets, quotes and commas."""
    return re.sub(r"""[\[\],"']""", " ", command).split()


def _option(words: list[str], names: tuple[str, ...]) -> str | None:
    for number, word in enumerate(words):
        for name in names:
            if word == name and number + 1 < len(words):
                return words[number + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
    return None
