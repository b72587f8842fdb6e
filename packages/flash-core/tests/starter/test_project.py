"""The files of a new app: which there are, what is in them, and what is never overwritten."""

from __future__ import annotations

import json

import pytest

import flash
from flash.errors import ConfigurationError
from flash.starter import project as starter
from flash.starter.project import (
    NewProject,
    choose_parts,
    files_of,
    missing_packages,
    title_of,
    write_project,
)

PLAIN = {
    *(".dockerignore", ".gitignore", "Dockerfile", "README.md", "app.py", "compose.yaml"),
    *("pyproject.toml", "requirements-dev.txt", "requirements.txt", "source.py"),
    *("assets/app.css", "tests/test_app.py"),
}
LOGIN = {"login.py", "assets/log-in.css"}
COMBINATIONS = [(login, redis) for login in (False, True) for redis in (False, True)]


@pytest.mark.parametrize(("login", "redis"), COMBINATIONS)
def test_the_files_are_those_of_the_options(login, redis):
    texts = files_of(NewProject("Machine hall", flash.__version__, login=login, redis=redis))
    assert set(texts) == PLAIN | (LOGIN if login else set())
    for path, text in texts.items():
        assert "#: " not in text, path
        assert "TITLE" not in text, path
        if path.endswith(".py"):
            compile(text, path, "exec")
    assert ("redis-server" in texts["compose.yaml"]) is redis
    assert ('"--workers"' in texts["Dockerfile"]) is redis
    assert ("login.protect(app, live)" in texts["app.py"]) is login
    assert ("users.json" in texts[".dockerignore"]) is login
    assert 'title="Machine hall"' in texts["app.py"]
    assert texts["requirements.txt"] == f"flash-core[ws,pubsub]=={flash.__version__}\n"


def test_a_title_may_be_any_words():
    texts = files_of(NewProject("VERSION of a TITLE", "1.2.3"))
    assert 'title="VERSION of a TITLE"' in texts["app.py"]
    assert texts["requirements.txt"] == "flash-core[ws,pubsub]==1.2.3\n"


def test_a_part_is_taken_where_it_was_chosen():
    text = "a\n#: login\nb\n#: no login\nc\n#: end\nd\n"
    assert choose_parts(text, {"login": True}) == "a\nb\nd\n"
    assert choose_parts(text, {"login": False}) == "a\nc\nd\n"


def test_a_part_of_an_unknown_name_is_an_error_of_the_template():
    with pytest.raises(KeyError):
        choose_parts("#: lgoin\n", {"login": True})


@pytest.mark.parametrize("title", ["", "x" * 61, 'a "b"', "a\nb", "{x}", "a\\"])
def test_a_title_that_would_break_the_files_is_refused(title):
    with pytest.raises(ConfigurationError, match="cannot be the title"):
        NewProject(title, flash.__version__)


@pytest.mark.parametrize(
    ("name", "title"),
    [("machine-hall", "Machine hall"), ("my_App", "My App"), ("---", "Flash"), ("größe", "Größe")],
)
def test_a_title_is_made_of_the_name_of_the_folder(tmp_path, name, title):
    assert title_of(tmp_path / name) == title


def test_a_folder_is_made_and_its_files_are_told(tmp_path):
    paths = write_project(tmp_path / "deep" / "hall", NewProject("Hall", flash.__version__))
    assert {path.relative_to(tmp_path / "deep" / "hall").as_posix() for path in paths} == PLAIN
    assert all(path.is_file() for path in paths)


def test_an_empty_folder_is_taken(tmp_path):
    assert write_project(tmp_path, NewProject("Hall", flash.__version__))


def test_nothing_of_anybody_is_overwritten(tmp_path):
    for name in "dcba":
        (tmp_path / name).write_text(json.dumps(name))
    with pytest.raises(ConfigurationError, match=r"is not empty, it has a, b, c …; name a folder"):
        write_project(tmp_path, NewProject("Hall", flash.__version__))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b", "c", "d"]
    with pytest.raises(ConfigurationError, match="is a file"):
        write_project(tmp_path / "a", NewProject("Hall", flash.__version__))


def test_packages_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setattr(starter, "find_spec", lambda name: None)
    assert missing_packages() == ["flash_ws", "flash_pubsub"]
