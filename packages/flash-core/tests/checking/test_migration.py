"""`flash check --migrate`: what it finds in an app of Dash, and what it leaves alone."""

from __future__ import annotations

import json
import sys
from textwrap import dedent

import dash
import flask
import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from flash import cli
from flash.checking.blocking import blocking_calls
from flash.checking.dash_calls import import_lines, run_arguments
from flash.checking.flask_calls import extensions, request_classes, wsgi_middleware
from flash.checking.migration import MIGRATION
from flash.checking.project import Project
from flash.checking.report import run_checks
from flash.checking.serve_commands import wsgi_commands


@pytest.fixture
def found(tmp_path):
    """What one check finds in files: ``file:line`` with the whole text."""

    def find(check, files, app=None):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text).lstrip())
        return run_checks(Project.read(tmp_path, app), [check])

    return find


@pytest.fixture
def in_app(found):
    """What one check finds in ``app.py``."""
    return lambda check, text: found(check, {"app.py": text})


def lines(findings):
    return [(finding.file, finding.line) for finding in findings]


# -- calls that block the loop

BLOCKING = {
    "import time\nasync def f(): time.sleep(1)": "await asyncio.sleep",
    "from time import sleep as rest\nasync def f(): rest(1)": "await asyncio.sleep",
    "import requests\nasync def f(): return requests.get('http://a').json()": "httpx.AsyncClient",
    "import requests as r\nasync def f(): return [r.post(u) for u in 'ab']": "httpx.AsyncClient",
    "import httpx\nasync def f(): return httpx.get('http://a')": "httpx.AsyncClient",
    "from urllib.request import urlopen\nasync def f(): urlopen('http://a')": "httpx.AsyncClient",
    "import sqlite3\nasync def f(): sqlite3.connect('a.db')": "aiosqlite",
    "import psycopg2\nasync def f(): psycopg2.connect()": "psycopg.AsyncConnection",
    "import pymysql\nasync def f(): pymysql.connect()": "asyncmy",
    "import pandas as pd\nasync def f(): return pd.read_csv('a.csv')": "asyncio.to_thread",
    "import subprocess\nasync def f(): subprocess.run(['ls'])": "create_subprocess_exec",
    "import redis\nasync def f(): redis.Redis.from_url('redis://a').get('b')": "redis.asyncio",
    "import time, asyncio\nasync def f(): await asyncio.wait_for(time.sleep(1), 2)": "sleep",
}


@pytest.mark.parametrize("text", BLOCKING)
def test_a_blocking_call_in_an_async_function_is_found_with_its_remedy(in_app, text):
    (finding,) = in_app(blocking_calls, text)
    assert (finding.file, finding.line) == ("app.py", 2)
    assert "blocks the event loop in `async def f`" in finding.what
    assert BLOCKING[text] in finding.remedy


def test_calls_of_a_client_that_the_module_holds_are_found(found):
    findings = found(
        blocking_calls,
        {
            "store.py": """
                import requests
                from sqlalchemy import create_engine

                engine = create_engine("sqlite://")
                web: requests.Session = requests.Session()
            """,
            "app.py": """
                import store
                from store import engine

                async def f():
                    with engine.connect() as connection:
                        return connection

                async def g():
                    return store.web.get("http://a")
            """,
        },
    )
    assert lines(findings) == [("app.py", 5), ("app.py", 9)]
    assert "engine.connect (a sqlalchemy.create_engine)" in findings[0].what
    assert "web.get (a requests.Session)" in findings[1].what


def test_a_plain_function_that_blocks_is_found_where_an_async_one_calls_it(found):
    findings = found(
        blocking_calls,
        {
            "data/load.py": """
                import requests

                def fetch():
                    return requests.get("http://a")

                def prices():
                    return fetch().json()
            """,
            "app.py": """
                from data.load import prices

                async def draw(n):
                    return prices()
            """,
        },
    )
    assert lines(findings) == [("app.py", 4)]
    assert "prices() calls requests.get (data/load.py:4)" in findings[0].what
    assert "asyncio.to_thread" in findings[0].remedy


