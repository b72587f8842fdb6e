"""The mapping from URL paths to the files of one folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flash.static.cache import StaticCache
    from flash.static.file import StaticFile
    from flash.static.response import StaticResponse

_MAX_NAME = 255
_MAX_PATH = 4096


class StaticTree:
    """Serves every file of a folder and no file outside it."""

    def __init__(self, root: Path, cache: StaticCache, *, revalidate: bool = True) -> None:
        self.root = root.absolute()
        self._cache = cache
        self._revalidate = revalidate

    def locate(self, url_path: str) -> Path | None:
        """Return the file's path for a path below the folder's URL; does not access the disk.

        ``url_path`` is percent-decoded once. Returns None for paths that could leave the folder:
        absolute paths, empty names, ``.`` and ``..`` however often encoded, backslashes, control
        characters.
        """
        if len(url_path) > _MAX_PATH or not all(map(_is_plain_name, url_path.split("/"))):
            return None
        return self.root / url_path

    async def load(self, url_path: str) -> StaticFile | None:
        """Return the file of a URL path; None as in `locate`, and for links to outside."""
        path = self.locate(url_path)
        if path is None:
            return None
        return await self._cache.load(path, revalidate=self._revalidate, root=self.root)

    async def answer(
        self,
        url_path: str,
        *,
        method: str,
        headers: Iterable[tuple[bytes, bytes]],
        immutable: bool = False,
    ) -> StaticResponse | None:
        """Return the response to a request for a URL path; None if there is no such file."""
        path = self.locate(url_path)
        if path is None:
            return None
        return await self._cache.answer(
            path,
            method=method,
            headers=headers,
            immutable=immutable,
            revalidate=self._revalidate,
            root=self.root,
        )


def _is_plain_name(name: str) -> bool:
    """Whether a name stays one plain file name, however often it is percent-decoded again."""
    try:
        if not 0 < len(os.fsencode(name)) <= _MAX_NAME:
            return False
    except UnicodeEncodeError:
        return False
    while True:
        if name in ("", ".", "..") or any(c in "/\\" or c < " " for c in name):
            return False
        decoded = unquote(name)
        if decoded == name:
            return True
        name = decoded
