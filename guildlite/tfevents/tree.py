"""Which files below a directory have changed since one last looked: a few stats when idle.

Polling is right on every file system. A look stats the directories and the files that changed
lately, and takes turns with the ones that are quiet, so thousands of finished files cost no more
than a few hundred. A directory is listed again only when its modification time says so.

Where a `Watch` tells what changed in a directory, only that is looked at, however many files there
are, and a few others in turn, for what no kernel tells: writes through a memory map.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Protocol, TypeVar

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

#: Watched files, and directories, that a look visits all the same: 5,000 take their turn in 50 s
#: at five looks a second.
_SWEPT_PER_LOOK = 20

Signature = tuple[int, int, int]


class Watch(Protocol):
    """What tells of changes in directories, without being asked about each file."""

    def add(self, directory: str) -> bool:
        """Tell of the directory's entries from now on; False where that cannot be."""

    def take(self) -> Collection[tuple[str, str]] | None:
        """Return (directory, name of an entry) of what changed; None if anything may have.

        The name of a directory ends in `/`. An empty name says that the directory itself is not
        watched any more.
        """


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
    #: Its place in the order of directory and name.
    order: int = -1


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
    watched: bool = False
    order: int = -1
    files: dict[str, FoundFile] = field(default_factory=dict)
    directories: dict[str, _Directory] = field(default_factory=dict)


_Item = TypeVar("_Item", FoundFile, _Directory)


