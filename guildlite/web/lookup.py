"""Questions of the viewer to the index of its runs.

One `Lookup` is shared by all requests. Each request opens the index for itself, which takes less
than a millisecond, and takes in what has changed; of several at once one does so and the others
wait for it, since they would do the same work. Where the user's cache cannot be written the index
lies in a temporary directory that goes with the viewer.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guildlite.errors import GuildliteError
from guildlite.index import Index
from guildlite.index.index import Settle
from guildlite.index.place import index_directory
from guildlite.query import Vocabulary
from guildlite.runs.store import list_names
from guildlite.web.workspace import Workspace

#: With more runs than these the first look takes seconds, and a page says how far it is.
_MANY = 1_000


class Lookup:
    """Opens the index of a workspace's runs."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.progress = (0, 0)
        self._settle: Settle | None = workspace.settle if workspace.settles else None
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._first = threading.Event()
        self._reader: threading.Thread | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._writable = False

    @contextmanager
    def opened(self) -> Iterator[Index]:
        """Give the index as the run directories are now. Raises GuildliteError without them."""
        with Index(self.workspace.root, self._directory()) as index:
            with self._lock:
                index.refresh(self._settle, self._tell)
            self._first.set()
            yield index

    def reading(self, wait_s: float) -> tuple[int, int] | None:
        """Return (done, all) while the runs are read for the first time, None once they are.

        Waits for it a little while. Few runs are not worth a page of their own.
        """
        if self._first.is_set():
            return None
        with self._starting:
            if self._reader is None:
                if len(list_names(self.workspace.root)) <= _MANY:
                    return None
                self._reader = threading.Thread(target=self._read_all, daemon=True)
                self._reader.start()
        return None if self._first.wait(wait_s) else self.progress

    def _read_all(self) -> None:
        try:
            with self.opened():
                pass
        except (GuildliteError, OSError, sqlite3.Error):
            pass  # whoever asks next is told
        finally:
            self._first.set()

    def _tell(self, done: int, of: int) -> None:
        self.progress = (done, of)

    def _directory(self) -> Path | None:
        """Return where the index lies; None for its usual place."""
        if not self._writable and self._temporary is None:
            self._writable = _is_writable(index_directory(self.workspace.root))
            if not self._writable:
                try:
                    self._temporary = tempfile.TemporaryDirectory(prefix="guildlite-index-")
                except OSError:
                    return None  # it is kept in memory then, made anew each time
        return Path(self._temporary.name) if self._temporary else None

    def close(self) -> None:
        """Remove the index where it lies in a place of its own."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def known(self) -> Vocabulary:
        """Return the names that the project declares: no mistake although no run has them yet."""
        project = self.workspace.project
        if project is None:
            return Vocabulary()
        return Vocabulary(sorted(project.flag_names()), tuple(project.metrics))


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


def state_of(index: Index) -> str | None:
    """Return what changes whenever an answer may, None where that cannot be told.

    A commit of any process changes the file or its log; of runs that have not ended the state of
    this moment is part of it, their duration to the second.
    """
    if index.path is None:
        return None
    seen: list[object] = [*index.ask(_live)]
    for path in (index.path, index.path.with_name(f"{index.path.name}-wal")):
        try:
            facts = os.stat(path)
        except OSError:
            continue
        if facts.st_size:
            seen.append((path.name, facts.st_mtime_ns, facts.st_size))
    return repr(seen)


def _live(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT run, status, status_note, CAST(duration AS INTEGER) FROM live ORDER BY run"
    ).fetchall()
