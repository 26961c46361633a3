"""A run at rest: its directory, its facts, its status, its run.db.

`RunStore` finds, makes, trashes and restores; `Run` answers what a directory says; `RunReader`
reads a run.db; `RunDb`, in `runs.db`, is its one writer.
"""

from __future__ import annotations

from guildlite.runs.paths import RunPaths
from guildlite.runs.reader import RunReader, StoredLine
from guildlite.runs.run import LaterOperation, Run, Status
from guildlite.runs.store import RunStore

__all__ = ["LaterOperation", "Run", "RunPaths", "RunReader", "RunStore", "Status", "StoredLine"]
