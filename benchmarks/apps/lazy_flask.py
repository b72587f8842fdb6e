"""Dash on Flask with eight threads: ``python -m apps.lazy_flask PORT layout|callbacks``."""

from __future__ import annotations

import sys
import threading
from typing import Any

from dash import MATCH, Dash, Input, Output, html
from werkzeug.serving import WSGIRequestHandler, make_server

from apps import lazy_work

THREADS = 8


def all_in_the_layout() -> Dash:
    app = Dash(__name__)

    def panel(number: int) -> html.Div:
        return lazy_work.frame(html.P(lazy_work.query(number), className="done"), html)

    app.layout = lambda: html.Div([panel(number) for number in range(lazy_work.PANELS)])
    return app


def a_callback_for_each() -> Dash:
    app = Dash(__name__)
    app.layout = lambda: html.Div(
        [lazy_work.frame(None, html, id={"panel": number}) for number in range(lazy_work.PANELS)]
    )

    @app.callback(Output({"panel": MATCH}, "children"), Input({"panel": MATCH}, "id"))
    def load(panel: dict[str, int]) -> html.P:
        return html.P(lazy_work.query(panel["panel"]), className="done")

    return app


class EightAtATime:
    """As many requests as a server with eight threads works on; its connections wait elsewhere."""

    def __init__(self, wsgi: Any) -> None:
        self._wsgi = wsgi
        self._threads = threading.Semaphore(THREADS)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        with self._threads:
            return self._wsgi(environ, start_response)


class Quiet(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        """Say nothing: a log would cost the peer time."""


def main() -> None:
    port, kind = sys.argv[1:]
    make = all_in_the_layout if kind == "layout" else a_callback_for_each
    app = make()
    app.server.add_url_rule("/queries", view_func=lambda: lazy_work.queries)
    wsgi = EightAtATime(app.server)
    make_server("127.0.0.1", int(port), wsgi, threaded=True, request_handler=Quiet).serve_forever()


if __name__ == "__main__":
    main()
