"""`dash.testing`'s fixtures serve an app of Flash as they serve one of Dash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from commands import APPS


def test_tests_that_use_dash_duo_and_the_process_runner_pass():
    # Dash's plugin is off in this process. `waitress-serve` is beside Python.
    program = Path(sys.executable).parent
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or ""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--quiet", "--headless", "-c", os.devnull),
            *("-p", "no:cacheprovider", "with_dash_testing.py"),
        ],
        cwd=APPS / "hosted",
        env={
            **os.environ,
            "DASH_TEST_CHROMEPATH": chromium,
            "PATH": f"{program}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr
