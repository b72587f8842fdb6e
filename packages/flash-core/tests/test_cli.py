"""The ``flash`` command: what it refuses, and how it says so."""

from __future__ import annotations

import sys

import pytest

from flash import __version__, cli
from flash.serving import ServingFailed


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    # Servers are looked for there as well.
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in ("web", "failing"):
        sys.modules.pop(name, None)


def run(*arguments):
    return cli.main(["run", *arguments])


@pytest.fixture
def served(monkeypatch):
    """What was asked to be served, without serving it."""
    calls = []
    monkeypatch.setattr(cli, "serve", lambda target, options: calls.append((target, options)))
    return calls


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"flash {__version__}\n"


def test_every_option_reaches_the_server(served, here):
    for name in ("cert.pem", "key.pem"):
        (here / name).touch()
    code = run(
        *("web:app", "--bind", "0.0.0.0:8000", "--workers", "4", "--server", "uvicorn"),
        *("--log-level", "warning", "--access-log", "--grace-period", "2.5"),
        *("--certfile", "cert.pem", "--keyfile", "key.pem", "--root-path", "/sales"),
        *("--trusted-proxies", "127.0.0.1,10.0.0.0/8", "--reload-path", "a", "--reload-path", "b"),
        "--install",
    )
    ((target, options),) = served
    assert (code, target) == (0, "web:app")
    assert (options.bind, options.workers, options.server) == ("0.0.0.0:8000", 4, "uvicorn")
    assert (options.log_level, options.access_log, options.grace_period) == ("warning", True, 2.5)
    assert (options.certfile, options.keyfile, options.root_path) == (
        "cert.pem",
        "key.pem",
        "/sales",
    )
    assert options.trusted_proxies == ("127.0.0.1", "10.0.0.0/8")
    assert options.reload_paths == ("a", "b")
    assert options.install


@pytest.mark.parametrize(
    ("arguments", "logged"),
    [((), False), (("--reload",), True), (("--reload", "--no-access-log"), False)],
)
def test_the_access_log_is_on_with_reload_unless_silenced(served, arguments, logged):
    run(*arguments)
    assert served[0][1].access_log is logged


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("web.py",), "cannot serve 'web.py': give a module and an attribute of it"),
        (("nothing:app",), "cannot serve 'nothing:app': no module named 'nothing'"),
        (("web:nope",), "cannot serve 'web:nope': web has no attribute 'nope'"),
        (("web:number",), "cannot serve 'web:number': a int is not an ASGI application"),
        (("web:make",), "if it makes the application, write web:make()"),
        (("web:wsgi",), "it is a WSGI application"),
        (("web:app", "--workers", "0"), "workers=0"),
        (("web:app", "--workers", "2", "--reload"), "drop workers= (--workers) or reload"),
        (("web:app", "--certfile", "x"), "TLS needs both certfile and keyfile"),
        (("web:app", "--bind", "host:port"), "cannot listen on 'host:port'"),
        (("web:app", "--trusted-proxies", "proxy"), "trusted_proxies='proxy'"),
        (("web:app", "--root-path", "sales/"), "begin with a slash and end without one"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_2(here, capsys, arguments, line):
    (here / "web.py").write_text(
        "async def app(scope, receive, send): ...\n"
        "def wsgi(environ, start_response): ...\n"
        "def make(): return app\n"
        "number = 1\n"
    )
    assert run("--bind", "127.0.0.1:0", *arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("flash: ")
    assert line in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "last_line"),
    [
        ("import surely_not_there", "ModuleNotFoundError: No module named 'surely_not_there'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError: invalid syntax"),
    ],
)
def test_an_error_inside_the_module_shows_its_traceback_only(here, capsys, source, last_line):
    (here / "failing.py").write_text(source)
    assert run("failing:app") == 1
    errors = capsys.readouterr().err
    assert f'{here}/failing.py", line 1' in errors
    assert errors.endswith(f"{last_line}\n")
    assert "flash/" not in errors.replace(str(here), "")


def test_what_a_worker_said_is_printed_with_its_exit_code(monkeypatch, capsys):
    def fail(target, options):
        raise ServingFailed("said by a worker\n", 7)

    monkeypatch.setattr(cli, "serve", fail)
    assert run() == 7
    assert capsys.readouterr().err == "said by a worker\n"


def test_a_new_app_is_written_and_the_next_steps_are_told(here, capsys, monkeypatch):
    monkeypatch.setattr("flash.starter.project.find_spec", lambda name: object())
    assert cli.main(["new", "machine-hall"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Machine hall: 12 files in machine-hall. Next:\n")
    assert "pip install" not in said
    assert (here / "machine-hall" / "app.py").is_file()
    monkeypatch.setattr("flash.starter.project.find_spec", lambda name: None)
    assert cli.main(["new", "a b", "--title", "Hall", "--login", "--redis"]) == 0
    said = capsys.readouterr().out
    assert said.index("cd 'a b'") < said.index("pip install -r") < said.index("python login.py")


def test_a_new_app_is_not_written_where_something_is(here, capsys):
    (here / "notes.txt").touch()
    assert cli.main(["new", "."]) == 2
    assert "is not empty, it has notes.txt" in capsys.readouterr().err
    assert cli.main(["new", "hall", "--title", 'a "b"']) == 2
    assert "cannot be the title" in capsys.readouterr().err
    assert not (here / "hall").exists()
