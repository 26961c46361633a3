"""Which entries of directories changed, told by the kernel: inotify, on Linux and local disks.

One `Watcher` is one inotify instance, whose descriptor becomes readable when something changed.
Whoever follows files has a `Changes` of it, which is the `tfevents.Watch` of a file tree: several
trees below one directory share the instance, of which a user has 128.

inotify tells what this machine's kernel does, so a network file system, which others write too, is
not watched, and neither is anything else that a directory was refused for: `Changes.add` says False
and the caller polls. Not for what is written through a memory map. For one thread.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from guildlite.platform import LINUX, is_network_file_system

# <sys/inotify.h>; the same on every architecture.
_MODIFY, _CLOSE_WRITE = 0x2, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_MOVE_SELF = 0x800
_OVERFLOW, _IGNORED, _IS_DIRECTORY = 0x4000, 0x8000, 0x40000000
_ONLY_DIRECTORY, _NOT_UNLINKED = 0x1000000, 0x4000000
_WANTED = (
    _MODIFY | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _MOVE_SELF
    | _ONLY_DIRECTORY | _NOT_UNLINKED
)  # fmt: skip
#: wd, mask, cookie, length of the name that follows.
_EVENT = struct.Struct("=iIII")
#: Some thousand events a call.
_READ_BYTES = 64 << 10
#: Directories watched at most. Editors watch too, and on older kernels a user has 8,192 in all.
_MOST_WATCHES = 4096
#: Changes kept for somebody who does not take them; more are told as "anything may have changed".
_MOST_KEPT = 50_000


def open_watcher(root: Path) -> Watcher | None:
    """Return a watcher for directories of the file system of `root`, None where that cannot be."""
    if not LINUX or is_network_file_system(root):
        return None
    try:
        return Watcher(os.stat(root).st_dev)
    except (OSError, AttributeError):
        return None


class Watcher:
    """An inotify instance; raises OSError where there is none to be had.

    Directories on another device than `device` are not watched.
    """

    def __init__(self, device: int) -> None:
        self._device = device
        #: Watch descriptor → the changes it is told to, and the name it has there.
        self._told: dict[int, dict[Changes, str]] = {}
        self._all: list[Changes] = []
        self._descriptor = _call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)

    def descriptors(self) -> list[int]:
        """Return what to wait on: one descriptor, readable until some `Changes` is taken."""
        return [self._descriptor] if self._descriptor >= 0 else []

    def changes(self) -> Changes:
        """Return new, empty changes: what is told to one follower of files."""
        changes = Changes(self)
        self._all.append(changes)
        return changes

    def close(self) -> None:
        """Let go of the instance; harmless when called twice. Its changes say nothing any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._told.clear()

    def _add(self, changes: Changes, directory: str) -> bool:
        if self._descriptor < 0:
            return False
        try:
            if os.stat(directory).st_dev != self._device:
                return False
            # Also ENOSPC: the user has no watches left.
            number = _call("inotify_add_watch", self._descriptor, os.fsencode(directory), _WANTED)
        except OSError:
            return False
        if number not in self._told and len(self._told) >= _MOST_WATCHES:
            _forget(self._descriptor, number)
            return False
        self._told.setdefault(number, {})[changes] = directory
        return True

    def _read(self) -> None:
        """Hand every event that waits to those it is for."""
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    self.close()
                    self._tell_all()
                return
            for number, mask, name in _events(data):
                self._tell(number, mask, name)

    def _tell(self, number: int, mask: int, name: bytes) -> None:
        if mask & _OVERFLOW:
            self._tell_all()
        elif mask & _MOVE_SELF:
            # What its name is now, whoever lists its new parent finds out.
            _forget(self._descriptor, number)
        elif mask & _IGNORED:
            for changes, directory in self._told.pop(number, {}).items():
                changes._append(directory, "")
        elif name:
            entry = os.fsdecode(name) + "/" * bool(mask & _IS_DIRECTORY)
            for changes, directory in self._told.get(number, {}).items():
                changes._append(directory, entry)

    def _tell_all(self) -> None:
        for changes in self._all:
            changes._everything()


class Changes:
    """What changed in some directories since it was last asked for."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        #: (directory, entry), without order; None when anything may have changed.
        self._found: set[tuple[str, str]] | None = set()

    def add(self, directory: str) -> bool:
        """Tell of the directory's entries from now on; False where that cannot be.

        May be called again, as when the directory was told to be lost.
        """
        return self._watcher._add(self, directory)

    def take(self) -> set[tuple[str, str]] | None:
        """Return (directory, name of an entry) of what changed; None if anything may have.

        The name of a directory ends in `/`. An empty name says that the directory is not watched
        any more: removed, moved, unmounted.
        """
        self._watcher._read()
        found, self._found = self._found, set()
        return found

    def _append(self, directory: str, name: str) -> None:
        if self._found is not None:
            self._found.add((directory, name))
            if len(self._found) > _MOST_KEPT:
                self._found = None

    def _everything(self) -> None:
        self._found = None


def _events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        number, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size
        yield number, mask, data[at : at + length].rstrip(b"\0")
        at += length


def _forget(descriptor: int, number: int) -> None:
    """Remove a watch; the kernel says `_IGNORED` of it."""
    try:
        _call("inotify_rm_watch", descriptor, number)
    except OSError:
        pass  # it was gone already


def _call(name: str, *arguments: Any) -> int:
    """Call a function of libc; raise OSError."""
    library = _libc()
    result = getattr(library, name)(*arguments)
    if result < 0:
        import ctypes

        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


@lru_cache(maxsize=1)
def _libc() -> Any:
    import ctypes  # 8 ms and 1 MB, which only whoever watches pays

    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return ctypes.CDLL(None, use_errno=True)
