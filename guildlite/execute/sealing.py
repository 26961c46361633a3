"""What run.db says of the run itself, live or caught up: its beginning and its end.

Both the supervisor and a command that comes after it write these, the same way.
"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from guildlite.runs.changes import note_change
from guildlite.runs.run import Run

if TYPE_CHECKING:
    from guildlite.runs.db import RunDb


def start_record(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """Return the attributes and flags that a run's run.db begins with."""
    manifest = run.manifest
    attrs = {
        "id": run.id,
        "uid": run.uid,
        "project": run.project,
        "model": run.model,
        "operation": run.operation,
        "command": str(manifest.get("run", "")),
        "argv": json.dumps(run.command),
        "command_line": shlex.join(run.command),
        "directory": str(manifest.get("directory", "")),
        "created": _iso(run.created_at),
        "guildlite": str(manifest.get("guildlite", "")),
        "source_digest": str(manifest.get("source_digest", "")),
        "environment": json.dumps(manifest.get("environment", {})),
    }
    return {name: value for name, value in attrs.items() if value}, run.flags


def seal(run: Run, db: RunDb, *, patience_s: float = 2.0) -> None:
    """Record the end of a run and turn its run.db into one plain file.

    A reader in the way is waited for `patience_s`.
    """
    code, died_of = run.exit_code, run.exit_signal
    attrs: dict[str, str | None] = {
        "started": _iso(run.started_at) or None,
        "stopped": _iso(run.stopped_at) or None,
        "duration": None if run.exit_fact() is None else str(run.duration_s),
        "exit_code": None if code is None else str(code),
        "exit_signal": None if died_of is None else str(died_of),
    }
    if run.exit_fact() is None:
        # Nobody saw the end; the last sign of life is the best there is.
        attrs["last_seen"] = _iso(_modified_at(run.paths.heartbeat)) or None
    db.seal(attrs, patience_s=patience_s)
    db.close()
    # The heartbeat says that run.db is not finished. While a reader holds the file open it stays
    # in WAL mode, or one that opened it meanwhile leaves a WAL file beside it: then whoever comes
    # next seals it.
    if not _in_wal_mode(run.paths.db) and not run.paths.wal.exists():
        run.paths.heartbeat.unlink(missing_ok=True)
    note_change(run.path)


def _in_wal_mode(path: Path) -> bool:
    """Return whether a database is in WAL mode: byte 18 of its header (sqlite.org/fileformat)."""
    with open(path, "rb") as file:
        return file.read(19)[18:] == b"\x02"


def _modified_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def collect_columns(run: Run) -> dict[str, list[str]]:
    """Return the project's `collect:` as the manifest recorded it."""
    collect = run.manifest.get("collect")
    if not isinstance(collect, dict):
        return {}
    return {
        str(name): [str(column) for column in columns]
        for name, columns in collect.items()
        if isinstance(columns, list)
    }


def _iso(moment: float | None) -> str:
    if moment is None:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
