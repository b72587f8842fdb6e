"""The page that shows a developer what went wrong: the user's own lines, then what they came from.

Dash's renderer puts it into its error panel, in a frame that is as high as the page says when it is
loaded, resized or clicked; so it is one self-contained document, and says so when it grows.
"""

from __future__ import annotations

import html
import linecache
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import dash
import quart
import werkzeug

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

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 0; padding: 20px; }}
body {{ color: #1c2733; background: #fff; }}
h1 {{ font-size: 18px; margin: 0 0 4px; color: #b3261e; }}
h1 small {{ display: block; font-size: 13px; font-weight: 400; color: #5b6875; }}
section + h1 {{ margin-top: 20px; }}
p.message {{ margin: 0 0 16px; white-space: pre-wrap; overflow-wrap: anywhere; }}
section {{ border: 1px solid #d5dbe1; border-radius: 6px; margin: 0 0 12px; }}
section h2 {{ font-size: 13px; margin: 0; padding: 6px 10px; background: #f1f4f7; }}
pre {{ font: 12px/1.5 ui-monospace, monospace; margin: 0; padding: 8px 10px; overflow-x: auto; }}
pre code {{ font: inherit; display: block; width: max-content; min-width: 100%; }}
pre b {{ display: block; background: #fdecea; }}
summary {{ cursor: pointer; }}
</style>
</head>
<body>
{errors}
<details ontoggle="window.dispatchEvent(new Event('resize'))"><summary>Traceback as text</summary>
<pre>{text}</pre></details>
</body>
</html>
"""


def render_error(error: BaseException, *, pruned: bool) -> str:
    """Return the HTML page for ``error``; ``pruned`` leaves out frames of Dash, Quart and Flash.

    Reads source files. An error that has no frame of the user's is shown whole.
    """
    return _PAGE.format(
        title=html.escape(f"{type(error).__name__}: {error}"),
        errors="".join(_shown(each, how, pruned=pruned) for each, how in _with_origins(error)),
        text=html.escape(_as_text(error, pruned=pruned)),
    )


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


def _shown(error: BaseException, how: str, *, pruned: bool) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    if pruned:
        frames = [each for each in frames if _is_users(each[0].f_code.co_filename)] or frames
    sections = "".join(
        _section(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames
    )
    kind, message = html.escape(type(error).__name__), html.escape(str(error))
    heading = f"<small>{html.escape(how)}</small>{kind}" if how else kind
    return f'<h1>{heading}</h1>\n<p class="message">{message}</p>\n{sections}'


def _is_users(filename: str) -> bool:
    return not filename.startswith(_FRAMEWORK) and "concurrent/futures" not in filename


def _section(filename: str, line: int, function: str) -> str:
    lines = linecache.getlines(filename)
    # The line itself even where its file is not there, such as code typed into a shell.
    last = max(line, min(line + _AROUND, len(lines)))
    rows: list[str] = []
    for number in range(max(1, line - _AROUND), last + 1):
        source = linecache.getline(filename, number).rstrip("\n")
        row = html.escape(f"{number:5d}  {source}")
        rows.append(f"<b>{row}</b>" if number == line else f"{row}\n")
    where = html.escape(f"{filename}, line {line}, in {function}")
    return f"<section><h2>{where}</h2><pre><code>{''.join(rows)}</code></pre></section>\n"


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