HARMLESS = [
    "import time\ndef f(): time.sleep(1)",
    "import time, asyncio\nasync def f(): await asyncio.to_thread(time.sleep, 1)",
    "import requests, asyncio\nasync def f(): await asyncio.to_thread(lambda: requests.get('a'))",
    "import requests\nasync def f():\n    def g(): requests.get('a')\n    return g",
    "import requests\nasync def f(): raise requests.exceptions.Timeout()",
    "async def f(requests): requests.append(1)",
    "import requests\nasync def f(requests): requests.get(1)",
    "async def f():\n    for line in open('a'): print(line)",
    "import asyncio\nasync def f(): await asyncio.sleep(1)",
    "import httpx\nasync def f():\n    async with httpx.AsyncClient() as c: await c.get('a')",
    "import redis.asyncio as redis\nasync def f(): await redis.from_url('a').get('b')",
    "import aiosqlite\nasync def f():\n    async with aiosqlite.connect('a') as a: await a.close()",
    "import pandas as pd\ntable = pd.read_csv('a')\nasync def f(): return table.groupby('b')",
    "from sqlalchemy.ext.asyncio import create_async_engine\n"
    "engine = create_async_engine('a')\n"
    "async def f():\n    async with engine.connect() as c: await c.execute('')",
    "import time\nasync def f(): time.sleep(0)  # flash: keep",
    "import time\nasync def f():\n    # At start only. flash: keep\n    time.sleep(1)",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_does_not_block_is_left_alone(in_app, text):
    assert in_app(blocking_calls, text) == []


def test_tests_may_block(found):
    text = "import time\nasync def test_f(): time.sleep(1)"
    assert found(blocking_calls, {"test_app.py": text, "tests/pages.py": text}) == []


# -- Dash


def test_the_import_line_of_each_file_with_an_app_is_found(found):
    findings = found(
        import_lines,
        {
            "app.py": "from dash import Dash, html\n\napp = Dash(__name__)\n",
            "other.py": "import dash\n\napp = dash.Dash()\nsecond = dash.Dash()\n",
            "own.py": "import dash\n\nclass Mine(dash.Dash): ...\n",
            "enriched.py": "from dash_extensions.enrich import DashProxy\napp = DashProxy()\n",
        },
    )
    assert lines(findings) == [
        ("app.py", 1),
        ("enriched.py", 1),
        ("other.py", 3),
        ("other.py", 4),
        ("own.py", 3),
    ]
    assert "from flash import Dash" in findings[0].remedy
    assert "from flash.enrich import DashProxy" in findings[1].remedy


@pytest.mark.parametrize(
    "text",
    [
        "from flash import Dash\napp = Dash(__name__)",
        "from dash import html, dcc\nlayout = html.Div(dcc.Input())",
        "import dash\ndef f(app: dash.Dash): return isinstance(app, dash.Dash)",
        "from flash import install\ninstall()\nimport dash\napp = dash.Dash()",
    ],
)
def test_what_needs_no_other_import_is_left_alone(in_app, text):
    assert in_app(import_lines, text) == []


def test_run_server_is_found(in_app):
    (finding,) = in_app(run_arguments, "from flash import Dash\napp = Dash()\napp.run_server()")
    assert (finding.line, finding.what) == (3, "app.run_server() is gone since Dash 3")
    assert "app.run" in finding.remedy


@pytest.mark.parametrize(
    ("call", "what", "remedy"),
    [
        ("app.run(threaded=False)", "app.run(threaded=False) is not possible", "max_threads=1"),
        ("app.run(threaded=True)", "app.run(threaded=True) has no effect", "leave it out"),
        ("app.run(processes=4)", "app.run(processes=4) is not possible", "flash run module:app"),
        ("app.run(ssl_context='adhoc')", "ssl_context='adhoc' is not possible", "two PEM files"),
        ("dash_duo.start_server(app, processes=2)", "processes=2", "--workers"),
    ],
)
def test_arguments_of_flasks_server_are_found(in_app, call, what, remedy):
    (finding,) = in_app(run_arguments, f"from flash import Dash\napp = Dash()\n{call}")
    assert finding.line == 3
    assert what in finding.what
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    "call",
    [
        "app.run(debug=True, port=80, host='0.0.0.0', dev_tools_ui=False)",
        "app.run(use_reloader=False, ssl_context=('a', 'b'))",
        "app.run(threaded=many)",
        "subprocess.run(['ls'], threaded=True)",
        "dash_duo.start_server(app)",
        "pool.run(job, processes=4)",
    ],
)
def test_arguments_that_flash_takes_are_left_alone(in_app, call):
    assert in_app(run_arguments, f"from flash import Dash\napp = Dash()\n{call}") == []


