"""The page that shows a developer what went wrong: the traceback, user code first.

Dash's renderer puts it into its error panel, so it is one self-contained document.
"""

from __future__ import annotations

import html
import linecache
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import dash
import quart

import flash

if TYPE_CHECKING:
    from types import TracebackType

# Frames below these folders are not the user's; nor is the standard library's thread machinery.
_FRAMEWORK = tuple(str(Path(module.__file__ or "").parent) for module in (dash, quart, flash))

# Lines shown before and after the one that raised.
_AROUND = 3

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 0; padding: 20px; }}
body {{ color: #1c2733; background: #fff; }}
h1 {{ font-size: 18px; margin: 0 0 4px; color: #b3261e; }}
p.message {{ margin: 0 0 16px; white-space: pre-wrap; overflow-wrap: anywhere; }}
section {{ border: 1px solid #d5dbe1; border-radius: 6px; margin: 0 0 12px; }}
section h2 {{ font-size: 13px; margin: 0; padding: 6px 10px; background: #f1f4f7; }}
pre {{ font: 12px/1.5 ui-monospace, monospace; margin: 0; padding: 8px 10px; overflow-x: auto; }}
pre b {{ display: block; background: #fdecea; }}
</style>
</head>
<body>
<h1>{kind}</h1>
<p class="message">{message}</p>
{frames}
<details><summary>Traceback as text</summary><pre>{text}</pre></details>
</body>
</html>
"""


def render_error(error: BaseException, *, pruned: bool) -> str:
    """Return the HTML page for ``error``; ``pruned`` leaves out frames of Dash, Quart and Flash.

    Reads source files. An error that has no frame of the user's is shown whole.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    if pruned:
        frames = [each for each in frames if _is_users(each[0].f_code.co_filename)] or frames
    shown = "".join(
        _section(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames
    )
    kind = type(error).__name__
    return _PAGE.format(
        title=html.escape(f"{kind}: {error}"),
        kind=html.escape(kind),
        message=html.escape(str(error)),
        frames=shown,
        text=html.escape(_as_text(error, pruned=pruned)),
    )


def _is_users(filename: str) -> bool:
    return not filename.startswith(_FRAMEWORK) and "concurrent/futures" not in filename


def _section(filename: str, line: int, function: str) -> str:
    rows: list[str] = []
    for number in range(max(1, line - _AROUND), line + _AROUND + 1):
        source = linecache.getline(filename, number).rstrip("\n")
        if source or number == line:
            row = html.escape(f"{number:5d}  {source}")
            rows.append(f"<b>{row}</b>" if number == line else row + "\n")
    where = html.escape(f"{filename}, line {line}, in {function}")
    return f"<section><h2>{where}</h2><pre>{''.join(rows)}</pre></section>\n"


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
