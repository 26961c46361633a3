"""Questions to many runs: the filter language, sorting, comparison, SQL.

`find_runs` answers from an `index.Index` and needs nothing but sqlite3. Beside it, imported by
whoever needs them: `complete` (what can follow in a filter), `table` (many runs by columns),
`compare` (columns, groups, noise), `views` (SQL).
"""

from __future__ import annotations

from guildlite.query.ask import Found, FoundRun, find_runs, read_values, read_vocabulary
from guildlite.query.fields import Vocabulary
from guildlite.query.nodes import Field

__all__ = [
    "Field",
    "Found",
    "FoundRun",
    "Vocabulary",
    "find_runs",
    "read_values",
    "read_vocabulary",
]
