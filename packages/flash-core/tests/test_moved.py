import importlib
import subprocess
import sys

import pytest

from flash import Flash, testing
from flash.access import opening_request
from flash.moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_the_old_name_of_a_module_imports_the_module_and_names_the_new_one(old, new):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(new)
    assert module.__name__ == new


def test_a_name_that_never_was_is_still_missing():
    with pytest.raises(ModuleNotFoundError, match=r"flash\.nothing"):
        importlib.import_module("flash.nothing")


def test_importing_flash_says_nothing_of_old_names():
    command = [sys.executable, "-W", "error::DeprecationWarning:flash", "-c", "import flash"]
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0


@pytest.mark.parametrize(("old", "new"), [("house", "internal_pool"), ("foreign", "dash_pool")])
def test_a_pool_s_old_name_gives_the_pool_and_names_the_new_one(old, new):
    app = Flash(__name__)
    with pytest.warns(DeprecationWarning, match=f"Flash.{old} is now Flash.{new}"):
        assert getattr(app, old) is getattr(app, new)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [(opening_request, "Visit", "OpeningRequest"), (testing, "NoAnswer", "IncompleteResponse")],
)
def test_an_export_s_old_name_gives_the_export_and_names_the_new_one(module, old, new):
    with pytest.warns(DeprecationWarning, match=rf"{old} is now .*\.{new}") as warned:
        assert getattr(module, old) is getattr(module, new)
    assert warned[0].filename == __file__


def test_an_export_that_never_was_is_still_missing():
    with pytest.raises(AttributeError, match=r"flash\.access\.opening_request.*'nothing'"):
        _ = opening_request.nothing
