"""The named steps from an older run.db to this one.

`PRAGMA user_version` holds how many have been applied. A new file is made from `schema.sql` and
has them all; an older one is brought up by its next writer, each step in the transaction that
also counts it. Readers never change a file: they read every version from 1 to `VERSION`, and say
so when a file is newer than this program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from guildlite.errors import RunUnreadable

SCHEMA_SQL = Path(__file__).with_name("schema.sql")


def first_tables(connection: sqlite3.Connection) -> None:
    """The tables of release 0.1, as in tests/golden/run-1.db."""
    for statement in SCHEMA_SQL.read_text(encoding="utf-8").split(";\n"):
        connection.execute(statement)


STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (first_tables,)
VERSION = len(STEPS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to `VERSION`. `connection` is in autocommit mode; sqlite3.Error passes."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    check_version(version)
    for number, step in enumerate(STEPS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            step(connection)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def check_version(version: int) -> None:
    """Raise RunUnreadable for a file that a newer guildlite made."""
    if version > VERSION:
        raise RunUnreadable(
            f"run.db has schema {version}, this guildlite knows up to {VERSION}",
            hint="pip install --upgrade guildlite",
        )
