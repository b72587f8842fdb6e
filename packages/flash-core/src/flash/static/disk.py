"""A file as it is on disk, read in a thread."""

from __future__ import annotations

import logging
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash.errors import FlashError
from flash.static.file import StaticFile

if TYPE_CHECKING:
    import os
    from pathlib import Path

logger = logging.getLogger(__name__)


class OversizedFile(FlashError):
    """A file is too large to be held in memory; serve it by a handler that streams from disk."""

    def __init__(self, path: Path, size: int, limit: int) -> None:
        super().__init__(path, size, limit)
        self.path = path
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{self.path} is {self.size} bytes, more than the {self.limit} held in memory; "
            "stream it from disk or raise StaticCache(max_file_bytes=…)"
        )


@dataclass(frozen=True, slots=True)
class Version:
    """A file as read at one moment, and what tells that it has changed since."""

    file: StaticFile
    modified_ns: int
    size: int
    inode: int
    # False when it was read so soon after a change that the clock could not tell another one.
    settled: bool

    def matches(self, status: os.stat_result) -> bool:
        """Tell whether the disk still holds this version."""
        seen = (self.modified_ns, self.size, self.inode)
        return self.settled and seen == (status.st_mtime_ns, status.st_size, status.st_ino)


# File systems count time in steps of up to two seconds.
_CLOCK_STEP_NS = 2_000_000_000


def read(
    path: Path, root: Path | None, known: Version | None, max_file_bytes: int
) -> Version | None:
    """Read a file, in a thread; None unless it is a regular file inside ``root``.

    Returns ``known`` itself when that is still what the disk holds.
    """
    try:
        real = path.resolve(strict=True)
        if root is not None and not real.is_relative_to(root.resolve(strict=True)):
            return None
        status = real.stat()
        # Asked before opening, since opening a pipe waits for its writer.
        if not stat.S_ISREG(status.st_mode):
            return None
        if known is not None and known.matches(status):
            return known
        if status.st_size > max_file_bytes:
            raise OversizedFile(path, status.st_size, max_file_bytes)
        # One byte over the limit is enough to know a file that grew meanwhile.
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
