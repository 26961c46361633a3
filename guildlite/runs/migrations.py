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


#: The step that leads from schema 1 to 2, from 2 to 3 and so on. tests/golden/runs has a file of
#: every schema that was ever released.
STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = ()
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
