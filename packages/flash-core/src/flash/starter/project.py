"""The files of a new app, and the folder that they are written to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

# The files of `template` end in this, so that no tool takes them for code of Flash.
_SUFFIX = ".txt"
# Names that begin with a dot, which an archive or a tool may leave out.
_DOTTED = {"gitignore": ".gitignore", "dockerignore": ".dockerignore"}
_LOGIN_FILES = ("login.py", "assets/log-in.css")
# A line that begins a part of a file, as in ``#: no login``, or that ends it.
_PART = re.compile(r"#: (?P<no>no )?(?P<name>\w+)")
# What stands in the templates for what is given.
_WORD = re.compile(r"TITLE|VERSION")
_MAX_TITLE = 60


@dataclass(frozen=True, slots=True)
class NewProject:
    """What a new app is called, and what it is to have."""

    title: str
    # The version of flash-core that it is written for.
    version: str
    login: bool = False
    redis: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.title) <= _MAX_TITLE or re.search(r'[\\"{}\r\n]', self.title):
            raise ConfigurationError(
                f"{self.title!r} cannot be the title of an app: it has 1 to {_MAX_TITLE} "
                'characters, and none of \\ " { } nor a line break'
            )


def title_of(folder: Path) -> str:
    """Return the title of an app in a folder of this name: "Machine hall" for ``machine-hall``."""
    words = re.sub(r"[^\w]+|_+", " ", folder.resolve().name).strip()
    return (words[:1].upper() + words[1:])[:_MAX_TITLE] or "Flash"


def missing_packages() -> list[str]:
    """Return the packages that a new app imports and that are not installed here."""
    return [name for name in ("flash_ws", "flash_pubsub") if find_spec(name) is None]


def files_of(project: NewProject) -> Mapping[str, str]:
    """Return the text of each file of a new app by its path, with slashes."""
    words = {"TITLE": project.title, "VERSION": project.version}
    has = {"login": project.login, "redis": project.redis}
    texts: dict[str, str] = {}
    for path, source in _templates(resources.files("flash.starter") / "template"):
        if path in _LOGIN_FILES and not project.login:
            continue
        text = choose_parts(source.read_text(encoding="utf-8"), has)
        texts[path] = _WORD.sub(lambda found: words[found[0]], text)
    return texts


def _templates(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            yield from _templates(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            name = entry.name.removesuffix(_SUFFIX)
            yield above + _DOTTED.get(name, name), entry


def choose_parts(text: str, has: Mapping[str, bool]) -> str:
    """Return ``text`` without the lines of parts that are not chosen, and without their marks.

    ``#: name`` begins lines for apps that have it, ``#: no name`` lines for those that do not, and
    ``#: end`` ends them.
    """
    lines: list[str] = []
    takes = True
    for line in text.splitlines(keepends=True):
        if (mark := _PART.fullmatch(line.rstrip("\n"))) is None:
            if takes:
                lines.append(line)
        else:
            takes = mark["name"] == "end" or has[mark["name"]] is not bool(mark["no"])
    return "".join(lines)


def write_project(folder: Path, project: NewProject) -> list[Path]:
    """Write the files of a new app to ``folder``, which is made if there is none.

    Returns their paths. Raises `ConfigurationError` if ``folder`` is a file or has something in
    it: nothing of anybody is overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file; name a folder that is empty, or a new one")
    if folder.is_dir() and (found := sorted(each.name for each in folder.iterdir())):
        raise ConfigurationError(
            f"{folder} is not empty, it has {', '.join(found[:3])}{' …' if found[3:] else ''}; "
            "name a folder that is empty, or a new one"
        )
    paths: list[Path] = []
    for name, text in files_of(project).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
