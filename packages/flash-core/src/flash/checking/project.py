"""`Project`: the sources around an app, parsed, and the imported app."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flash.checking.names import Names

if TYPE_CHECKING:
    from collections.abc import Iterator

# A line with these words, or the line below it, is not reported.
KEEP = "flash: keep"

# Folders that hold no sources of the app.
_FOREIGN = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages", "venv"})

# Starts of the names of files that say how an app is served, and ends of others.
_STARTS = ("Procfile", "Dockerfile", "Makefile", "docker-compose", "compose")
_ENDS = (
    ".sh",
    ".service",
    ".dockerfile",
    "app.yaml",
    "render.yaml",
    "fly.toml",
    "supervisord.conf",
)

# Bytes of the longest file that is read; a longer one is data.
_MAX_FILE = 1 << 20


@dataclass(frozen=True)
class Source:
    """One Python file of a project."""

    # The path relative to the root of the project.
    path: Path
    text: str
    tree: ast.Module

    @cached_property
    def names(self) -> Names:
        """What the names of the file stand for."""
        return Names(self.tree, self.module)

    @property
    def module(self) -> str:
        """The name under which the file is imported from the root."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def is_test(self) -> bool:
        """Whether the file belongs to the tests, which are not served."""
        name = self.path.name
        is_named = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
        return is_named or "tests" in self.path.parts


@dataclass(frozen=True)
class Text:
    """One file that is no Python, such as a Procfile."""

    path: Path
    text: str


@dataclass(frozen=True)
class Project:
    """What checks look at: the files below a folder, and the app that they make."""

    root: Path
    sources: tuple[Source, ...]
    texts: tuple[Text, ...]
    # The imported app; None if only the files are to be checked.
    app: object = None

    @classmethod
    def read(cls, root: Path, app: object = None) -> Project:
        """Read the files below ``root``, without virtual environments and hidden folders.

        A file that is no valid Python is left out.
        """
        sources: list[Source] = []
        texts: list[Text] = []
        for path in _files(root):
            is_python = path.suffix == ".py"
            if not is_python and not _says_how_to_serve(path.name):
                continue
            text = _text_of(path)
            if text is None:
                continue
            relative = path.relative_to(root)
            if not is_python:
                texts.append(Text(relative, text))
                continue
            try:
                sources.append(Source(relative, text, ast.parse(text)))
            except (SyntaxError, ValueError):
                # Such as a file written for another version of Python.
                continue
        return cls(root, tuple(sources), tuple(texts), app)

    @property
    def served(self) -> Iterator[Source]:
        """The sources without those of tests."""
        return (source for source in self.sources if not source.is_test)

    def is_kept(self, file: str, line: int) -> bool:
        """Whether a comment says that a line is to stay as it is."""
        for each in (*self.sources, *self.texts):
            if str(each.path) == file:
                lines = each.text.splitlines()[max(0, line - 2) : line]
                return any(KEEP in text for text in lines)
        return False


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _FOREIGN
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        for name in sorted(names):
            yield Path(folder, name)


def _says_how_to_serve(name: str) -> bool:
    return name.startswith(_STARTS) or name.endswith(_ENDS)


def _text_of(path: Path) -> str | None:
    try:
        if path.stat().st_size > _MAX_FILE:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
