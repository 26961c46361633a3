"""What a supervisor learns, on its way into run.db.

Two places for it: run.db while this process holds the run's lock, else the operation's spool,
which the holder reads. A full disk or a deleted directory stops recording with one line in
errors.log and is tried again; what files hold is not lost by it, since their cursors stand still.
"""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guildlite.collect.follow import Follower
from guildlite.collect.samples import SampleSpool
from guildlite.runs.changes import note_change
from guildlite.runs.db import RunDb
from guildlite.runs.run import OperationRecord, Run
from guildlite.series import Reading

if TYPE_CHECKING:
    from guildlite.collect.collector import Collector
    from guildlite.collect.sampler import Sampler
    from guildlite.execute.supervisor import Supervisor

RETRY_S = 5.0
#: How long an operation that ends last waits for a lock that somebody is about to let go.
LAST_LOCK_S = 5.0
#: Samples that wait for a disk or a lock; they cannot be read twice.
MOST_STAGED = 1000


class Recorder:
    """Collects for one supervisor. All methods are called on its main thread."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._record = supervisor.record
        self._db: RunDb | None = None
        self._follower: Follower | None = None
        self._spool = SampleSpool(self._record.paths_of_operation.samples)
        self._staged: list[Reading] = []
        self._sampler: Sampler | None = None
        self._facts = _Facts(self._record) if not self._record.paths_of_operation.name else None
        self._retry_at = 0.0
        self._last_fault = ""

    def tick(self) -> None:
        """One look at everything; trouble with disk or database is told and tried again."""
        self._start_sampler()
        if self._sampler is not None:
            self._staged += self._sampler.take()
        if self._facts is not None:
            self._staged += self._facts.take()
        if time.monotonic() < self._retry_at:
            return
        try:
            if self._open():
                self._write()
            elif self._staged and self._record.paths_of_operation.name:
                self._spool.append(self._staged)
                self._staged = []
        except Exception as error:
            self._fail(error)
        self._staged = self._staged[-MOST_STAGED:]

    def finish(self) -> None:
        """Take the last of everything and seal run.db, if it is ours."""
        if self._sampler is not None:
            self._sampler.stop()
        if self._facts is not None:
            self._facts.join()
        self._retry_at = 0.0
        self._wait_for_lock()
        self.tick()
        if self._db is None or self._follower is None:
            return
        try:
            if self._follower.poll(final=True):
                self._seal(self._db)
        except Exception as error:
            self._fail(error)

    def _wait_for_lock(self) -> None:
        """Wait for a lock held by nobody but an operation that is sealing, or a `gl runs`.

        Had its holder read the files for the last time already, our last lines would wait for the
        next command. While another operation goes on, its supervisor will read them.
        """
        supervisor, own = self._supervisor, self._record.paths_of_operation.name
        run = Run(supervisor.run_dir)
        others = [
            one
            for one in (run, *run.later_operations())
            if one.paths_of_operation.name != own and not one.status.ended
        ]
        if not others and not supervisor.try_lock() and supervisor.run_dir.exists():
            supervisor.lock.acquire(LAST_LOCK_S)

    def has_children(self) -> bool:
        """Return whether a helper program of ours (git) may be running."""
        return self._facts is not None and not self._facts.done()

    def _seal(self, db: RunDb) -> None:
        seal(Run(self._supervisor.run_dir), db)

    def _open(self) -> bool:
        if self._db is not None:
            return True
        if not self._supervisor.try_lock():
            return False
        supervisor = self._supervisor
        self._db = RunDb(supervisor.paths.db, network=supervisor.network)
        run = Run(supervisor.run_dir)
        self._db.write_start(*start_record(run))
        supervisor.paths.heartbeat.touch()
        columns = collect_columns(run)
        self._follower = Follower(
            supervisor.paths, self._db, columns=columns, live=True, tell=supervisor.tell
        )
        return True

    def _write(self) -> None:
        assert self._db is not None and self._follower is not None
        if self._staged:
            self._db.write(self._staged)
            for reading in self._staged:
                for notice in reading.notices:
                    self._supervisor.tell(notice)
            self._staged = []
        self._follower.poll()
        self._last_fault = ""

    def _fail(self, error: Exception) -> None:
        """Say what went wrong, once, and try again later with everything opened anew."""
        fault = f"recording is interrupted: {error}"
        if fault != self._last_fault:
            self._supervisor.tell(f"{fault}; the script goes on")
        self._last_fault = fault
        self._retry_at = time.monotonic() + RETRY_S
        follower, db = self._follower, self._db
        self._follower = self._db = None
        if follower is not None:
            follower.close()
        if db is not None:
            db.close()

    def _start_sampler(self) -> None:
        from guildlite.execute.supervisor import SAMPLING_AFTER_S

        age_s = time.monotonic() - self._supervisor.started
        if self._sampler is not None or age_s < SAMPLING_AFTER_S:
            return
        started = self._record.started_fact()
        if started is None:
            return
        from guildlite.collect.sampler import Sampler

        interval = self._record.manifest.get("interval")
        interval_s = float(interval) if isinstance(interval, (int, float)) else 5.0
        self._sampler = Sampler(lambda: _live_collectors(self._record, started), interval_s)
        self._sampler.start()


def _live_collectors(record: OperationRecord, started: Mapping[str, object]) -> Sequence[Collector]:
    from guildlite.collect.gpu import GpuCollector
    from guildlite.collect.system import SystemCollector

    training = started.get("training")
    pid = training.get("pid") if isinstance(training, dict) else None
    moment = started.get("time")
    started_ms = int((moment if isinstance(moment, (int, float)) else time.time()) * 1000)
    prefix = record.operation if record.paths_of_operation.name else ""
    return (
        SystemCollector(lambda: pid, started_ms, prefix),
        GpuCollector(lambda: pid, started_ms, prefix),
    )


# What run.db says of the run itself, live or caught up ---------------------------------------


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
    # in WAL mode, and whoever comes next seals it.
    if not _in_wal_mode(run.paths.db):
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


class _Facts:
    """What is looked up once, after the script started: git, packages, hardware."""

    def __init__(self, record: OperationRecord) -> None:
        self._record = record
        self._found: deque[Reading] = deque()
        self._thread = threading.Thread(target=self._run, name="facts", daemon=True)
        self._thread.start()

    def take(self) -> list[Reading]:
        readings = []
        while self._found:
            readings.append(self._found.popleft())
        return readings

    def done(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        from guildlite.execute.supervisor import FACTS_TIMEOUT_S

        self._thread.join(FACTS_TIMEOUT_S + 1)

    def _run(self) -> None:
        for look in (self._hardware, self._packages, self._git):
            try:
                self._found.append(look())
            except Exception as error:
                name = look.__name__.strip("_")
                text = f"{name} could not be recorded: {type(error).__name__}: {error}"
                self._found.append(Reading(notices=[text]))

    def _hardware(self) -> Reading:
        from guildlite.collect.facts import read_hardware

        return Reading(attrs=read_hardware())

    def _packages(self) -> Reading:
        from guildlite.collect.facts import list_packages

        directories = [Path(str(one)) for one in _texts(self._record.manifest.get("site_packages"))]
        packages = [f"{name}=={version}" for name, version in list_packages(directories)]
        return Reading(attrs={"packages": json.dumps(packages)} if packages else {})

    def _git(self) -> Reading:
        from guildlite.collect.facts import read_git
        from guildlite.execute.supervisor import FACTS_TIMEOUT_S

        directory = str(self._record.manifest.get("directory", ""))
        git = read_git(Path(directory), FACTS_TIMEOUT_S) if directory else None
        if git is None:
            return Reading()
        if git.diff:
            sources = self._record.paths_of_operation.root / "sources"
            sources.mkdir(exist_ok=True)
            (sources / "git.diff").write_bytes(git.diff)
        attrs = {
            "git.commit": git.commit,
            "git.branch": git.branch,
            "git.dirty": str(git.dirty).lower(),
            "git.remote": git.remote or "",
            "git.untracked": json.dumps(list(git.untracked)) if git.untracked else "",
        }
        kept = {name: value for name, value in attrs.items() if value}
        return Reading(attrs=kept, notices=list(git.notices))


def _texts(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
