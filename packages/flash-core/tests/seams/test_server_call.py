"""An app, its server and its Flask app are called by ASGI and by WSGI."""

import asyncio
import inspect
import io
import threading

import flask
import pytest
from hypercorn.utils import is_asgi

from flash import Flash, html
from flash.serving.target import check_application


def environment(path="/", **more):
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        **more,
    }


def answered(served, environ):
    """Call by WSGI; return the status and the body."""
    started = []
    body = b"".join(served(environ, lambda status, headers, error=None: started.append(status)))
    return int(started[0].split()[0]), body.decode()


def objects():
    flask_app = flask.Flask("moved")
    yield "flask", Flash("moved", server=flask_app), flask_app
    app = Flash("moved")
    yield "app", app, app
    app = Flash("moved")
    yield "server", app, app.server


@pytest.fixture(params=["flask", "app", "server"])
def served(request):
    app, found = next(rest for name, *rest in objects() if name == request.param)
    app.layout = html.P("hello")

    @app.server.route("/told", methods=["GET", "POST"])
    def told():
        return {
            "path": flask.request.path,
            "query": flask.request.args.to_dict(),
            "body": flask.request.get_data(as_text=True),
        }

    return found


def test_servers_take_it_for_an_asgi_application(served):
    assert is_asgi(served)
    assert asyncio.iscoroutinefunction(served.__call__)
    assert inspect.iscoroutinefunction(type(served).__call__)
    assert list(inspect.signature(served).parameters) == ["scope", "receive", "send"]
    assert check_application(served, "moved:app") is served


def test_two_arguments_are_a_request_by_wsgi(served):
    status, page = answered(served, environment())
    assert status == 200
    assert "react-entry-point" in page


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"QUERY_STRING": "a=\xc3\xa9"}, '"a":"\\u00e9"'),
        ({"QUERY_STRING": "a=%C3%A9&b=1"}, '"b":"1"'),
        ({"PATH_INFO": "/told\xff"}, None),
        ({"SERVER_PORT": "8000", "REMOTE_ADDR": "10.0.0.1"}, '"path":"/told"'),
        (
            {
                "REQUEST_METHOD": "POST",
                "HTTP_TRANSFER_ENCODING": "chunked",
                "wsgi.input": io.BytesIO(b"of unknown length"),
            },
            '"body":"of unknown length"',
        ),
    ],
)
def test_what_a_request_brings_arrives_and_nothing_is_a_server_error(served, more, told):
    if "wsgi.input" in more:
        more["wsgi.input"].seek(0)
    status, answer = answered(served, environment("/told", **{"PATH_INFO": "/told", **more}))
    assert status == 200
    assert told is None or told in answer


def test_a_client_that_goes_ends_what_answers_it():
    app = Flash("moved")
    app.layout = html.P("hello")
    ended = threading.Event()

    @app.server.get("/endless")
    async def endless():
        async def lines():
            try:
                while True:
                    yield b"line\n"
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return lines()

    answer = iter(app.server(environment("/endless"), lambda *_: None))
    assert next(answer) == b"line\n"
    answer.close()
    assert ended.wait(30)
