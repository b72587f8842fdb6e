"""`app.run` loads `.env` as Flask's does."""

import importlib.util
import os

import pytest

from flash import Flash, html


@pytest.fixture
def app(monkeypatch, tmp_path):
    pytest.importorskip("dotenv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flash.serving.serve", lambda *_, **__: None)
    # Removed at the end, whatever has set it.
    for name in ("FLASH_TEST_A", "FLASH_TEST_B", "FLASH_TEST_C"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text("FLASH_TEST_A=from .env\nFLASH_TEST_B=from .env\n")
    (tmp_path / ".flaskenv").write_text("FLASH_TEST_A=from .flaskenv\nFLASH_TEST_C=c\n")
    app = Flash("with_env")
    app.layout = html.Div()
    return app


def found():
    return {name: os.environ.get(f"FLASH_TEST_{name}") for name in "ABC"}


def test_11_23_run_loads_env_files(app, monkeypatch):
    monkeypatch.setenv("FLASH_TEST_B", "of the process")
    app.run()
    assert found() == {"A": "from .env", "B": "of the process", "C": "c"}


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_11_23_run_can_be_told_to_load_none(app, monkeypatch, way):
    if way == "variable":
        monkeypatch.setenv("FLASK_SKIP_DOTENV", "1")
        app.run()
    else:
        app.run(load_dotenv=False)
    assert set(found().values()) == {None}


def test_11_23_without_python_dotenv_nothing_is_loaded(app, monkeypatch):
    import sys

    assert importlib.util.find_spec("dotenv")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    app.run()
    assert set(found().values()) == {None}
