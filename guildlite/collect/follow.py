"""Everything a run's files say, committed to its run.db: live by the supervisor, later by others.

A `Follower` belongs to one thread, which holds the run's lock.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from guildlite.collect.collector import Collector, Guarded
from guildlite.runs.db import RunDb
from guildlite.runs.paths import OWN_DIR, RunPaths
from guildlite.series import Cursor, Reading
from guildlite.watch import Watcher, open_watcher

#: Readings a transaction: at most some 20,000 points each, so that a commit stays under a second.
_BATCH = 4
#: A second look within the same tick is worth it, a wait that a person notices is not.
LOOK_S = 0.5
#: Some ten million points. Only a daemon that writes on without a pause comes to this.
FINAL_S = 60.0


class Follower:
    """Reads a run's event files, tables, logs and spools from where run.db says they stand.

    `columns` is the project's `collect:`. `live` says whether the moment of reading is the moment
    of writing; catching up later leaves such times NULL. `tell` takes notices for errors.log.
    """

    def __init__(
        self,
        paths: RunPaths,
        db: RunDb,
        *,
        columns: Mapping[str, Sequence[str]],
        live: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._paths, self._db, self._columns = paths, db, columns
        self._live, self._tell = live, tell
        #: Family of sources → its collectors, once there is something for them to read.
        self._collectors: dict[str, list[Guarded]] = {}
        self._watcher: Watcher | None = None

    def descriptors(self) -> list[int]:
        """Return what becomes readable when files have news; none where they must be polled."""
        return [] if self._watcher is None else self._watcher.descriptors()

    def poll(self, *, final: bool = False, deadline: float | None = None) -> bool:
        """Commit what is new, each source in turn; False when `deadline` came before the end.

        `deadline` is a time.monotonic; without one a live look takes `LOOK_S` at most, so that a
        script that prints faster than it is read delays neither a stop nor the other sources, and
        a `final` one `FINAL_S`. sqlite3.Error passes after the collectors have been thrown away:
        the next call starts from the cursors that run.db holds, so nothing is lost or doubled.
        """
        if deadline is None:
            deadline = time.monotonic() + (FINAL_S if final else LOOK_S)
        try:
            self._open()
            unread = [one for family in self._collectors.values() for one in family]
            while unread:
                unread = [one for one in unread if self._look(one, final, deadline)]
                if time.monotonic() > deadline:
                    return not unread
        except sqlite3.Error:
            self.close()
            raise
        return True

    def _look(self, collector: Guarded, final: bool, deadline: float) -> bool:
        """Commit one sample of a collector; return whether it may have more."""
        readings = iter(collector.sample(final))
        more = False
        while batch := list(islice(readings, _BATCH)):
            self._write(batch)
            more = more or any(reading.cursor is not None for reading in batch)
            if time.monotonic() > deadline:
                return True
        return more

    def _write(self, batch: Sequence[Reading]) -> None:
        self._db.write(batch)
        for reading in batch:
            for notice in reading.notices:
                self._tell(notice)

    def _open(self) -> None:
        """Open the collectors that have something to read by now.

        A script that writes no files must not wait for the readers of files: their imports take
        longer than it does.
        """
        for name, has_news, make in (
            ("files", self._has_files, self._file_collectors),
            ("output", self._has_output, self._output_collectors),
            ("samples", self._paths.ops.exists, self._sample_collectors),
        ):
            if name not in self._collectors and has_news():
                cursors = self._db.cursors()
                self._collectors[name] = [Guarded(one) for one in make(cursors)]

    def _has_files(self) -> bool:
        try:
            with os.scandir(self._paths.run_dir) as entries:
                return any(entry.name != OWN_DIR for entry in entries)
        except OSError:
            return False

    def _has_output(self) -> bool:
        logs = (self._paths.stdout, self._paths.stderr)
        return self._paths.ops.exists() or any(_size(log) for log in logs)

    def _file_collectors(self, cursors: Sequence[Cursor]) -> list[Collector]:
        from guildlite.collect.events import EventFiles
        from guildlite.collect.tables import Tables

        run_dir = self._paths.run_dir
        if self._live:
            self._watcher = open_watcher(run_dir)
        watcher = self._watcher
        watches = [None if watcher is None else watcher.changes() for _ in range(2)]
        return [
            EventFiles(run_dir, cursors, watches[0]),
            Tables(run_dir, cursors, self._columns, live=self._live, watch=watches[1]),
        ]

    def _output_collectors(self, cursors: Sequence[Cursor]) -> list[Collector]:
        from guildlite.collect.output import OutputLogs

        return [OutputLogs(self._paths, cursors, live=self._live)]

    def _sample_collectors(self, cursors: Sequence[Cursor]) -> list[Collector]:
        from guildlite.collect.samples import Samples

        return [Samples(self._paths, cursors)]

    def close(self) -> None:
        """Close the collectors; a later `poll` opens them again."""
        for collectors in self._collectors.values():
            for collector in collectors:
                collector.close()
        self._collectors = {}
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None


def _size(path: os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
