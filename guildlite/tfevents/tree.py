"""Which files below a directory have changed since one last looked: a few stats when idle.

Polling rather than notification, because it is right on every file system. A look stats the
directories and the files that changed lately, and takes turns with the ones that are quiet, so
thousands of finished files cost no more than a few hundred. A directory is listed again only
when its modification time says so.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import TypeVar

#: Looks without a change after which a file or directory is quiet: 10 s at five looks a second.
_QUIET_AFTER = 50
#: Quiet files or directories visited a look, in turn; a stat costs about 2 µs.
_QUIET_PER_LOOK = 500
#: A directory changed less than this before it was listed is listed again: its time stamp may
#: not move for an entry made in the same tick (1 s on some network file systems).
_RACY_NS = 2_000_000_000
#: A directory of this many entries is listed at most every second look, of twice as many every
#: third, and so on: a training that drops files into it must not make us list all the time.
_ENTRIES_PER_LOOK = 1_000

Signature = tuple[int, int, int]


@dataclass(slots=True, eq=False)
class FoundFile:
    """A file worth reading.

    `path` opens it. `name` is for people and databases: relative to the root, `/` between parts,
    bytes that are not UTF-8 written as `\\xNN`.
    """

    path: str
    name: str
    quiet: int = 0
    #: (inode, size, mtime) when it was last read to the end; None before.
    signature: Signature | None = None
    #: The same, as just seen.
    seen: Signature | None = None


@dataclass(slots=True, eq=False)
class _Directory:
    path: str
    name: str
    depth: int
    quiet: int = 0
    mtime_ns: int = -1
    listed_at: int = 0
    entries: int = 0
    racy: bool = False
    files: dict[str, FoundFile] = field(default_factory=dict)
    directories: dict[str, _Directory] = field(default_factory=dict)


_Item = TypeVar("_Item", FoundFile, _Directory)


class FileTree:
    """The files below `root` whose name `wanted(relative_name)` accepts.

    `skip` names directories directly below the root to leave out. Symbolic links are not
    followed, nor anything deeper than `depth` directories or beyond `most` entries in all. What is
    left out for these reasons is said once in `notices`, which the caller may empty.
    """

    def __init__(
        self,
        root: Path | str,
        wanted: Callable[[str], bool],
        *,
        skip: Collection[str] = (),
        depth: int = 8,
        most: int = 20_000,
    ) -> None:
        self._root = _Directory(os.fspath(root), "", 0)
        self._wanted = wanted
        self._skip = frozenset(skip)
        self._depth = depth
        self._most = most
        self._look = 0
        self._stale = False
        self._entries = 0
        self._directories: list[_Directory] = [self._root]
        self._files: list[FoundFile] = []
        self._said: set[str] = set()
        self.notices: list[str] = []

    def changed(self, *, everything: bool = False) -> Iterator[FoundFile]:
        """Yield the files that are new or differ from when `done` was last called for them.

        In order of directory and name. With `everything`, no file or directory is left for a
        later turn.
        """
        self._look += 1
        for directory in self._due(self._directories, everything):
            self._refresh(directory, everything)
        self._flatten()
        for file in self._due(self._files, everything):
            try:
                status = os.stat(file.path, follow_symlinks=False)
            except OSError:
                continue  # gone; the listing of its directory will say so
            file.seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if file.seen == file.signature:
                file.quiet += 1
                continue
            file.quiet = 0
            yield file

    def done(self, file: FoundFile) -> None:
        """Say that `file` has been read as far as it went when it was yielded."""
        file.signature = file.seen

    def again(self, file: FoundFile) -> None:
        """Say that `file` is to be yielded by the next look even if it stays as it is."""
        file.signature = file.seen = None

    def _due(self, items: list[_Item], everything: bool) -> list[_Item]:
        """Return the items to visit in this look."""
        if everything or len(items) <= _QUIET_PER_LOOK:
            return list(items)
        start = self._look * _QUIET_PER_LOOK % len(items)
        turn = range(start, start + _QUIET_PER_LOOK)
        return [
            item
            for index, item in enumerate(items)
            if item.quiet < _QUIET_AFTER or index in turn or index + len(items) in turn
        ]

    def _refresh(self, directory: _Directory, everything: bool) -> None:
        """List a directory, and the new ones below it, if it may have changed."""
        try:
            mtime_ns = os.stat(directory.path).st_mtime_ns
        except OSError:
            return  # gone; the listing of its parent will say so
        if mtime_ns == directory.mtime_ns and not directory.racy and not everything:
            directory.quiet += 1
            return
        wait = directory.entries // _ENTRIES_PER_LOOK
        if not everything and self._look - directory.listed_at < wait:
            return
        directory.quiet = 0
        self._list(directory)
        directory.mtime_ns = mtime_ns
        directory.racy = abs(time.time_ns() - mtime_ns) < _RACY_NS

    def _list(self, directory: _Directory) -> None:
        """Read a directory's entries and those of directories that are new in it."""
        found = self._scan(directory)
        if found is None:
            return
        files: dict[str, FoundFile] = {}
        directories: dict[str, _Directory] = {}
        for entry in found:
            name = _relative(directory.name, entry.name)
            if entry.is_symlink():
                if self._wanted(name):
                    self._say(f"`{name}` is a symbolic link and is not followed")
            elif entry.is_dir(follow_symlinks=False):
                if self._enters(directory, entry.name):
                    directories[name] = directory.directories.get(name) or _Directory(
                        entry.path, name, directory.depth + 1
                    )
            elif entry.is_file(follow_symlinks=False) and self._wanted(name):
                files[name] = directory.files.get(name) or FoundFile(entry.path, name)
        new = [each for name, each in directories.items() if name not in directory.directories]
        if new or (files.keys(), directories.keys()) != (
            directory.files.keys(),
            directory.directories.keys(),
        ):
            self._stale = True
        directory.files, directory.directories = files, directories
        for each in new:
            self._refresh(each, True)

    def _scan(self, directory: _Directory) -> list[os.DirEntry[str]] | None:
        """Return the entries of a directory in order of name, as many as may still be looked at."""
        budget = self._most - self._entries + directory.entries
        try:
            with os.scandir(directory.path) as entries:
                found = list(islice(entries, budget + 1))
        except OSError as error:
            self._say(f"`{directory.name or '.'}` cannot be listed: {error.strerror}")
            return None
        if len(found) > budget:
            found.pop()
            self._say(f"there are more than {self._most:,} files; some were not looked at")
        self._entries += len(found) - directory.entries
        directory.listed_at, directory.entries = self._look, len(found)
        return sorted(found, key=lambda entry: entry.name)

    def _enters(self, parent: _Directory, name: str) -> bool:
        if parent is self._root and name in self._skip:
            return False
        if parent.depth >= self._depth:
            self._say(f"directories below `{parent.name}` are too deep and were not looked at")
            return False
        return True

    def _flatten(self) -> None:
        """Bring the flat lists up to date with the tree; what is gone drops out here."""
        if not self._stale:
            return
        self._stale = False
        self._directories, self._files = [self._root], []
        for directory in self._directories:  # grows while it is walked
            self._files += directory.files.values()
            self._directories += directory.directories.values()
        self._entries = sum(directory.entries for directory in self._directories)

    def _say(self, notice: str) -> None:
        if notice not in self._said:
            self._said.add(notice)
            self.notices.append(notice)


def _relative(parent: str, name: str) -> str:
    """Return an entry's name below the root, as text that any database takes."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return f"{parent}/{text}" if parent else text


def open_regular(path: str | Path) -> FileIO:
    """Open a regular file for reading, unbuffered; raise OSError for anything else.

    A FIFO of that name does not block, and a symbolic link is refused.
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(22, "not a regular file", os.fspath(path))
        return FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
