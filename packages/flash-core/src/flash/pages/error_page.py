"""The HTML page that shows an exception to a developer: the user's lines, then its causes.

Dash's renderer shows it in an iframe of its error panel, and adjusts the height of the iframe when
the page is loaded, resized or clicked. So the page is one self-contained document, and it fires a
resize event when it grows.
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

# Source files below these folders are not the user's.
_FRAMEWORK = (
    str(Path(__file__).parents[1]),
    *(str(Path(module.__file__ or "").parent) for module in (dash, quart, werkzeug)),
)

# Number of source lines shown before and after the line that raised.
_CONTEXT_LINES = 3


def render_error(error: BaseException, *, pruned: bool) -> str:
    """Return the HTML page for ``error``; ``pruned`` omits frames of Dash, Quart and Flash.

    Reads source files. An error without a frame of the user's code is shown with all frames.
    """
    return _template().render(
        title=f"{type(error).__name__}: {error}",
        errors=[
            _described(each, relation, pruned=pruned) for each, relation in _with_causes(error)
        ],
        text=_as_text(error, pruned=pruned),
    )


@cache
def _template() -> Template:
    source = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    return Template(source, autoescape=True, trim_blocks=True)


def _with_causes(
    error: BaseException, relation: str = "", seen: frozenset[int] = frozenset()
) -> Iterator[tuple[BaseException, str]]:
    """Yield ``error``, the members of a group and its causes, each with its relation to it."""
    if id(error) in seen:
        return
    seen |= {id(error)}
    yield error, relation
    if isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error
        for number, member in enumerate(group.exceptions, start=1):
            member_of = f"{number} of {len(group.exceptions)} in the group"
            yield from _with_causes(member, member_of, seen)
    if error.__cause__ is not None:
        yield from _with_causes(error.__cause__, "caused by", seen)
    elif error.__context__ is not None and not error.__suppress_context__:
        yield from _with_causes(error.__context__, "raised while this was handled", seen)


def _described(error: BaseException, relation: str, *, pruned: bool) -> dict[str, object]:
    frames = list(traceback.walk_tb(error.__traceback__))
    if pruned:
        frames = [each for each in frames if _is_user_code(each[0].f_code.co_filename)] or frames
    sections = [
        _section(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames
    ]
    kind = type(error).__name__
    return {"kind": kind, "message": str(error), "relation": relation, "sections": sections}


def _is_user_code(filename: str) -> bool:
    return not filename.startswith(_FRAMEWORK) and "concurrent/futures" not in filename


def _section(filename: str, line: int, function: str) -> tuple[str, list[tuple[str, bool]]]:
    """Return the location of a frame and its lines, each with whether it is the one that raised."""
    # The line itself is shown even if the file is missing, as for code typed into a shell.
    last = max(line, min(line + _CONTEXT_LINES, len(linecache.getlines(filename))))
    lines: list[tuple[str, bool]] = []
    for number in range(max(1, line - _CONTEXT_LINES), last + 1):
        source = linecache.getline(filename, number).rstrip("\n")
        lines.append((f"{number:5d}  {source}", number == line))
    return f"{filename}, line {line}, in {function}", lines


def _as_text(error: BaseException, *, pruned: bool) -> str:
    if not pruned:
        return "".join(traceback.format_exception(error))
    return "".join(traceback.format_exception(type(error), error, _first_user_frame(error)))


def _first_user_frame(error: BaseException) -> TracebackType | None:
    """Return the traceback from the first frame of the user's code, or the complete one."""
    tb = error.__traceback__
    while tb is not None and not _is_user_code(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    return tb or error.__traceback__
