"""Modules that commands import."""

import subprocess
import sys

import pytest

SCRIPT = """
from flash import Flash, html

app = Flash(__name__)
app.layout = html.P("text")
{run}
"""

COMMANDS = {
    "check": ["-m", "flash.cli", "check", "app:app"],
    "lazy": ["-c", "from flash_lazy.cli import main; main(['invalidate', 'app:none'])"],
}


@pytest.mark.parametrize("run", ["app.run(port=1)", "app.server.run(port=1)"])
@pytest.mark.parametrize("command", COMMANDS)
def test_10_a_module_that_would_serve_by_itself_is_imported_to_its_end(tmp_path, run, command):
    if command == "lazy":
        pytest.importorskip("flash_lazy")
    (tmp_path / "app.py").write_text(SCRIPT.format(run=run))
    ended = subprocess.run(
        [sys.executable, *COMMANDS[command]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "run() (app.py:6) is ignored, since a command imports this module" in ended.stderr
