"""The page that shows a developer what went wrong: the user's own lines, then what they came from.

Dash's renderer puts it into its error panel, in a frame that is as high as the page says when it is
loaded, resized or clicked; so it is one self-contained document, and says so when it grows.
"""

from __future__ import annotations

import linecache
import traceback
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import dash
import quart
import werkzeug
from jinja2 import Template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

# Frames below these folders are not the user's; nor is the standard library's thread machinery.
_FRAMEWORK = (
    str(Path(__file__).parents[1]),
    *(str(Path(module.__file__ or "").parent) for module in (dash, quart, werkzeug)),
)

# Lines shown before and after the one that raised.
_AROUND = 3


def render_error(error: BaseException, *, pruned: bool) -> str:
    """Return the HTML page for ``error``; ``pruned`` leaves out frames of Dash, Quart and Flash.

    Reads source files. An error that has no frame of the user's is shown whole.
    """
    return _template().render(
        title=f"{type(error).__name__}: {error}",
        errors=[_shown(each, how, pruned=pruned) for each, how in _with_origins(error)],
        text=_as_text(error, pruned=pruned),
    )


@cache
def _template() -> Template:
    source = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    return Template(source, autoescape=True, trim_blocks=True)


def _with_origins(
    error: BaseException, how: str = "", seen: frozenset[int] = frozenset()
) -> Iterator[tuple[BaseException, str]]:
    """Yield ``error``, the members of a group, and what it came from, each with how that was."""
    if id(error) in seen:
        return
    seen |= {id(error)}
    yield error, how
    if isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error
        for number, member in enumerate(group.exceptions, start=1):
            of = f"{number} of {len(group.exceptions)} in the group"
            yield from _with_origins(member, of, seen)
    if error.__cause__ is not None:
        yield from _with_origins(error.__cause__, "caused by", seen)
    elif error.__context__ is not None and not error.__suppress_context__:
        yield from _with_origins(error.__context__, "raised while this was handled", seen)


def _shown(error: BaseException, how: str, *, pruned: bool) -> dict[str, object]:
    frames = list(traceback.walk_tb(error.__traceback__))
    if pruned:
        frames = [each for each in frames if _is_users(each[0].f_code.co_filename)] or frames
    sections = [
        _section(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames
    ]
    kind = type(error).__name__
    return {"kind": kind, "message": str(error), "how": how, "sections": sections}


def _is_users(filename: str) -> bool:
    return not filename.startswith(_FRAMEWORK) and "concurrent/futures" not in filename


def _section(filename: str, line: int, function: str) -> tuple[str, list[tuple[str, bool]]]:
    """Return where a frame is, and its lines, each with whether it is the one that raised."""
    # The line itself even where its file is not there, such as code typed into a shell.
    last = max(line, min(line + _AROUND, len(linecache.getlines(filename))))
    lines: list[tuple[str, bool]] = []
    for number in range(max(1, line - _AROUND), last + 1):
        source = linecache.getline(filename, number).rstrip("\n")
        lines.append((f"{number:5d}  {source}", number == line))
    return f"{filename}, line {line}, in {function}", lines


def _as_text(error: BaseException, *, pruned: bool) -> str:
    if not pruned:
        return "".join(traceback.format_exception(error))
    return "".join(traceback.format_exception(type(error), error, _first_of_user(error)))


def _first_of_user(error: BaseException) -> TracebackType | None:
    """Return the traceback from the first frame that is the user's, or the whole one."""
    tb = error.__traceback__
    while tb is not None and not _is_users(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    return tb or error.__traceback__
