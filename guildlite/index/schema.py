"""Tables of the index. It is disposable: another layout is another number, and nothing migrates.

An index holds one row a run, and its flags, attributes and summaries as (run, key, value) with
covering indexes, so that every flag and every metric filters and sorts without anyone choosing
indexes (100,000 runs: tests/benchmarks/index.py). Points never leave run.db.
"""

from __future__ import annotations

import sqlite3
from typing import Any

#: Part of the file's place; raise it with any change to tables or to what is put into them.
FORMAT = 2

#: Length of the part of a stamp that is its hour, as in `20261120T17`.
HOUR = 11

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  name NOT NULL UNIQUE,
  stamp TEXT NOT NULL,
  status TEXT,
  sealed INTEGER NOT NULL,
  status_note TEXT,
  model TEXT NOT NULL,
  operation TEXT NOT NULL,
  created REAL,
  started REAL,
  stopped REAL,
  duration REAL,
  exit_code INTEGER,
  exit_signal INTEGER,
  marked INTEGER NOT NULL,
  label TEXT NOT NULL,
  words TEXT NOT NULL,
  error TEXT NOT NULL,
  project TEXT NOT NULL,
  uid TEXT NOT NULL,
  seen TEXT NOT NULL,
  note TEXT NOT NULL
);

-- Runs an hour, by the beginning of their stamp: the number of a run is found without counting
-- all that are newer.
CREATE TABLE tally (hour TEXT PRIMARY KEY, runs INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE "key" (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL);

CREATE TABLE val (
  run INTEGER NOT NULL, "key" INTEGER NOT NULL, value, text TEXT, PRIMARY KEY (run, "key")
) WITHOUT ROWID;

CREATE TABLE metric (
  run INTEGER NOT NULL, "key" INTEGER NOT NULL, "count" INTEGER NOT NULL,
  "first" REAL, "last" REAL, "min" REAL, "max" REAL, mean REAL,
  first_step INTEGER, last_step INTEGER, min_step INTEGER, max_step INTEGER,
  PRIMARY KEY (run, "key")
) WITHOUT ROWID;
"""

#: Made after a fill of the whole, which is twice as fast. What the machine did (keys below 0) is
#: most of all series and is not sorted by. With `words` the order alone answers for a bare word.
INDEXES = """
CREATE UNIQUE INDEX key_name ON "key" (kind, name);
CREATE INDEX run_order ON run (stamp, name, words);
CREATE INDEX run_open ON run (name) WHERE sealed = 0;
CREATE INDEX val_value ON val ("key", value, run);
CREATE INDEX metric_last ON metric ("key", "last", run) WHERE "key" > 0;
CREATE INDEX metric_min ON metric ("key", "min", run) WHERE "key" > 0;
CREATE INDEX metric_max ON metric ("key", "max", run) WHERE "key" > 0;
"""

#: States that are looked up anew by each connection, before each answer.
LIVE = """
CREATE TEMP TABLE IF NOT EXISTS live (
  run INTEGER PRIMARY KEY, status TEXT NOT NULL, status_note TEXT, started REAL, stopped REAL,
  duration REAL, exit_code INTEGER, exit_signal INTEGER
);
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database."""
    _run(connection, TABLES)


def create_indexes(connection: sqlite3.Connection) -> None:
    """Make the indexes, after the tables have been filled."""
    _run(connection, INDEXES)


def prepare(connection: sqlite3.Connection) -> None:
    """Give a connection what questions need beside the tables: `fold` and the table `live`."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -16000")
    connection.create_function("fold", 1, _fold, deterministic=True)
    _run(connection, LIVE)


def _fold(text: Any) -> Any:
    return text.casefold() if isinstance(text, str) else text


def _run(connection: sqlite3.Connection, script: str) -> None:
    # `executescript` would commit a transaction that is open.
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(statement)
