"""What the comments above the fields of a class say, as a list below its docstring.

In this code an attribute is explained by a comment above its line.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def source(path: str) -> tuple[list[str], dict[str, ast.ClassDef]]:
    """The lines of a file, and its classes by their qualified names."""
    text = Path(path).read_text(encoding="utf-8")
    return text.splitlines(), dict(classes(ast.parse(text), ""))


def classes(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            yield from classes(node, f"{prefix}{node.name}.")
        else:
            yield from classes(node, prefix)


def fields(cls: type) -> Iterator[tuple[str, str, str, str]]:
    """Each public field of a class that a comment explains: name, type, default, comment."""
    path = inspect.getsourcefile(cls)
    lines, defined = source(path) if path else ([], {})
    definition = defined.get(cls.__qualname__)
    for node in definition.body if definition else ():
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        comment = comment_above(lines, node.lineno - 1)
        if comment and not node.target.id.startswith("_"):
            default = ast.unparse(node.value) if node.value else ""
            yield node.target.id, ast.unparse(node.annotation), default, comment


def comment_above(lines: list[str], index: int) -> str:
    """The comment that ends on the line before ``lines[index]``."""
    found: list[str] = []
    while index and (line := lines[index - 1].strip()).startswith("# "):
        found.insert(0, line.removeprefix("# "))
        index -= 1
    return " ".join(found)


def add_fields(app, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Append the fields of a class to its docstring."""
    if what not in {"class", "exception"} or not isinstance(obj, type):
        return
    try:
        explained = list(fields(obj))
    except (OSError, TypeError):
        return
    if not explained:
        return
    lines.append("")
    for field, annotation, default, comment in explained:
        equals = f" = {default}" if default else ""
        lines += [f".. py:attribute:: {field}", "   :no-index:", f"   :type: {annotation}"]
        lines += [f"   :value: {default}"] if equals else []
        lines += ["", f"   {comment}", ""]


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", add_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