# -- Flask


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("from flask_socketio import SocketIO", "flash_ws.Live"),
        ("import flask_sock", "flash_ws.Live"),
        ("from gevent import monkey\nmonkey.patch_all()", "leave it out"),
        ("from waitress import serve\nserve(app.server)", "flash run"),
        ("from gevent.pywsgi import WSGIServer", "flash run"),
    ],
)
def test_extensions_and_servers_that_need_wsgi_are_found(in_app, text, remedy):
    (finding,) = in_app(extensions, text)
    assert finding.line == text.count("\n") + 1 - (text.startswith("from waitress"))
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    "text",
    [
        "from flask_login import LoginManager",
        "from flask_caching import Cache",
        "import dash_auth",
        "from flask_compress import Compress",
        "from flask import Flask, session",
        "import gevent",
        "def serve(): ...\nserve()",
    ],
)
def test_extensions_that_work_are_left_alone(in_app, text):
    assert in_app(extensions, text) == []


def test_wsgi_middleware_is_found_in_the_sources(in_app):
    findings = in_app(
        wsgi_middleware,
        """
        from werkzeug.middleware.proxy_fix import ProxyFix
        from own import Prefix

        app.server.wsgi_app = ProxyFix(app.server.wsgi_app)
        server.wsgi_app = Prefix(server.wsgi_app)
        """,
    )
    assert [finding.line for finding in findings] == [4, 5]
    assert "--trusted-proxies" in findings[0].remedy
    assert "asgi_app" in findings[1].remedy


def test_wsgi_middleware_is_found_on_the_imported_app(found):
    app = dash.Dash("app")
    app.server.wsgi_app = ProxyFix(app.server.wsgi_app)
    (finding,) = found(wsgi_middleware, {"app.py": "import other"}, app)
    assert (finding.file, finding.line) == ("app.py", 1)
    assert "ProxyFix" in finding.what


def test_an_app_without_middleware_is_left_alone(found):
    text = "inner = app.server.wsgi_app\nserver.config['wsgi_app'] = 1"
    assert found(wsgi_middleware, {"app.py": text}, dash.Dash("app")) == []
    assert found(wsgi_middleware, {"app.py": text}, flask.Flask("app")) == []


def test_request_classes_and_ways_of_dispatching_are_found(in_app):
    findings = in_app(
        request_classes,
        """
        from flask import Flask, Request

        class Mine(Request): ...

        class Server(Flask):
            request_class = Mine

            def full_dispatch_request(self): ...

        server.request_class = Mine
        """,
    )
    assert [finding.line for finding in findings] == [6, 8, 10]
    assert "before_request" in findings[1].remedy


def test_classes_of_another_kind_are_left_alone(in_app):
    text = """
        from flask import Flask, Request

        class Mine(Request): ...

        class Server(Flask):
            def greet(self): ...

        class Other:
            def dispatch_request(self): ...

        request_class_name = "Mine"
    """
    assert in_app(request_classes, text) == []


# -- how it is served

COMMANDS = {
    "Procfile": (
        "web: gunicorn app:server --workers 4",
        "flash run app:server --bind 0.0.0.0:$PORT --workers 4",
    ),
    "Dockerfile": (
        'FROM python\nCMD ["gunicorn", "-b", "0.0.0.0:80", "shop.app:server"]',
        "flash run shop.app:server --bind 0.0.0.0:80",
    ),
    "start.sh": (
        "#!/bin/sh\n# gunicorn old:server\nexec gunicorn \\\n  --bind=:$PORT \\\n  app:server",
        "flash run app:server --bind :$PORT",
    ),
    "dash.service": (
        "ExecStart=/srv/venv/bin/gunicorn -w 2 -c gunicorn.conf.py --timeout=120 app:server",
        "/srv/venv/bin/flash run app:server --bind 127.0.0.1:8000 --workers 2; it does not have "
        "-c gunicorn.conf.py --timeout=120",
    ),
    "serve.sh": (
        "waitress-serve --host 10.0.0.1 --port=8041 --threads 9 app:server",
        "flash run app:server --bind 10.0.0.1:8041; it does not have --threads 9",
    ),
    "compose.yaml": ("command: waitress-serve --listen=*:80 app:server", "--bind *:80"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_with_a_wsgi_server_is_found_with_the_one_to_use(found, name):
    text, remedy = COMMANDS[name]
    (finding,) = found(wsgi_commands, {name: text})
    first = next(
        number
        for number, line in enumerate(text.splitlines(), start=1)
        if "#" not in line and ("gunicorn" in line or "waitress" in line)
    )
    assert (finding.file, finding.line) == (name, first)
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Procfile", "web: flash run app:app --bind 0.0.0.0:$PORT"),
        ("Procfile", "web: gunicorn -k uvicorn.workers.UvicornWorker app:server"),
        ("Procfile", "web: gunicorn -k uvicorn_worker.UvicornWorker app:server"),
        ("Procfile", "web: uvicorn app:server"),
        ("Dockerfile", "RUN pip install gunicorn==22.0 dash"),
        ("Dockerfile", "RUN apt-get install -y uwsgi"),
        ("start.sh", "# gunicorn app:server"),
        ("start.sh", "cat gunicorn.conf.py"),
        ("requirements.txt", "gunicorn"),
        ("notes.md", "gunicorn app:server"),
    ],
)
def test_other_commands_are_left_alone(found, name, text):
    assert found(wsgi_commands, {name: text}) == []


