"""Finishing what a dead supervisor left: whoever comes later reads on, and seals.

Only for runs of this host whose processes are dead and whose lock is free, only for a bounded
time, and never raising: a run that cannot be finished is shown as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from guildlite.platform import FileLock, ProcessIdentity, is_network_file_system
from guildlite.runs.paths import RunPaths
from guildlite.runs.run import OperationRecord, Run

#: What one command may spend on this, seconds.
BUDGET_S = 2.0


def settle(runs: Iterable[Run], budget_s: float = BUDGET_S) -> None:
    """Catch up runs that ended without a seal, within `budget_s` together."""
    deadline = time.monotonic() + budget_s
    for run in runs:
        if needs_settling(run) and time.monotonic() < deadline:
            catch_up(run, deadline)


def needs_settling(run: Run) -> bool:
    """Return whether run.db is not complete and nobody but us can complete it; costs six stats."""
    if run.error is not None or not _unsealed(run.paths):
        return False
    operations = (run, *run.later_operations())
    return all(one.status.ended and _of_this_machine(one) for one in operations)


def _unsealed(paths: RunPaths) -> bool:
    if paths.heartbeat.exists():
        return True
    try:
        sealed_at = os.stat(paths.db).st_mtime_ns
    except OSError:
        return True
    # A daemon of the script may print after the end, a later operation be killed before it could
    # say that it is there.
    return _last_written(paths) > sealed_at


def _last_written(paths: RunPaths) -> int:
    """Return when any operation's logs were last written, in ns since the epoch."""
    operations = (paths, *paths.operations())
    return max(
        _modified(log) for one in operations for log in (one.stdout, one.stderr, one.samples)
    )


def _modified(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _of_this_machine(record: OperationRecord) -> bool:
    """Return whether the operation ran where our lock holds: on other hosts locks may not."""
    started = record.started_fact() or {}
    whose = started.get("supervisor") or started.get("training") or record.manifest.get("launcher")
    process = ProcessIdentity.from_json(whose)
    return process is None or process.same_machine()


def catch_up(run: Run, deadline: float) -> bool:
    """Read a run's files to their end and seal it; False when that was not possible in time."""
    lock = FileLock(run.paths.lock)
    if not os.access(run.paths.root, os.W_OK) or not lock.try_acquire():
        return False
    try:
        with lock:
            return _catch_up(run, deadline)
    except Exception:
        # One run that cannot be finished must not keep a command from showing the others.
        return False


def _catch_up(run: Run, deadline: float) -> bool:
    from guildlite.collect.follow import Follower
    from guildlite.execute.sealing import collect_columns, seal, start_record
    from guildlite.runs.db import RunDb
    from guildlite.runs.logs import append_notice

    def tell(notice: str) -> None:
        append_notice(run.paths, notice)

    written_at = _last_written(run.paths)
    with RunDb(run.paths.db, network=is_network_file_system(run.path)) as db:
        db.write_start(*start_record(run))
        columns = collect_columns(run)
        follower = Follower(run.paths, db, columns=columns, live=False, tell=tell)
        try:
            if not follower.poll(final=True, deadline=deadline):
                return False
        finally:
            follower.close()
        # An open `sqlite3` shell must not make every `gl runs` wait.
        seal(run, db, patience_s=0.2)
    if _modified(run.paths.db) < written_at:
        # The clock was set back since; without this every command would look again.
        os.utime(run.paths.db, ns=(written_at, written_at))
    return True
