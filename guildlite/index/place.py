"""Where the index of a runs root lies, and how its file is replaced without anyone noticing.

A directory of its own in the user's cache, named by the runs root and the format:
`index/runs-1a2b3c4d-v1/`. In it `lock`, and the index as `1.db`, `2.db` and so on: a rebuilt one
gets the next number and appears by rename, so that whoever reads the old one goes on reading it,
and no log of the old file is ever taken for one of the new.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from pathlib import Path

from guildlite.cache import cache_dir
from guildlite.index.schema import FORMAT
from guildlite.platform import FileLock, is_network_file_system

_NUMBERED = re.compile(r"(\d{1,15})\.db")


def index_directory(root: Path) -> Path:
    """Return the directory for the index of a runs root.

    A home on a network file system is shared by hosts, and SQLite's log is not: then it lies in
    the temporary directory, which is this host's own.
    """
    real = os.path.realpath(root)
    base = cache_dir()
    if is_network_file_system(base):
        import tempfile  # only here: it takes 4 ms

        base = Path(tempfile.gettempdir()) / f"guildlite-{os.getuid()}"
    name = re.sub(r"[^\w.-]", "_", os.path.basename(real), flags=re.ASCII)[:40]
    return base / "index" / f"{name}-{zlib.crc32(os.fsencode(real)):08x}-v{FORMAT}"


class Place:
    """The directory of one index."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = FileLock(directory / "lock")

    def make(self) -> None:
        """Make the directory, for this user alone.

        Raises OSError where nothing can be written, and for somebody else's directory.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and os.stat(self.directory).st_uid != os.getuid():
            raise PermissionError(f"{self.directory} belongs to somebody else")
        # Not to be taken for a lock that somebody else holds.
        if not os.access(self.directory, os.W_OK):
            raise PermissionError(f"{self.directory} cannot be written")
        self._clear_lock()

    def _clear_lock(self) -> None:
        """Remove what stands in the place of the lock and can never be one. Raises OSError."""
        try:
            mode = os.lstat(self.lock.path).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            os.rmdir(self.lock.path)
        elif not stat.S_ISREG(mode):
            os.unlink(self.lock.path)

    def current(self) -> Path | None:
        """Return the newest index file, or None."""
        numbers = self._numbers()
        return self._file(numbers[-1]) if numbers else None

    def successor(self) -> Path:
        """Return the name that the next index file will have."""
        numbers = self._numbers()
        return self._file(numbers[-1] + 1 if numbers else 1)

    def remove_old(self) -> None:
        """Remove what newer files replaced; only while holding the lock.

        Not by whoever replaced them: somebody may have looked for the newest just before.
        """
        names = self._names()
        if len(names) <= 2:
            return
        numbers = self._numbers()
        kept = f"{numbers[-1]}.db" if numbers else ""
        for name in names:
            if name.partition("-")[0] != kept and name != "lock":
                try:
                    (self.directory / name).unlink()
                except OSError:
                    pass

    def _file(self, number: int) -> Path:
        return self.directory / f"{number}.db"

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.directory)
        except OSError:
            return []

    def _numbers(self) -> list[int]:
        return sorted(int(m[1]) for name in self._names() if (m := _NUMBERED.fullmatch(name)))
