"""Rows of what is no scalar: media by reference, hparams, embeddings. SQL alone, for `RunDb`.

Everything here runs inside the caller's transaction. Keys, segments and summaries are his.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import count, repeat

from guildlite.runs.storable import moment, storable
from guildlite.series import (
    EmbeddingSeen,
    Experiment,
    FileSeen,
    Item,
    SeriesMetadata,
    Session,
)

#: A plugin's own bytes beyond this are not kept twice: the value that states them holds them.
MOST_CONTENT_BYTES = 1 << 20


def insert_items(
    connection: sqlite3.Connection,
    key_id: int,
    seq: int,
    source: int,
    items: Sequence[Item],
    segments: Iterable[int],
) -> None:
    """Insert values of one series, numbered from `seq`."""
    columns = (list(column) for column in zip(*items, strict=True))
    steps, times, offsets, lengths, checksums, nths = columns
    connection.executemany(
        "INSERT INTO media VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        zip(
            repeat(key_id), count(seq), steps, map(moment, times), segments, repeat(source),
            offsets, lengths, checksums, nths,
        ),
    )  # fmt: skip


def put_metadata(
    connection: sqlite3.Connection, key_id: int, plugin: str, metadata: SeriesMetadata
) -> None:
    """Keep what a series states, unless it has stated it before."""
    display_name, description, content = metadata
    connection.execute(
        "INSERT INTO media_key VALUES (?, ?, ?, ?, ?) ON CONFLICT (key_id) DO UPDATE SET"
        " plugin = CASE plugin WHEN '' THEN excluded.plugin ELSE plugin END,"
        " display_name = CASE display_name WHEN '' THEN excluded.display_name"
        " ELSE display_name END,"
        " description = CASE description WHEN '' THEN excluded.description ELSE description END,"
        " content = coalesce(content, excluded.content)",
        (
            key_id, storable(plugin), storable(display_name), storable(description),
            _put_blob(connection, content),
        ),
    )  # fmt: skip


def _put_blob(connection: sqlite3.Connection, data: bytes) -> int | None:
    if not data or len(data) > MOST_CONTENT_BYTES:
        return None
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    connection.execute("INSERT OR IGNORE INTO blob (digest, data) VALUES (?, ?)", (digest, data))
    found = connection.execute("SELECT id FROM blob WHERE digest = ?", (digest,)).fetchone()
    return int(found[0])


def put_session(connection: sqlite3.Connection, session: Session) -> None:
    """Add what is newly said of a session; values said again replace those of before."""
    name = storable(session.session)
    connection.execute(
        "INSERT INTO hparam_session VALUES (?, ?, ?, ?, ?) ON CONFLICT (session) DO UPDATE SET"
        " group_name = coalesce(excluded.group_name, group_name),"
        " status = coalesce(excluded.status, status),"
        " started = coalesce(excluded.started, started),"
        " ended = coalesce(excluded.ended, ended)",
        (
            name, None if session.group is None else storable(session.group), session.status,
            moment(session.started), moment(session.ended),
        ),
    )  # fmt: skip
    if session.values is not None:
        connection.execute("DELETE FROM hparam WHERE session = ?", (name,))
        connection.executemany(
            "INSERT OR REPLACE INTO hparam VALUES (?, ?, ?, ?)",
            [
                (name, storable(hparam), storable(text), kind)
                for hparam, (text, kind) in session.values.items()
            ],
        )


def put_experiment(connection: sqlite3.Connection, experiment: Experiment) -> None:
    """Keep what an experiment states, instead of what it stated before."""
    directory, name, description, hparams, metrics = experiment
    connection.execute(
        "INSERT OR REPLACE INTO hparam_experiment VALUES (?, ?, ?, ?, ?)",
        (
            storable(directory), storable(name), storable(description),
            json.dumps(hparams), json.dumps(metrics),
        ),
    )  # fmt: skip


def put_embedding(
    connection: sqlite3.Connection, key_id: int, source: int, seen: EmbeddingSeen
) -> None:
    """Keep what an embedding consists of, instead of what it consisted of before."""
    files = [
        _put_file(connection, each)
        for each in (seen.tensor, seen.metadata, seen.sprite, seen.bookmarks)
    ]
    connection.execute(
        "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key_id, source, storable(seen.name), *files,
            json.dumps(seen.shape), json.dumps(seen.sprite_size),
        ),
    )  # fmt: skip


def _put_file(connection: sqlite3.Connection, file: FileSeen | None) -> int | None:
    if file is None:
        return None
    path = storable(file.path)
    connection.execute(
        "INSERT INTO file (path, size, modified) VALUES (?, ?, ?) ON CONFLICT (path) DO UPDATE SET"
        " size = excluded.size, modified = excluded.modified",
        (path, file.size, file.modified),
    )
    return int(connection.execute("SELECT id FROM file WHERE path = ?", (path,)).fetchone()[0])


def delete_key(connection: sqlite3.Connection, key_id: int) -> None:
    """Delete what is kept of a series beside its points and its row in `series_key`."""
    for table in ("media", "media_key", "embedding"):
        connection.execute(f"DELETE FROM {table} WHERE key_id = ?", (key_id,))