class FileTree:
    """The files below `root` whose name `wanted(relative_name)` accepts.

    `skip` names directories directly below the root to leave out. Symbolic links are not
    followed, nor anything deeper than `depth` directories or beyond `most` entries in all. What is
    left out for these reasons is said once in `notices`, which the caller may empty. Directories
    that `watch` tells of are not polled.
    """

    def __init__(
        self,
        root: Path | str,
        wanted: Callable[[str], bool],
        *,
        skip: Collection[str] = (),
        depth: int = 8,
        most: int = 20_000,
        watch: Watch | None = None,
    ) -> None:
        self._root = _Directory(os.fspath(root), "", 0)
        self._wanted = wanted
        self._skip = frozenset(skip)
        self._depth = depth
        self._most = most
        self._watch = watch
        self._look = 0
        self._stale = False
        self._entries = 0
        self._directories: list[_Directory] = [self._root]
        self._files: list[FoundFile] = []
        #: Of these, the ones no watch tells of.
        self._polled_directories: list[_Directory] = [self._root]
        self._polled_files: list[FoundFile] = []
        #: Of the others, by path; and what is to be looked at, each in the place of a set in order.
        self._watched: dict[str, _Directory] = {}
        self._told_directories: dict[_Directory, None] = {}
        self._told_files: dict[FoundFile, None] = {}
        self._said: set[str] = set()
        self.notices: list[str] = []

    def changed(self, *, everything: bool = False) -> Iterator[FoundFile]:
        """Yield the files that are new or differ from when `done` was last called for them.

        In order of directory and name. With `everything`, no file or directory is left for a
        later turn.
        """
        self._look += 1
        self._listen()
        directories = self._directories if everything else self._due_directories()
        for directory in list(directories):
            self._refresh(directory, everything)
        self._flatten()
        for file in list(self._files) if everything else self._due_files():
            status = self._status(file)
            if status is None:
                continue
            file.seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if file.seen == file.signature:
                file.quiet += 1
                self._told_files.pop(file, None)
                continue
            file.quiet = 0
            self._told_files[file] = None
            yield file

    def done(self, file: FoundFile) -> None:
        """Say that `file` has been read as far as it went when it was yielded."""
        file.signature = file.seen
        if file.seen is not None:
            self._told_files.pop(file, None)

    def again(self, file: FoundFile) -> None:
        """Say that `file` is to be yielded by the next look even if it stays as it is."""
        file.signature = file.seen = None
        self._told_files[file] = None

    def _status(self, file: FoundFile) -> os.stat_result | None:
        """Return a file's status; None, and its directory is listed again, if it is no file now."""
        try:
            status = os.stat(file.path, follow_symlinks=False)
        except OSError:
            pass
        else:
            if stat.S_ISREG(status.st_mode):
                return status
        self._told_files.pop(file, None)
        directory = self._watched.get(os.path.dirname(file.path))
        if directory is not None:
            self._told_directories[directory] = None
        return None

    def _listen(self) -> None:
        """Note what the watch tells."""
        if self._watch is None:
            return
        told = self._watch.take()
        if told is None:
            self._stale = True
            for directory in self._watched.values():
                directory.watched = False
            self._told_directories |= dict.fromkeys(self._watched.values())
            self._told_files |= dict.fromkeys(self._files)
            return
        for path, entry in told:
            if path in self._watched:
                self._note(self._watched[path], entry)

    def _note(self, directory: _Directory, entry: str) -> None:
        """Note a change of one entry. Files not wanted are many: a script writes its checkpoint."""
        name = _relative(directory.name, entry)
        if name in directory.files:
            self._told_files[directory.files[name]] = None
            return
        if not entry:
            self._lose(directory)
        elif not entry.endswith("/") and not self._wanted(name):
            return
        self._told_directories[directory] = None

    def _lose(self, directory: _Directory) -> None:
        """Watch a directory anew, and those below it: if it was moved, they were with it."""
        self._stale = True
        lost = [directory]
        for each in lost:  # grows while it is walked
            each.watched = False
            self._told_directories[each] = None
            lost += each.directories.values()

    def _due_directories(self) -> list[_Directory]:
        others = self._turn(self._directories) + self._due(self._polled_directories)
        return _in_order(self._told_directories | dict.fromkeys(others))

    def _due_files(self) -> list[FoundFile]:
        others = self._turn(self._files) + self._due(self._polled_files)
        return _in_order(self._told_files | dict.fromkeys(others))

    def _turn(self, items: list[_Item]) -> list[_Item]:
        """Return the few whose turn it is, watched or not."""
        if not self._watched or not items:
            return []
        start = self._look * _SWEPT_PER_LOOK % len(items)
        return items[start : start + _SWEPT_PER_LOOK]

    def _due(self, items: list[_Item]) -> list[_Item]:
        """Return the items to visit in this look, of those that are polled."""
        if len(items) <= _QUIET_PER_LOOK:
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
            self._told_directories.pop(directory, None)
            return  # gone; the listing of its parent will say so
        told = everything or directory in self._told_directories
        if mtime_ns == directory.mtime_ns and not directory.racy and not told:
            directory.quiet += 1
            return
        wait = directory.entries // _ENTRIES_PER_LOOK
        if not everything and self._look - directory.listed_at < wait:
            return
        directory.quiet = 0
        self._told_directories.pop(directory, None)
        if self._watch is not None and not directory.watched:
            # Before it is listed, so that nothing comes between.
            directory.watched = self._watch.add(directory.path)
            self._stale |= directory.watched
        self._list(directory)
        directory.mtime_ns = mtime_ns
        directory.racy = not directory.watched and abs(time.time_ns() - mtime_ns) < _RACY_NS

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
        added = files.keys() - directory.files.keys()
        self._told_files |= {files[name]: None for name in added}
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
        self._watched = {each.path: each for each in self._directories if each.watched}
        self._polled_directories = [each for each in self._directories if not each.watched]
        self._polled_files = [
            file for directory in self._polled_directories for file in directory.files.values()
        ]
        _number(self._directories)
        _number(self._files)
        self._told_files = {each: None for each in self._files if each in self._told_files}

    def _say(self, notice: str) -> None:
        if notice not in self._said:
            self._said.add(notice)
            self.notices.append(notice)


def _number(items: list[_Item]) -> None:
    for order, item in enumerate(items):
        item.order = order


def _in_order(items: Iterable[_Item]) -> list[_Item]:
    return sorted(items, key=attrgetter("order"))


def _relative(parent: str, name: str) -> str:
    """Return an entry's name below the root, as text that any database takes."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return f"{parent}/{text}" if parent else text


def unescape_name(name: str) -> str:
    """Return the path that `FoundFile.name` stands for where bytes of it are not UTF-8.

    A name may as well hold those characters itself, so try that one first.
    """
    if "\\x" not in name:
        return name
    return os.fsdecode(
        re.sub(
            rb"\\x([89a-f][0-9a-f])",
            lambda match: bytes.fromhex(match[1].decode()),
            os.fsencode(name),
        )
    )


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
