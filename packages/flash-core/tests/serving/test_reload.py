"""Starting again on changes of code, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from flash.serving.listener import Address, reserved
from flash.serving.reload import WatchedFiles, differences, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 120

SCRIPT = """
import sys
{prelude}
from flash.serving import ServeOptions, serve
from helper import VALUE

async def app(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": VALUE.encode()}})

serve(app, ServeOptions(bind="127.0.0.1:{port}", reload=True, reload_paths=("data.txt",)))
"""


@pytest.fixture
def port() -> Iterator[int]:
    """A port that stays nobody else's while the app is away."""
    with reserved(Address("tcp", "127.0.0.1")) as free:
        yield free.port


async def until_answered(port: int, expected: bytes) -> None:
    """Wait until the app answers with ``expected``."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                    if expected in await reader.read():
                        return
                finally:
                    writer.close()
            except OSError:
                pass
            await asyncio.sleep(0.1)


async def until_line(stream: asyncio.StreamReader, text: str) -> None:
    async with asyncio.timeout(PATIENCE):
        async for line in stream:
            if text in line.decode():
                return
    raise AssertionError(f"ended without {text!r}")


@pytest.mark.parametrize("prelude", ["", "sys.modules['watchfiles'] = None"])
async def test_code_is_reloaded_also_after_a_syntax_error(tmp_path, port, prelude):
    helper = tmp_path / "helper.py"
    helper.write_text("VALUE = 'first'")
    (tmp_path / "data.txt").touch()
    (tmp_path / "main.py").write_text(SCRIPT.format(port=port, prelude=prelude))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "main"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        await until_answered(port, b"first")
        helper.write_text("VALUE = ")
        await until_line(process.stderr, "SyntaxError")
        await until_line(process.stderr, "waiting for a change")
        helper.write_text("VALUE = 'second one'")
        await until_answered(port, b"second one")
        (tmp_path / "data.txt").write_text("new")
        await until_line(process.stderr, "data.txt changed")
        await until_answered(port, b"second one")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in errors
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
    finally:
        if process.returncode is None:
            # The child, too: it holds the other end of the pipe.
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


# Keeps the process that serves from getting far before its watcher has been killed.
LATE = """
import os
import pathlib
import time
if "FLASH_RELOAD_CHILD" in os.environ:
    pathlib.Path("born").touch()
    while not pathlib.Path("alone").exists():
        time.sleep(0.02)
"""


async def test_an_app_whose_watcher_was_killed_before_it_served_ends(tmp_path, port):
    (tmp_path / "helper.py").write_text("VALUE = 'first'")
    (tmp_path / "data.txt").touch()
    (tmp_path / "main.py").write_text(SCRIPT.format(port=port, prelude=LATE))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "main"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not (tmp_path / "born").exists():  # noqa: ASYNC110  another process' doing
                await asyncio.sleep(0.02)
            process.kill()
            (tmp_path / "alone").touch()
            # The app has the other end of the pipe.
            await process.stderr.read()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def test_files_that_matter(tmp_path):
    code, data, module = tmp_path / "code", tmp_path / "data", tmp_path / "lib" / "module.py"
    for path in (
        *(code / "a.py", code / "b.txt", code / ".hidden" / "c.py", code / "__pycache__" / "d.py"),
        *(code / "env" / "pyvenv.cfg", code / "env" / "e.py", data / "f.csv", module),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    watched = WatchedFiles((code,), (data,), frozenset({module}))
    assert set(watched.files()) == {code / "a.py", data / "f.csv", module}
    assert watched.directories() == {code, data, module.parent}


def test_a_file_is_changed_when_written_added_or_removed_but_not_when_imported(tmp_path):
    kept, written, removed, added, imported = (tmp_path / name for name in "abcde")
    for path in (kept, written, removed):
        path.touch()
    before = snapshot([kept, written, removed, added])
    os.utime(written, ns=(1, 1))
    removed.unlink()
    added.touch()
    imported.touch()
    after = snapshot([kept, written, removed, added, imported])
    assert differences(before, after, frozenset({imported})) == {written, removed, added}
