"""Reading a file from disk, in a thread."""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash.errors import FlashError
from flash.log_limit import limited_logger
from flash.static.file import StaticFile

if TYPE_CHECKING:
    import os
    from pathlib import Path

logger = limited_logger(__name__)


class OversizedFile(FlashError):
    """A file is larger than the limit for files in memory; stream it from disk instead."""

    def __init__(self, path: Path, size: int, limit: int) -> None:
        super().__init__(path, size, limit)
        self.path = path
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{self.path} has {self.size} bytes, more than the limit of {self.limit} for files in "
            "memory; stream it from disk or raise StaticCache(max_file_bytes=…)"
        )


@dataclass(frozen=True, slots=True)
class Version:
    """A file as it was read, and the metadata that shows whether it has changed since."""

    file: StaticFile
    modified_ns: int
    size: int
    inode: int
    # False if it was read so soon after a change that a further one may have the same time.
    settled: bool

    def matches(self, status: os.stat_result) -> bool:
        """Return whether the file on disk is still this version."""
        seen = (self.modified_ns, self.size, self.inode)
        return self.settled and seen == (status.st_mtime_ns, status.st_size, status.st_ino)


# The resolution of a file system's timestamps is up to two seconds.
_CLOCK_STEP_NS = 2_000_000_000


def read(
    path: Path, root: Path | None, known: Version | None, max_file_bytes: int
) -> Version | None:
    """Read a file; call it in a thread. Returns None unless it is a regular file inside ``root``.

    Returns ``known`` itself if the file on disk is still that version. Raises `OversizedFile`.
    """
    try:
        real = path.resolve(strict=True)
        if root is not None and not real.is_relative_to(root.resolve(strict=True)):
            return None
        status = real.stat()
        # Checked before opening, because opening a pipe waits for its writer.
        if not stat.S_ISREG(status.st_mode):
            return None
        if known is not None and known.matches(status):
            return known
        if status.st_size > max_file_bytes:
            raise OversizedFile(path, status.st_size, max_file_bytes)
        # One byte above the limit shows that the file has grown meanwhile.
        with real.open("rb") as stream:
            body = stream.read(max_file_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError, ValueError) as error:
        # pathlib reports a loop of symbolic links by RuntimeError, a NUL in a name by ValueError.
        logger.warning("cannot read static file %s: %s", path, error)
        return None
    if len(body) > max_file_bytes:
        raise OversizedFile(path, len(body), max_file_bytes)
    return Version(
        file=StaticFile.of(path, body, last_modified=int(status.st_mtime)),
        modified_ns=status.st_mtime_ns,
        size=status.st_size,
        inode=status.st_ino,
        settled=abs(time.time_ns() - status.st_mtime_ns) > _CLOCK_STEP_NS,
    )