# -- the command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    monkeypatch.setattr("dash._get_app.APP", None)
    yield tmp_path
    for name in ("web", "broken"):
        sys.modules.pop(name, None)


FLASHS = "from flash import Dash\n\napp = Dash(__name__)\nserver = app.server\n"


@pytest.mark.parametrize("target", ["web", "web:app", "web:server"])
def test_that_there_is_nothing_to_change_is_said(here, capsys, target):
    (here / "web.py").write_text(FLASHS)
    assert cli.main(["check", target, "--migrate"]) == 0
    assert capsys.readouterr().out == f"{target}: nothing to change (1 file read)\n"


@pytest.mark.parametrize("target", ["web:server", "web:app"])
def test_an_adopted_flask_app_has_no_middleware_of_its_own(here, capsys, target):
    (here / "web.py").write_text(
        "import flask\nfrom flash import Dash\n\nserver = flask.Flask(__name__)\n"
        "app = Dash(__name__, server=server)\n"
    )
    assert cli.main(["check", target, "--migrate"]) == 0
    assert "nothing to change" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["my-dash", "02_minimal"])
def test_a_module_whose_name_is_no_identifier_is_checked(here, capsys, name):
    (here / f"{name}.py").write_text(FLASHS)
    assert cli.main(["check", f"{name}:app", "--migrate"]) == 0
    assert "nothing to change" in capsys.readouterr().out
    sys.modules.pop(name)


def test_what_is_to_change_is_listed_for_people(here, capsys):
    (here / "web.py").write_text("from dash import Dash\n\napp = Dash()\n")
    (here / "Procfile").write_text("web: gunicorn web:server\n")
    assert cli.main(["check", "web:app", "--migrate"]) == 1
    written = capsys.readouterr().out
    assert "Procfile:1: gunicorn serves by WSGI" in written
    assert "web.py:1: dash.Dash is served by Flask\n    import it from flash" in written
    assert written.endswith("web:app: 2 things to change (2 files read)\n")


def test_what_is_to_change_is_written_as_json(here, capsys):
    (here / "web.py").write_text(FLASHS)
    (here / "start.sh").write_text("gunicorn web:server\n")
    assert cli.main(["check", "web:app", "--migrate", "--json"]) == 1
    written = json.loads(capsys.readouterr().out)
    assert written["target"] == "web:app"
    (finding,) = written["findings"]
    assert set(finding) == {"file", "line", "what", "remedy"}
    assert (finding["file"], finding["line"]) == ("start.sh", 1)


def test_of_an_app_that_cannot_be_imported_the_files_are_checked(here, capsys):
    (here / "broken.py").write_text("from dash import Dash\napp = Dash()\napp.run_server()\n")
    assert cli.main(["check", "broken:app", "--migrate"]) == 2
    written = capsys.readouterr()
    assert "broken:app was not imported, only the files were read" in written.err
    assert "ObsoleteAttributeException" in written.err
    assert "broken.py:3: app.run_server() is gone" in written.out
    assert cli.main(["check", "nothing:app", "--migrate"]) == 2
    assert "no module named 'nothing'" in capsys.readouterr().err


def test_what_is_checked_is_named(here, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["check", "--help"])
    told = capsys.readouterr().out
    assert "--migrate" in told
    assert "--deploy" in told


def test_virtual_environments_and_hidden_folders_are_not_read(here):
    text = "import time\nasync def f(): time.sleep(1)\n"
    for folder in ("env/lib", ".git", "node_modules", "__pycache__"):
        (here / folder).mkdir(parents=True)
        (here / folder / "a.py").write_text(text)
    (here / "env" / "pyvenv.cfg").touch()
    (here / "broken.py").write_text("def f(:\n")
    (here / "other.py").write_bytes(b"\xff\xfe")
    (here / "web.py").write_text(text)
    project = Project.read(here)
    assert [str(source.path) for source in project.sources] == ["web.py"]
    assert len(run_checks(project, MIGRATION)) == 1
