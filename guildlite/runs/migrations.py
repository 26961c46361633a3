"""The named steps from an older run.db to this one.

`PRAGMA user_version` is the number of the schema, from 1. A new file is made from `schema.sql`,
which always is the newest; an older one is brought up by its next writer, each step in the
transaction that also counts it. Readers never change a file: they read every version from 1 to
`VERSION`, and say so when a file is newer than this program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from guildlite.errors import RunUnreadable

SCHEMA_SQL = Path(__file__).with_name("schema.sql")


def add_media(connection: sqlite3.Connection) -> None:
    """Schema 2: values that are no scalars, embeddings, hparams; where a session began anew."""
    connection.execute("ALTER TABLE segment ADD COLUMN ended INTEGER")
    for statement in _MEDIA_TABLES.split(";\n"):
        connection.execute(statement)


#: As schema 2 had them; `schema.py` may have moved on.
_MEDIA_TABLES = """\
CREATE TABLE media (
  key_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  step INTEGER NOT NULL,
  time INTEGER,
  segment INTEGER NOT NULL,
  source_id INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  length INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  nth INTEGER NOT NULL,
  PRIMARY KEY (key_id, seq)
)
 WITHOUT ROWID;

CREATE TABLE media_key (
  key_id INTEGER NOT NULL,
  plugin TEXT NOT NULL,
  display_name TEXT NOT NULL,
  description TEXT NOT NULL,
  content INTEGER,
  PRIMARY KEY (key_id)
);

CREATE TABLE blob (
  id INTEGER NOT NULL,
  digest TEXT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (digest)
);

CREATE TABLE file (
  id INTEGER NOT NULL,
  path TEXT NOT NULL,
  size INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (path)
);

CREATE TABLE embedding (
  key_id INTEGER NOT NULL,
  source_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  tensor INTEGER,
  metadata INTEGER,
  sprite INTEGER,
  bookmarks INTEGER,
  shape TEXT NOT NULL,
  sprite_size TEXT NOT NULL,
  PRIMARY KEY (key_id)
);

CREATE TABLE hparam_session (
  session TEXT NOT NULL,
  group_name TEXT,
  status TEXT,
  started INTEGER,
  ended INTEGER,
  PRIMARY KEY (session)
);

CREATE TABLE hparam (
  session TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  type TEXT NOT NULL,
  PRIMARY KEY (session, name)
);

CREATE TABLE hparam_experiment (
  directory TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  hparams TEXT NOT NULL,
  metrics TEXT NOT NULL,
  PRIMARY KEY (directory)
);
"""


#: The step that leads from schema 1 to 2, from 2 to 3 and so on. tests/golden/runs has a file of
#: every schema that was ever released.
STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (add_media,)
VERSION = 1 + len(STEPS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to `VERSION`. `connection` is in autocommit mode; sqlite3.Error passes."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    check_version(version)
    if version == 0:
        _apply(connection, _create_tables, VERSION)
        return
    for number, step in enumerate(STEPS[version - 1 :], start=version + 1):
        _apply(connection, step, number)


def _apply(
    connection: sqlite3.Connection, step: Callable[[sqlite3.Connection], None], number: int
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        step(connection)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _create_tables(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA_SQL.read_text(encoding="utf-8").split(";\n"):
        connection.execute(statement)


def check_version(version: int) -> None:
    """Raise RunUnreadable for a file that a newer guildlite made."""
    if version > VERSION:
        raise RunUnreadable(
            f"run.db has schema {version}, this guildlite knows up to {VERSION}",
            hint="pip install --upgrade guildlite",
        )
