"""`Names`: what a name in a Python file stands for, followed through imports."""

from __future__ import annotations

import ast


class Names:
    """The names that a module binds by importing, defining and assigning, with their full names."""

    def __init__(self, tree: ast.Module, module: str) -> None:
        # By bound name: what it stands for, and the line that binds it.
        self._bound: dict[str, tuple[str, int]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    self._bound[alias.asname or top] = (
                        alias.name if alias.asname else top,
                        node.lineno,
                    )
            elif isinstance(node, ast.ImportFrom):
                origin = _origin(node, module)
                for alias in node.names:
                    name = f"{origin}.{alias.name}"
                    self._bound[alias.asname or alias.name] = (name, node.lineno)
        for node in tree.body:
            for name in _made_by(node):
                self._bound.setdefault(name, (f"{module}.{name}", node.lineno))

    def full(self, node: ast.expr) -> str | None:
        """Return the dotted name that an expression stands for: ``t.sleep`` is ``time.sleep``.

        None for anything but a name that the module binds, and its attributes.
        """
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._bound:
            return None
        return ".".join([self._bound[node.id][0], *reversed(parts)])

    def line_of(self, node: ast.expr) -> int:
        """Return the line to change for a name: of its import if that names it, else its own."""
        if isinstance(node, ast.Name) and node.id in self._bound:
            return self._bound[node.id][1]
        return node.lineno

    def imported(self) -> dict[str, int]:
        """Return what is imported, by full name, with the line."""
        return dict(self._bound.values())


def _made_by(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines or assigns."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case _:
            return []


def _origin(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")[: -node.level]
    return ".".join([*parts, node.module] if node.module else parts)
