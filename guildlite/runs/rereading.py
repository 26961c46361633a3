"""Forgetting what some sources gave, so that they can be read anew. SQL alone, for `RunDb`.

A series is forgotten whole, since the numbers of its points, its summary and its buckets are of all
of them. What other sources gave of it waits in temporary tables and is written again, first.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Collection, Generator, Iterator, Sequence
from itertools import groupby, islice

from guildlite.series import MIN_STEP, Cursor, Item, Items, Point, Reading

#: Rows written again at once.
_BATCH = 20_000
#: Kinds of source whose rows may have been given the moment they were seen.
_SEEN = "('csv', 'jsonl')"


def forget(
    connection: sqlite3.Connection, sources: Collection[int]
) -> Generator[list[Reading], None, None]:
    """Delete what `sources` gave; return what is to be written again of what others gave.

    In the caller's transaction. The readings come lazily.
    """
    _make_tables(connection, sources)
    _set_aside(connection)
    for table in ("series", "segment", "bucket", "media", "media_key", "embedding"):
        connection.execute(f"DELETE FROM {table} WHERE key_id IN (SELECT id FROM temp.reread_key)")
    connection.execute("DELETE FROM series_key WHERE id IN (SELECT id FROM temp.reread_key)")
    _forget_hparams(connection)
    connection.execute("DELETE FROM source WHERE id IN (SELECT id FROM temp.reread_source)")
    return _kept(connection)


def _make_tables(connection: sqlite3.Connection, sources: Collection[int]) -> None:
    execute = connection.execute
    clean_up(connection)
    execute("CREATE TEMP TABLE reread_source (id INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO temp.reread_source VALUES (?)", [(n,) for n in sources])
    execute(
        "CREATE TEMP TABLE reread_key AS"
        " SELECT key_id AS id FROM segment WHERE source_id IN (SELECT id FROM temp.reread_source)"
        " UNION SELECT key_id FROM embedding WHERE source_id IN (SELECT id FROM temp.reread_source)"
    )


def _set_aside(connection: sqlite3.Connection) -> None:
    """Copy what other sources gave, and the moments at which rows of tables were seen."""
    execute = connection.execute
    of_others = (
        "FROM series_key JOIN {table} ON {table}.key_id = series_key.id"
        " JOIN segment ON segment.key_id = {table}.key_id AND segment.segment = {table}.segment"
        " LEFT JOIN media_key ON media_key.key_id = series_key.id"
        " LEFT JOIN blob ON blob.id = content"
        " WHERE series_key.id IN (SELECT id FROM temp.reread_key) AND (segment.source_id IS NULL"
        " OR segment.source_id NOT IN (SELECT id FROM temp.reread_source))"
        " ORDER BY segment.source_id, series_key.id, seq"
    )
    execute(
        "CREATE TEMP TABLE kept_point AS SELECT key, segment.source_id AS source_id,"
        f" series.segment AS segment, step, time, value {of_others.format(table='series')}"
    )
    execute(
        "CREATE TEMP TABLE kept_item AS SELECT key, series_key.kind AS kind, plugin,"
        " segment.source_id AS source_id, media.segment AS segment, step, time, offset, length,"
        f" checksum, nth {of_others.format(table='media')}"
    )
    execute(
        "CREATE TEMP TABLE seen_time AS SELECT key, seq, step, value, time FROM series_key"
        " JOIN series ON series.key_id = series_key.id WHERE time IS NOT NULL AND key_id IN"
        f" (SELECT key_id FROM segment JOIN source ON source.id = source_id WHERE kind IN {_SEEN})"
        " AND key_id IN (SELECT id FROM temp.reread_key)"
    )


def _forget_hparams(connection: sqlite3.Connection) -> None:
    """Delete what hparams said in directories all of whose sources are read anew."""
    rows = connection.execute(
        "SELECT path, id IN (SELECT id FROM temp.reread_source) FROM source WHERE kind = 'tfevents'"
    ).fetchall()
    stays = {path.rpartition("/")[0] for path, is_reread in rows if not is_reread}
    gone = [(name,) for name in {path.rpartition("/")[0] for path, _ in rows} - stays]
    for table, column in (
        ("hparam_session", "session"), ("hparam", "session"), ("hparam_experiment", "directory")
    ):  # fmt: skip
        connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", gone)


# Writing again -------------------------------------------------------------------------------


def _kept(connection: sqlite3.Connection) -> Generator[list[Reading], None, None]:
    """Yield what other sources gave, segment by segment."""
    cursors = {
        number: Cursor(path, kind, digest, offset, json.loads(state or "{}"), error)
        for number, path, kind, digest, offset, state, error in connection.execute(
            'SELECT id, path, kind, digest, "offset", state, error FROM source'
        )
    }
    points = connection.execute("SELECT * FROM temp.kept_point ORDER BY rowid")
    for (key, source, _), rows in groupby(points, lambda row: row[:3]):
        for is_first, batch in _batches(rows):
            found = [
                Point(step, at, math.nan if value is None else value)
                for *_, step, at, value in batch
            ]
            restart = MIN_STEP if is_first else None
            yield [Reading(cursors.get(source), {key: found}, restart=restart)]
    items = connection.execute("SELECT * FROM temp.kept_item ORDER BY rowid")
    for (key, kind, plugin, source, _), rows in groupby(items, lambda row: row[:5]):
        for is_first, batch in _batches(rows):
            media = Items(key, kind, plugin or "", [Item(*row[5:]) for row in batch])
            restart = MIN_STEP if is_first else None
            yield [Reading(cursors.get(source), media=[media], restart=restart)]


def _batches(rows: Iterator[Sequence[object]]) -> Iterator[tuple[bool, list[tuple]]]:  # type: ignore[type-arg]
    """Yield some rows at a time, and whether they are the first."""
    is_first = True
    while batch := [tuple(row) for row in islice(rows, _BATCH)]:
        yield is_first, batch
        is_first = False


# Moments -------------------------------------------------------------------------------------


def restore_times(connection: sqlite3.Connection) -> None:
    """Put back the moments at which rows of tables were seen, where their files tell none."""
    execute = connection.execute
    execute("CREATE INDEX temp.seen_time_key ON seen_time (key, seq)")
    execute(
        "CREATE TEMP TABLE timed AS SELECT key_id, series.seq AS seq, seen.time AS time"
        " FROM temp.seen_time AS seen JOIN series_key ON series_key.key = seen.key"
        " JOIN series ON series.key_id = series_key.id AND series.seq = seen.seq"
        " WHERE series.time IS NULL AND series.step = seen.step AND series.value IS seen.value"
    )
    connection.executemany(
        "UPDATE series SET time = ? WHERE key_id = ? AND seq = ?",
        execute("SELECT time, key_id, seq FROM temp.timed").fetchall(),
    )
    execute(
        "UPDATE bucket SET"
        " first_time = (SELECT time FROM series WHERE series.key_id = bucket.key_id"
        "   AND seq = bucket * 1024),"
        " last_time = (SELECT time FROM series WHERE series.key_id = bucket.key_id"
        "   AND seq = bucket * 1024 + bucket.count - 1)"
        " WHERE key_id IN (SELECT key_id FROM temp.timed)"
    )
    for column, order in (("first_time", ""), ("last_time", " DESC")):
        execute(
            f"UPDATE series_key SET {column} = (SELECT time FROM series"
            f"   WHERE key_id = series_key.id AND time IS NOT NULL ORDER BY seq{order} LIMIT 1)"
            " WHERE id IN (SELECT key_id FROM temp.timed)"
        )


def clean_up(connection: sqlite3.Connection) -> None:
    """Drop the temporary tables."""
    for table in ("reread_source", "reread_key", "kept_point", "kept_item", "seen_time", "timed"):
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
