"""Finishing what a dead supervisor left: whoever comes later reads on, and seals.

Only for runs of this host whose processes are dead and whose lock is free, only for a bounded
time, and never raising: a run that cannot be finished is shown as it is.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable

from guildlite.errors import GuildliteError
from guildlite.platform import FileLock, is_network_file_system
from guildlite.runs.run import Run

#: What one command may spend on this, seconds.
BUDGET_S = 2.0


def settle(runs: Iterable[Run], budget_s: float = BUDGET_S) -> None:
    """Catch up runs that ended without a seal, within `budget_s` together."""
    deadline = time.monotonic() + budget_s
    for run in runs:
        if needs_settling(run) and time.monotonic() < deadline:
            catch_up(run, deadline)


def needs_settling(run: Run) -> bool:
    """Return whether nobody keeps run.db current and it is not complete; costs two stats."""
    if run.error is not None:
        return False
    unsealed = run.paths.heartbeat.exists() or not run.paths.db.exists()
    return unsealed and not run.busy()


def catch_up(run: Run, deadline: float) -> bool:
    """Read a run's files to their end and seal it; False when that was not possible in time."""
    lock = FileLock(run.paths.lock)
    try:
        if not os.access(run.paths.root, os.W_OK) or not lock.try_acquire():
            return False
    except OSError:
        return False
    try:
        with lock:
            return _catch_up(run, deadline)
    except (OSError, sqlite3.Error, GuildliteError):
        return False


def _catch_up(run: Run, deadline: float) -> bool:
    from guildlite.collect.follow import Follower
    from guildlite.execute.recorder import collect_columns, seal, start_record
    from guildlite.runs.db import RunDb

    def tell(notice: str) -> None:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with open(run.paths.errors, "a", encoding="utf-8", errors="replace") as file:
            file.write(f"{when} {notice}\n")

    with RunDb(run.paths.db, network=is_network_file_system(run.path)) as db:
        db.write_start(*start_record(run))
        columns = collect_columns(run)
        follower = Follower(run.paths, db, columns=columns, live=False, tell=tell)
        try:
            if not follower.poll(final=True, deadline=deadline):
                return False
        finally:
            follower.close()
        seal(run, db)
    return True
