"""Reading a file from disk: what is read, how much of it, and when it is read again."""

import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from flash.static import OversizedFile, StaticFile, disk
from flash.static.disk import read

HOUR = 3600


@pytest.fixture
def file(tmp_path):
    """A file that has not changed for an hour."""
    path = tmp_path / "a.js"
    path.write_bytes(b"x" * 100)
    then = time.time() - HOUR
    os.utime(path, (then, then))
    return path


def test_a_file_of_just_the_limit_is_read_with_its_metadata(file):
    version, status = read(file, None, None, 100), file.stat()
    assert version.file.path == file
    assert version.file.body == b"x" * 100
    assert version.file.last_modified == int(status.st_mtime)
    assert (version.modified_ns, version.size, version.inode, version.settled) == (
        *(status.st_mtime_ns, 100, status.st_ino, True),
    )


def test_a_file_over_the_limit_is_not_opened(file):
    with pytest.raises(OversizedFile) as refused:
        read(file, None, None, 99)
    assert refused.value.args == (file, 100, 99)
    assert (refused.value.path, refused.value.size, refused.value.limit) == (file, 100, 99)


def test_a_file_that_grows_meanwhile_is_read_up_to_one_byte_over_the_limit(file, monkeypatch):
    def grow(mode):
        with file.open("ab") as stream:
            stream.write(b"x" * 1000)
        return stat.S_ISREG(mode)

    monkeypatch.setattr(disk, "stat", SimpleNamespace(S_ISREG=grow))
    with pytest.raises(OversizedFile) as refused:
        read(file, None, None, 100)
    assert refused.value.args == (file, 101, 100)


def test_a_version_is_kept_until_time_size_or_file_are_others(file, tmp_path):
    known = read(file, None, None, 1000)
    assert read(file, None, known, 1000) is known
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert read(file, None, known, 1000) is not known
    file.write_bytes(b"y" * 101)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read(file, None, known, 1000).file.body == b"y" * 101
    other = tmp_path / "other"
    other.write_bytes(b"z" * 100)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert read(file, None, known, 1000).file.body == b"z" * 100


@pytest.mark.parametrize(("seconds", "settled"), [(-1, False), (1, False), (-3, True), (30, True)])
def test_a_file_that_has_just_changed_may_change_again_at_the_same_time(
    file, monkeypatch, seconds, settled
):
    now = time.time_ns()
    monkeypatch.setattr(disk, "time", SimpleNamespace(time_ns=lambda: now))
    os.utime(file, ns=(now, now + seconds * 1_000_000_000))
    known = read(file, None, None, 1000)
    assert known.settled is settled
    assert (read(file, None, known, 1000) is known) is settled


def test_what_is_no_file_in_the_root_is_none_and_what_cannot_be_read_is_logged(file, caplog):
    root = file.parent
    assert read(file, root, None, 1000) is not None
    assert read(file, root / "sub", None, 1000) is None
    (root / "sub").mkdir()
    for path in (file, root / "none", file / "none", root / "sub"):
        assert read(path, root / "sub", None, 1000) is None
    assert not caplog.records
    assert read(root / "a\0", None, None, 1000) is None
    assert f"cannot read static file {root}" in caplog.text


@pytest.mark.parametrize(
    ("name", "size", "compressible"),
    [
        *[("a.js", 512, True), ("a.js", 511, False), ("a.geojson", 512, True)],
        *[("a.svg", 512, True), ("a.json", 512, True), ("a.wasm", 512, True)],
        *[("a.png", 512, False), ("a.woff2", 512, False), ("a.unheard-of", 512, False)],
    ],
)
def test_text_of_some_length_is_worth_compressing(name, size, compressible):
    file = StaticFile.of(Path(name), b"x" * size, last_modified=0)
    assert file.compressible is compressible
    assert file.with_form("br", b"x" * (size - 1)).compressible is compressible
    assert file.with_form("br", b"x" * size).compressible is False


def test_a_form_is_added_to_those_that_are_there():
    file = StaticFile.of(Path("a.js"), b"x" * 600, last_modified=-5)
    both = file.with_form("br", b"b").with_form("gzip", b"gz")
    assert dict(both.forms) == {"br": b"b", "gzip": b"gz"}
    assert (file.bytes_held, both.bytes_held, both.size) == (600, 603, 600)
    assert (file.last_modified, len(file.digest)) == (0, 32)
    assert file.tag() == b'"%b"' % file.digest
    assert file.tag("br") == b'"%b-br"' % file.digest
