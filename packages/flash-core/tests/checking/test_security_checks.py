"""`flash check`: what an app leaves open, each with a remedy (issue 13)."""

import importlib.metadata
import json
import re
import sys
from textwrap import dedent

import pytest
import quart
from dash import html

from flash import AsyncManager, Flash, cli
from flash.checking import dependencies
from flash.checking.dependencies import Outdated, outdated
from flash.checking.security import (
    Deployment,
    Risk,
    admits_everybody,
    run_security_checks,
    weak_secret,
)

KEY = "0123456789abcdef" * 4


def made(**settings):
    app = Flash(__name__, **settings)
    app.layout = html.Div()
    app.server.secret_key = KEY
    return app


def found(app, is_public=True, workers=1):
    return {risk.check for risk in run_security_checks(Deployment(app, is_public, workers))}


def without(app, **more):
    app.server.config.update(more)
    return app


def guarded_sockets_only():
    app = made()
    app.server.before_websocket(lambda: None)
    return app


def with_wsgi_middleware():
    app = made(websocket_callbacks=True)
    inner = app.server.wsgi_app
    app.server.wsgi_app = lambda environ, start: inner(environ, start)
    return app


HOSTS = {"allowed_hosts": ["app.test"]}

OPEN = {
    "secret-key": lambda: without(made(), SECRET_KEY=None),
    "allowed-hosts": made,
    "cookie-secure": lambda: without(made(), SESSION_COOKIE_SECURE=False),
    "cookie-httponly": lambda: without(made(), SESSION_COOKIE_HTTPONLY=False),
    "cookie-samesite": lambda: without(made(), SESSION_COOKIE_SAMESITE="None"),
    "page-headers": lambda: made(page_headers={"X-Frame-Options": None}),
    "guards": guarded_sockets_only,
    "origins": lambda: made(websocket_callbacks=True, websocket_allowed_origins=["*"]),
    "memory": lambda: made(background_callback_manager=AsyncManager()),
}


@pytest.mark.parametrize("check", OPEN)
def test_13_what_an_app_leaves_open_is_found_and_nothing_in_one_that_does_not(check):
    assert check in found(OPEN[check](), workers=2)
    assert found(made(**HOSTS), workers=2) == set()


def test_13_debugging_is_found():
    app = made(**HOSTS)
    app.show_errors()
    assert found(app) == {"debug"}


def test_13_middleware_of_wsgi_before_sockets_is_found_and_not_with_a_guard():
    app = with_wsgi_middleware()
    assert "guards" in found(app)
    app.server.before_request(lambda: None)
    assert "guards" not in found(app)


def test_13_what_matters_in_public_alone_needs_deploy():
    app = without(made(), SESSION_COOKIE_SECURE=False)
    assert found(app, is_public=False) == set()
    assert found(app) == {"allowed-hosts", "cookie-secure"}


@pytest.mark.parametrize("variable", ["DASH_DEBUG", "FLASK_DEBUG", "QUART_DEBUG"])
def test_13_a_variable_that_turns_on_debugging_is_found(variable, monkeypatch):
    monkeypatch.setenv(variable, "1")
    assert found(made(**HOSTS)) == {"debug"}


def test_13_a_folder_of_diskcache_that_others_may_write_to_is_found(tmp_path):
    class Manager:
        handle = type("Cache", (), {"directory": str(tmp_path)})()

    app = made(**HOSTS)
    app.background_managers = lambda: [Manager()]
    tmp_path.chmod(0o777)
    assert found(app) == {"diskcache"}
    tmp_path.chmod(0o700)
    assert found(app) == set()


def test_13_an_old_dependency_is_found(monkeypatch):
    assert list(outdated()) == []
    versions = {"werkzeug": "3.0.0", "h11": "0.16.0.post1", "h2": "4.3", "jinja2": "3.1.2"}
    monkeypatch.setattr(
        dependencies.importlib.metadata, "version", lambda name: versions.get(name, "99")
    )
    assert [each.name for each in outdated()] == ["jinja2", "werkzeug"]
    assert all(isinstance(each, Outdated) for each in outdated())
    risks = run_security_checks(Deployment(made(**HOSTS)))
    assert [risk.remedy for risk in risks] == [
        'pip install "jinja2>=3.1.6"',
        'pip install "werkzeug>=3.1.6"',
    ]


