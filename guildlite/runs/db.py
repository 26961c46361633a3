"""The writer of run.db. Exactly one at a time: whoever holds the run's lock.

A `RunDb` belongs to one thread. `write` commits its readings whole or not at all, in one
transaction that also holds summaries, buckets and cursors, so a crash neither loses nor repeats a
point. After a failed `write` the file and this object are as before it. Whatever the readings hold
(lone surrogates, NUL, numbers beyond 64 bits), only sqlite3.Error comes out.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from guildlite.runs import rereading
from guildlite.runs.migrations import migrate
from guildlite.runs.seriesrows import KEY_COLUMNS, KeyRow
from guildlite.runs.staging import Origins, Staged, finish, put_attrs, stage
from guildlite.runs.storable import storable
from guildlite.series import (
    MAX_STEP,
    Cursor,
    Reading,
)


class RunDb:
    """An open run.db that this process may write.

    `network` is for file systems where another host may look at the same file: no shared memory
    there, so no WAL. Without `durable` there is no journal and no waiting for the disk: for a file
    that nobody sees before it is whole, and that is thrown away if it never is.
    """

    def __init__(self, path: Path, *, network: bool = False, durable: bool = True) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        try:
            self._prepare(("DELETE" if network else "WAL") if durable else "OFF", durable)
            migrate(self._connection)
            self._load()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, journal: str, durable: bool) -> None:
        execute = self._connection.execute
        execute(f"PRAGMA journal_mode={journal}")
        execute(f"PRAGMA synchronous={'NORMAL' if durable else 'OFF'}")
        execute("PRAGMA journal_size_limit=8388608")
        # A foreign run.db is data: its views and triggers get no say.
        execute("PRAGMA trusted_schema=OFF")

    # State --------------------------------------------------------------------------------

    def _load(self) -> None:
        self._keys = {key.key: key for key in self._load_keys()}
        self._sources = self._load_sources()
        self._segments = self._load_segments()
        self._origins = self._load_origins()
        #: What was last written of each source's state: that of a hundred thousand tags takes
        #: longer than the points of a commit.
        self._states: dict[int, dict[str, object]] = {}

    def _load_keys(self) -> Iterator[KeyRow]:
        names = ", ".join(f'"{name}"' for name in KEY_COLUMNS)
        for row in self._connection.execute(f"SELECT {names} FROM series_key"):
            yield KeyRow(*row)

    def _load_sources(self) -> dict[tuple[str, str], int]:
        rows = self._connection.execute("SELECT path, digest, id FROM source")
        return {(path, digest): number for path, digest, number in rows}

    def _load_segments(self) -> dict[tuple[int, int | None], tuple[int, int]]:
        """Return the open segment of each (series, source): its number and last step."""
        rows = self._connection.execute(
            "SELECT key_id, source_id, segment, last_step, ended FROM segment ORDER BY segment"
        )
        return {
            (key, source): (segment, MAX_STEP if ended else step)
            for key, source, segment, step, ended in rows
        }

    def _load_origins(self) -> Origins:
        rows = self._connection.execute(
            'SELECT DISTINCT "key", source.kind FROM segment'
            " JOIN source ON source.id = source_id JOIN series_key ON series_key.id = key_id"
            " WHERE series_key.kind = 'scalar'"
        )
        origins = Origins()
        for key, kind in rows:
            origins.add(key, kind)
        return origins

    def cursors(self) -> list[Cursor]:
        """Return how far every source has been read."""
        rows = self._connection.execute(
            'SELECT path, kind, digest, "offset", state, error FROM source ORDER BY id'
        )
        return [
            Cursor(path, kind, digest, offset, json.loads(state) if state else {}, error)
            for path, kind, digest, offset, state, error in rows
        ]

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how many points, or values, every series has, by key and kind."""
        return Counter({(key.key, key.kind): key.count for key in self._keys.values()})

    def attr(self, name: str) -> str | None:
        """Return one attribute."""
        row = self._connection.execute("SELECT value FROM attr WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    # Writing ------------------------------------------------------------------------------

    def write_start(self, attrs: Mapping[str, str], flags: Mapping[str, str]) -> None:
        """Record what was asked: once, at the start; a second call changes nothing."""
        with _Transaction(self._connection) as connection:
            for table, pairs in (("attr", attrs), ("flag", flags)):
                rows = [(storable(name), storable(value)) for name, value in pairs.items()]
                connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", rows)

    def write_attrs(self, attrs: Mapping[str, str | None]) -> None:
        """Set attributes; None removes one."""
        with _Transaction(self._connection) as connection:
            put_attrs(connection, attrs)

    def write(self, readings: Iterable[Reading]) -> None:
        """Commit readings. sqlite3.Error (disk full, say) leaves file and object as before."""
        staged = Staged(self._keys, self._sources, self._segments, self._origins, self._states)
        with _Transaction(self._connection) as connection:
            for reading in readings:
                stage(connection, staged, reading)
            finish(connection, staged)
        self._keys, self._sources = staged.keys, staged.sources
        self._segments, self._states = staged.segments, staged.states
        self._origins.take(staged.new, staged.dropped)

    @contextmanager
    def rereading(self, sources: Collection[int]) -> Iterator[None]:
        """Forget all that these sources gave, and commit it together with what is then written.

        `sources` are ids. Everything written within the context is one transaction: an exception
        in it, or the end of this process, leaves the file as it was. Series that other sources
        gave points of as well keep those; moments that were seen when a row of a table came, and
        that its file does not tell, are put back.
        """
        try:
            with _Transaction(self._connection) as connection:
                kept = rereading.forget(connection, sources)
                self._load()
                with closing(kept):
                    for batch in kept:
                        self.write(batch)
                yield
                rereading.restore_times(connection)
        finally:
            rereading.clean_up(self._connection)
            self._load()

    def seal(self, attrs: Mapping[str, str | None], *, patience_s: float = 2.0) -> None:
        """Turn the file into one plain file that can be copied and opened anywhere.

        Readers that hold it open all the while keep it in WAL mode, which is as complete, and the
        next writer seals it.
        """
        self.write_attrs(attrs)
        self._connection.execute(f"PRAGMA busy_timeout={min(200, int(patience_s * 500))}")
        deadline = time.monotonic() + patience_s
        while True:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                mode = self._connection.execute("PRAGMA journal_mode=DELETE").fetchone()
                if mode == ("delete",):
                    return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            if time.monotonic() > deadline:
                return

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> RunDb:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK; within another one, a savepoint of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._is_inner = connection.in_transaction

    def __enter__(self) -> sqlite3.Connection:
        self.connection.execute("SAVEPOINT inner_" if self._is_inner else "BEGIN IMMEDIATE")
        return self.connection

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            try:
                self.connection.execute("RELEASE inner_" if self._is_inner else "COMMIT")
                return
            except sqlite3.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        if not self.connection.in_transaction:  # SQLite did, the outer one as well
            return
        if self._is_inner:
            self.connection.execute("ROLLBACK TO inner_")
            self.connection.execute("RELEASE inner_")
        else:
            self.connection.execute("ROLLBACK")
