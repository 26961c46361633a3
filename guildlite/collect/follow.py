"""Everything a run's files say, committed to its run.db: live by the supervisor, later by others.

A `Follower` belongs to one thread, which holds the run's lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from guildlite.collect.collector import Collector, Guarded
from guildlite.collect.events import EventFiles
from guildlite.collect.output import OutputLogs
from guildlite.collect.samples import Samples
from guildlite.collect.tables import Tables
from guildlite.runs.db import RunDb
from guildlite.runs.paths import RunPaths
from guildlite.series import Reading

#: Readings a transaction: at most some 20,000 points each, so that a commit stays under a second.
_BATCH = 4


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
        self._collectors: list[Guarded] = []

    def poll(self, *, final: bool = False, deadline: float | None = None) -> bool:
        """Commit all that is new; False when `deadline` (time.monotonic) came first.

        sqlite3.Error passes after the collectors have been thrown away: the next call starts
        from the cursors that run.db holds, so nothing is lost and nothing doubled.
        """
        if not self._collectors:
            self._collectors = self._open()
        try:
            return all([self._drain(one, final, deadline) for one in self._collectors])
        except sqlite3.Error:
            self.close()
            raise

    def _drain(self, collector: Guarded, final: bool, deadline: float | None) -> bool:
        while True:
            readings = iter(collector.sample(final))
            taken = 0
            while batch := list(islice(readings, _BATCH)):
                self._write(batch)
                taken += sum(1 for reading in batch if reading.cursor is not None)
                if deadline is not None and time.monotonic() > deadline:
                    return False
            if not taken:
                return True

    def _write(self, batch: Sequence[Reading]) -> None:
        self._db.write(batch)
        for reading in batch:
            for notice in reading.notices:
                self._tell(notice)

    def _open(self) -> list[Guarded]:
        run_dir, cursors = self._paths.run_dir, self._db.cursors()
        collectors: list[Collector] = [
            EventFiles(run_dir, cursors),
            Tables(run_dir, cursors, self._columns, live=self._live),
            OutputLogs(self._paths, cursors, live=self._live),
            Samples(self._paths, cursors),
        ]
        return [Guarded(collector) for collector in collectors]

    def close(self) -> None:
        """Close the collectors; a later `poll` opens them again."""
        for collector in self._collectors:
            collector.close()
        self._collectors = []