def test_13_g_no_lower_bound_of_the_package_is_below_the_versions_without_known_holes():
    bounds = {}
    for requirement in importlib.metadata.requires("flash-core"):
        match = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)(?:,.*)?", requirement)
        if match is not None:
            bounds[match[1].lower()] = match[2]
    for name, (safe, _) in dependencies.SAFE_VERSIONS.items():
        assert [int(each) for each in bounds[name].split(".")] >= [
            int(each) for each in safe.split(".")
        ]


def test_13_an_add_on_adds_checks_of_its_own():
    app = made(**HOSTS)
    app.security_checks.append(
        lambda deployment: [Risk("mine", f"{deployment.workers} of them", "do without")]
    )
    assert run_security_checks(Deployment(app, workers=3)) == [
        Risk("mine", "3 of them", "do without")
    ]


def _named(opening):
    """Return True."""
    return True


def test_13_functions_that_admit_everybody_are_told_from_others():
    yes = [lambda _: True, _named, lambda *_: True]
    no = [lambda o: o.user, lambda _: False, lambda o: o, lambda _: "ada", None, len, print]
    assert [admits_everybody(each) for each in yes] == [True] * len(yes)
    assert [admits_everybody(each) for each in no] == [False] * len(no)


@pytest.mark.parametrize("secret", ["", "x", "secret", b"changeme", "Password!", "short-one"])
def test_13_weak_secrets_are_told_from_others(secret):
    assert weak_secret(secret)
    assert not weak_secret(KEY)


# -- the command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Write an app into the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = iter(range(100))

    def write(text):
        name = f"checked_{next(names)}"
        (tmp_path / f"{name}.py").write_text(dedent(text))
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("checked_")]:
        del sys.modules[name]


APP = """
from flash import Flash, html
app = Flash(__name__, {settings})
app.layout = html.Div()
app.server.secret_key = {key!r}

@app.server.before_serving
def start():
    raise SystemExit("was started")
"""


def test_13_the_command_names_what_is_open_with_its_remedy_and_fails(here, capsys):
    name = here(APP.format(settings="", key=None))
    assert cli.main(["check", f"{name}:app"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("secret-key: app.server has no secret_key")
    assert "\n    app.server.secret_key = os.environ" in told
    assert told.endswith(f"{name}:app: 1 thing left open\n")
    assert cli.main(["check", f"{name}:app", "--deploy", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["target"] == f"{name}:app"
    assert [set(risk) for risk in told["risks"]] == [{"check", "what", "remedy"}] * 2
    assert [risk["check"] for risk in told["risks"]] == ["allowed-hosts", "secret-key"]


def test_13_the_command_is_content_with_an_app_that_leaves_nothing_open(here, capsys):
    name = here(APP.format(settings="allowed_hosts=['app.test']", key=KEY))
    for target in (f"{name}:app", f"{name}:app.server"):
        assert cli.main(["check", target, "--deploy"]) == 0
        assert capsys.readouterr().out == f"{target}: nothing is left open\n"


def test_13_the_command_says_what_cannot_be_checked(here, capsys):
    for text in ("import nothing_of_the_sort", "app = print", "raise ValueError('no database')"):
        name = here(text)
        assert cli.main(["check", f"{name}:app"]) == 2
        told = capsys.readouterr()
        assert not told.out
        assert "so it was not checked" in told.err


def test_13_migration_and_security_are_checked_together_if_both_are_asked_for(here, capsys):
    name = here(APP.format(settings="", key=KEY))
    assert cli.main(["check", f"{name}:app", "--migrate"]) == 0
    assert "left open" not in capsys.readouterr().out
    assert cli.main(["check", f"{name}:app", "--migrate", "--deploy"]) == 1
    assert "allowed-hosts" in capsys.readouterr().out


def test_13_an_app_on_a_server_of_its_host_is_found_by_the_server():
    server = quart.Quart(__name__)
    app = Flash(__name__, server=server)
    assert cli._apps_of(server) == [app]
    assert cli._apps_of(quart.Quart(__name__)) == []
