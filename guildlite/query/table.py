"""Which runs, in which order, by columns: what `ask.find_runs` answers without an object a cell."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from guildlite.index import Index
from guildlite.index.table import Table, read_table
from guildlite.query.ask import Question
from guildlite.query.fields import Vocabulary


class FoundTable(NamedTuple):
    """The answer to a question by columns; `positions` and `notices` as in `Found`."""

    positions: Sequence[int]
    table: Table
    notices: list[str]

    def part(self, rows: slice) -> FoundTable:
        """Return some of the runs."""
        return FoundTable(self.positions[rows], self.table.part(rows), self.notices)


def find_table(
    index: Index,
    filter: str = "",
    *,
    sort: str = "",
    limit: int | None = None,
    known: Vocabulary | None = None,
) -> FoundTable:
    """Return the runs that `find_runs` finds. Raises FilterError."""

    def ask(connection: sqlite3.Connection) -> FoundTable:
        numbers, positions, notices = Question(connection, known, None).numbers(filter, sort, limit)
        return FoundTable(positions, read_table(connection, numbers), notices)

    return index.ask(ask)
