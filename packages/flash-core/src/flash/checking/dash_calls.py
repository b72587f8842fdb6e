"""What an app asks of Dash that Flash does otherwise: the class, ``app.run``, its tests."""

from __future__ import annotations

import ast
import inspect
from typing import TYPE_CHECKING

import dash

from flash.checking.finding import Finding
from flash.errors import ConfigurationError
from flash.serving.options import options_from_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash.checking.project import Project, Source

_DASHS = ("dash.Dash", "dash.dash.Dash")
_ENRICHED = ("dash_extensions.enrich.DashProxy", "dash_extensions.enrich.Dash")

# Arguments of `app.run` that Dash handles itself.
_OF_DASH = frozenset(inspect.signature(dash.Dash.run).parameters) - {"self", "flask_run_options"}

# Arguments that say how a Flask server runs; Flash takes or refuses them with a remedy.
_OF_FLASK = frozenset({"threaded", "processes", "use_debugger", "use_evalex", "reloader_type"})

# Fixtures of `dash.testing` that serve an app.
_RUNNERS = ("dash_duo", "dash_br", "dash_thread_server", "dash_process_server")


def import_lines(project: Project) -> Iterator[Finding]:
    """Report where the class of Dash is used; nothing where the app calls `flash.install`."""
    sources = list(project.served)
    if any("flash.install" in source.names.imported() for source in sources):
        return
    for source in sources:
        seen: set[int] = set()
        for node in ast.walk(source.tree):
            used = [node.func] if isinstance(node, ast.Call) else _bases(node)
            for each in used:
                name, line = source.names.full(each), source.names.line_of(each)
                if line in seen or name not in (*_DASHS, *_ENRICHED):
                    continue
                seen.add(line)
                package = "flash.enrich" if name in _ENRICHED else "flash"
                yield Finding(
                    str(source.path),
                    line,
                    f"{name} is served by Flask",
                    f"import it from {package}: from {package} import {name.rpartition('.')[2]}; "
                    "or leave it, and serve with flash run --install",
                )


def run_arguments(project: Project) -> Iterator[Finding]:
    """Report ``app.run_server`` and arguments of ``app.run`` and ``start_server`` of Flask's."""
    for source in project.sources:
        for call in ast.walk(source.tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            method = call.func.attr
            if method == "run_server" and not source.is_test:
                yield Finding(
                    str(source.path),
                    call.lineno,
                    f"{ast.unparse(call.func)}() is gone since Dash 3",
                    "call app.run(…); it takes the same arguments",
                )
            if method in ("run", "run_server") and _is_app(call.func.value, source):
                yield from _refused(call, source, "app.run")
            if method == "start_server" and _is_runner(call.func.value):
                yield from _refused(call, source, ast.unparse(call.func))


def _refused(call: ast.Call, source: Source, called: str) -> Iterator[Finding]:
    for keyword in call.keywords:
        name = keyword.arg
        if name is None or name in _OF_DASH:
            continue
        try:
            value = ast.literal_eval(keyword.value)
        except ValueError:
            # Known only when the app runs, which then tells the same.
            continue
        try:
            options_from_run("127.0.0.1", 8050, False, **{name: value})
        except ConfigurationError as error:
            what, _, remedy = str(error).partition(": ")
            if f"{name}=" not in what:
                # What is wrong is the machine, such as a certificate that is not on it.
                continue
            what = what.replace("app.run", called)
            remedy = remedy or "leave it out, or use an argument of ServeOptions"
        else:
            if name not in _OF_FLASK:
                continue
            what, remedy = f"{called}({name}={value!r}) has no effect", "leave it out"
        yield Finding(str(source.path), keyword.value.lineno, what, remedy)


def _bases(node: ast.AST) -> list[ast.expr]:
    return node.bases if isinstance(node, ast.ClassDef) else []


def _is_app(value: ast.expr, source: Source) -> bool:
    """Whether an expression looks like an app: a name that is one, or is called so."""
    name = ast.unparse(value)
    if name.rpartition(".")[2] in ("app", "dash_app", "server"):
        # `subprocess.run` and the like are no apps.
        return True
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and (source.names.full(node.value.func) or "").rpartition(".")[2]
        in ("Dash", "Flash", "DashProxy")
        and name in [ast.unparse(target) for target in node.targets]
        for node in ast.walk(source.tree)
    )


def _is_runner(value: ast.expr) -> bool:
    return ast.unparse(value).startswith(_RUNNERS)
