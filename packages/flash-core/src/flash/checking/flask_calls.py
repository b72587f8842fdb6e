"""What an app asks of Flask that has a better way under Flash, or none."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import flask

from flash.checking.finding import Finding
from flash.seams.flask_extensions import DISPATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash.checking.project import Project, Source

_LIVE = "use flash_ws.Live for messages, or `@app.server.websocket(rule)` of Quart"
_RUN = "serve with flash run module:app"

# By package or name in one: what is wrong with it, and the remedy. What is not here works.
_EXTENSIONS = {
    "flask_socketio": ("takes over connections of a WSGI server", _LIVE),
    "flask_sock": ("takes over connections of a WSGI server", _LIVE),
    "flask_sockets": ("takes over connections of a WSGI server", _LIVE),
    "geventwebsocket": ("takes over connections of a WSGI server", _LIVE),
    "flask_sse": ("holds a thread for each page that is open", "use flash_ws.Live"),
    "jupyter_dash": ("is an old Dash of its own", "use app.run, see docs/dash-parity.md"),
    "gevent.monkey.patch_all": ("replaces what asyncio needs", "leave it out"),
    "eventlet.monkey_patch": ("replaces what asyncio needs", "leave it out"),
    "gevent.pywsgi.WSGIServer": ("serves by WSGI, without the live link", _RUN),
    "waitress.serve": ("serves by WSGI, without the live link", _RUN),
    "cheroot.wsgi.Server": ("serves by WSGI, without the live link", _RUN),
    "wsgiref.simple_server.make_server": ("serves by WSGI, without the live link", _RUN),
    "werkzeug.serving.run_simple": ("serves by WSGI, without the live link", _RUN),
}

_PROXY_FIX = "werkzeug.middleware.proxy_fix.ProxyFix"


def extensions(project: Project) -> Iterator[Finding]:
    """Report imports of extensions and servers that need WSGI, or are not needed."""
    for source in project.served:
        for name, line in source.names.imported().items():
            known = _EXTENSIONS.get(name) or _EXTENSIONS.get(name.partition(".")[0])
            if known is not None:
                yield Finding(str(source.path), line, f"{name} {known[0]}", known[1])
        for call in ast.walk(source.tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                name = source.names.full(call.func)
                known = _EXTENSIONS.get(name or "")
                if known is not None and name not in source.names.imported():
                    yield Finding(str(source.path), call.lineno, f"{name} {known[0]}", known[1])


def wsgi_middleware(project: Project) -> Iterator[Finding]:
    """Report ``app.server.wsgi_app = Middleware(…)``; in the sources, else on the imported app."""
    is_found = False
    for source in project.served:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Assign):
                continue
            if not any(isinstance(t, ast.Attribute) and t.attr == "wsgi_app" for t in node.targets):
                continue
            is_found = True
            yield _middleware(source, node)
    server = getattr(project.app, "server", project.app)
    layer = vars(server).get("wsgi_app") if isinstance(server, flask.Flask) else None
    # A Flask app that Flash has adopted has a method of ours there.
    if (
        not is_found
        and layer is not None
        and not getattr(layer, "__module__", "").startswith("flash.")
    ):
        layer = type(layer).__qualname__
        file, line = app_place(project)
        yield Finding(
            file,
            line,
            f"the app has the WSGI middleware {layer}, which runs in a thread for every request",
            "use ASGI middleware: app.server.asgi_app = Middleware(app.server.asgi_app)",
        )


def _middleware(source: Source, node: ast.Assign) -> Finding:
    call = node.value
    name = source.names.full(call.func) if isinstance(call, ast.Call) else None
    if name == _PROXY_FIX:
        return Finding(
            str(source.path),
            node.lineno,
            "ProxyFix believes the headers of every sender",
            "leave it out, and name the proxy: flash run --trusted-proxies ADDRESSES",
        )
    shown = name.rpartition(".")[2] if name else ast.unparse(call)
    return Finding(
        str(source.path),
        node.lineno,
        f"WSGI middleware ({shown}) runs in a thread for every request, without its response",
        "use ASGI middleware: app.server.asgi_app = Middleware(app.server.asgi_app)",
    )


def request_classes(project: Project) -> Iterator[Finding]:
    """Report request classes of an app's own, and Flask apps that dispatch in their own way."""
    for source in project.served:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(_names(target, "request_class") for target in targets) and node.value:
                    yield Finding(
                        str(source.path),
                        node.lineno,
                        f"only flask.request is of the class {ast.unparse(node.value)}",
                        "keep it for code that uses flask.request; callbacks read dash.ctx, and "
                        "what is async reads quart.request",
                    )
            elif isinstance(node, ast.ClassDef) and _is_flask(node, source):
                for each in node.body:
                    if (
                        isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                        and each.name in DISPATCH
                    ):
                        yield Finding(
                            str(source.path),
                            each.lineno,
                            f"{node.name}.{each.name} handles requests in a way of its own, which "
                            "Flash does not call",
                            "use before_request, after_request or ASGI middleware",
                        )


def _names(target: ast.expr, name: str) -> bool:
    match target:
        case ast.Attribute(attr=found) | ast.Name(id=found):
            return found == name
        case _:
            return False


def _is_flask(node: ast.ClassDef, source: Source) -> bool:
    return any(source.names.full(base) in ("flask.Flask", "flask.app.Flask") for base in node.bases)


def app_place(project: Project) -> tuple[str, int]:
    """Return the file and line to name for what only the imported app shows."""
    name = getattr(getattr(project.app, "config", None), "name", "")
    for source in project.served:
        if source.module == name:
            return str(source.path), 1
    return str(next((source.path for source in project.served), ".")), 1
