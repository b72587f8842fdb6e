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
# Options that are part of the address, by server, and the address without any.
_PORT, _HOST = ("--port",), ("--host",)
_DEFAULT_ADDRESS = {"gunicorn": ("127.0.0.1", "8000"), "waitress-serve": ("0.0.0.0", "8080")}


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
                f"serve with {_flash_run(found, command, text.path.name == 'Procfile')}",
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


def _flash_run(found: re.Match[str], command: str, has_port: bool) -> str:
    """Return the command that serves the same target on the same address.

    ``has_port``: whether the command gets its port in ``$PORT``, which gunicorn reads itself.
    Options that have no counterpart are named after it.
    """
    program, server = found[0], found[1]
    words = _words(command[found.start() :])[1:]
    target = next((word for word in words if _TARGET.fullmatch(word)), "module:app")
    parts = [f"{program.removesuffix(server)}flash run", target]
    bind = _option(words, _BIND)
    if bind is None:
        host, port = _option(words, _HOST), _option(words, _PORT)
        if host is None and port is None and server == "gunicorn" and has_port:
            host, port = "0.0.0.0", "$PORT"
        usual = _DEFAULT_ADDRESS.get(server)
        if usual is not None:
            bind = f"{host or usual[0]}:{port or usual[1]}"
    if bind is not None:
        parts.append(f"--bind {bind}")
    workers = _option(words, _WORKERS)
    if workers is not None:
        parts.append(f"--workers {workers}")
    others = _others(words)
    dropped = f"; it does not have {' '.join(others)}: see docs/deploying.md" if others else ""
    return f"{' '.join(parts)}{dropped}"


def _others(words: list[str]) -> list[str]:
    """Return the options of a command, with their values, that are not carried over."""
    known = (*_BIND, *_WORKERS, *_PORT, *_HOST)
    found: list[str] = []
    for number, word in enumerate(words):
        if not word.startswith("-") or word.partition("=")[0] in known:
            continue
        value = words[number + 1] if number + 1 < len(words) else ""
        has_value = "=" not in word and value and not value.startswith("-")
        is_target = _TARGET.fullmatch(value) is not None
        found.append(f"{word} {value}" if has_value and not is_target else word)
    return found


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
