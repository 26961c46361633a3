"""A run at rest: what its directory says, and a status derived from evidence each time.

Nothing here is cached beyond one `Run` object, and nothing but label, note and mark is written.
Any file may be missing or damaged: then `error` says so and the rest still answers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.platform import ProcessIdentity, signal_name
from guildlite.runs.changes import note_change
from guildlite.runs.facts import read_fact, read_text, write_text
from guildlite.runs.paths import SOURCES_DIR, OperationPaths, RunPaths
from guildlite.runs.reader import RunReader

#: The heartbeat is touched every 10 s; three missed ones and the run counts as unseen.
UNSEEN_AFTER_S = 30
#: What making a run may take before its manifest is written: the source snapshot, on a slow disk.
MAKING_S = 60
#: How long after its manifest was written a run without a launcher may still come to life.
STARTING_S = 5.0
#: The end of the year 9999, where the calendars of Python end.
_LAST_SECOND = 253_402_300_800


class Status(str, Enum):
    """What a run is doing. Never stored while it can still change."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"

    def __str__(self) -> str:
        return self.value

    @property
    def ended(self) -> bool:
        """Return whether nothing more will happen."""
        return self not in (Status.PENDING, Status.RUNNING)


class State(NamedTuple):
    """A status and, where it needs one, a word of explanation."""

    status: Status
    note: str | None = None


class OperationRecord:
    """What the meta directory of one operation says: the run's own, or a later one's."""

    def __init__(self, paths: OperationPaths, run_dir: Path, heartbeat: Path) -> None:
        self.paths: OperationPaths = paths
        self._run_dir, self._heartbeat = run_dir, heartbeat
        # Facts are written once: what was found stays true.
        self._manifest: dict[str, object] | None = None
        self._started: dict[str, object] | None = None
        self._exit: dict[str, object] | None = None
        self._state: State | None = None

    @property
    def manifest(self) -> Mapping[str, object]:
        """What was asked: operation, command, flags and so on; empty when it cannot be read."""
        if not self._manifest:
            self._manifest = read_fact(self.paths.manifest)
        return self._manifest or {}

    def started_fact(self) -> dict[str, object] | None:
        """Return started.json, written by the waiter."""
        if self._started is None:
            self._started = read_fact(self.paths.started)
        return self._started

    def exit_fact(self) -> dict[str, object] | None:
        """Return exit.json, written by the waiter, or by the supervisor if the waiter died."""
        if self._exit is None:
            self._exit = read_fact(self.paths.exit)
        return self._exit

    @property
    def imported(self) -> bool:
        """Whether another program ran it: processes named in started.json only follow its files."""
        return bool((self.started_fact() or {}).get("imported"))

    def _text(self, name: str) -> str:
        value = self.manifest.get(name)
        return value if isinstance(value, str) else ""

    @property
    def operation(self) -> str:
        """The operation's name, as in `train`."""
        return self._text("operation")

    @property
    def model(self) -> str:
        return self._text("model")

    @property
    def command(self) -> list[str]:
        """The exact words that were executed; secret values are a mark."""
        return [str(word) for word in _list(self.manifest.get("command"))]

    @property
    def flags(self) -> dict[str, str]:
        """Flags as the project wrote them, in project order; secret values are a mark."""
        return {name: str(value) for name, value in _mapping(self.manifest.get("flags")).items()}

    @property
    def state(self) -> State:
        """The status now, derived from facts and living processes; once derived it is kept."""
        if self._state is None:
            self._state = derive_state(self, self._run_dir, self._heartbeat)
        return self._state

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def status_note(self) -> str | None:
        return self.state.note

    @property
    def created_at(self) -> float | None:
        """When the operation was asked for, seconds since the epoch."""
        return _seconds(self.manifest.get("created"))

    @property
    def started_at(self) -> float | None:
        """When the script started, seconds since the epoch; None when nobody saw it start."""
        return _seconds((self.started_fact() or {}).get("time"))

    @property
    def stopped_at(self) -> float | None:
        """When the script ended, seconds since the epoch; None when nobody saw it end."""
        return _seconds((self.exit_fact() or {}).get("time"))

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end by a clock that never jumps; so far, while it runs."""
        fact = self.exit_fact()
        if fact is not None:
            return _seconds(fact.get("duration_s"))
        started = self.started_at
        if started is None or self.status.ended:
            return None
        return max(0.0, time.time() - started)

    @property
    def exit_code(self) -> int | None:
        """The script's exit status, None while it runs, when it died of a signal or was lost."""
        return _int((self.exit_fact() or {}).get("code"))

    @property
    def exit_signal(self) -> int | None:
        """The signal the script died of, if it did."""
        return _int((self.exit_fact() or {}).get("signal"))

    @property
    def ending(self) -> str:
        """How the script ended, in words: `exit status 1`, `died of SIGKILL`; "" where unknown."""
        if self.exit_signal:
            return f"died of {signal_name(self.exit_signal)}"
        if self.exit_code is None:
            return ""
        why = (self.exit_fact() or {}).get("error")
        return f"exit status {self.exit_code}" + (f": {why}" if isinstance(why, str) else "")

    def fresh(self) -> OperationRecord:
        """Return this record with nothing remembered: what its files say now."""
        return type(self)(self.paths, self._run_dir, self._heartbeat)


class LaterOperation(OperationRecord):
    """A later operation on a run, such as an evaluation."""

    @property
    def name(self) -> str:
        """The folder's name, as in `2-evaluate`."""
        return self.paths.name


class Run(OperationRecord):
    """One run, by its directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.paths: RunPaths
        paths = RunPaths(path)
        super().__init__(paths, path, paths.heartbeat)

    @classmethod
    def with_facts(
        cls,
        path: Path,
        manifest: dict[str, object],
        started: dict[str, object] | None,
        exited: dict[str, object] | None,
    ) -> Run:
        """Return a run whose facts somebody has just read."""
        run = cls(path)
        run._manifest, run._started, run._exit = manifest, started, exited
        return run

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def fresh(self) -> Run:
        """Return this run with nothing remembered: what its files say now."""
        return Run(self.path)

    @property
    def id(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def uid(self) -> str:
        """The random name that stays when the directory is renamed or copied."""
        return self._text("uid")

    @property
    def project(self) -> str:
        return self._text("project")

    @property
    def error(self) -> str | None:
        """Why this run cannot be read, or None."""
        if self.manifest or _is_being_made(self.paths):
            return None
        # It may have been made between the two looks.
        return None if self.manifest else _why_unreadable(self.paths)

    @property
    def label(self) -> str:
        return (read_text(self.paths.label) or "").strip()

    @property
    def note(self) -> str:
        return read_text(self.paths.note) or ""

    @property
    def marked(self) -> bool:
        return self.paths.mark.exists()

    def set_label(self, text: str) -> None:
        """Replace the label, one line; an empty text removes it. Raises OSError."""
        write_text(self.paths.label, " ".join(text.split()))
        note_change(self.path)

    def set_note(self, text: str) -> None:
        """Replace the note; an empty text removes it. Raises OSError."""
        write_text(self.paths.note, text.strip())
        note_change(self.path)

    def set_mark(self, marked: bool) -> None:
        """Set or clear the star. Raises OSError."""
        write_text(self.paths.mark, "*" if marked else "")
        note_change(self.path)

    def later_operations(self) -> list[LaterOperation]:
        """Return the later operations in the order they were started."""
        return [
            LaterOperation(paths, self.path, self.paths.heartbeat)
            for paths in self.paths.operations()
        ]

    def busy(self) -> bool:
        """Return whether the run's own or a later operation has not ended."""
        return any(not one.status.ended for one in (self, *self.later_operations()))

    def read(self) -> RunReader:
        """Open run.db for reading; a context manager. Raises RunUnreadable."""
        try:
            return RunReader(self.paths.db)
        except RunUnreadable:
            raise
        except OSError as error:
            raise RunUnreadable(f"{self.paths.db} cannot be read: {error.strerror}") from error


def derive_state(record: OperationRecord, run_dir: Path, heartbeat: Path) -> State:
    """Return the status of an operation from its facts and from what lives now.

    exit.json decides first. Without it and without a living process of ours: `stopped` if a stop
    was asked for, else `lost`. A run of another host or PID namespace cannot be asked: then the
    heartbeat speaks, and the answer may change back.
    """
    fact = record.exit_fact()
    if fact is not None:
        if fact.get("stopped"):
            return State(Status.STOPPED)
        return State(Status.COMPLETED if fact.get("code") == 0 else Status.FAILED)
    started = record.started_fact()
    if started is None:
        return _not_started(record)
    processes = [
        process
        for name in ("training", "waiter", "supervisor")
        if (process := ProcessIdentity.from_json(started.get(name))) is not None
    ]
    if _is_copy(started, run_dir):
        return State(_ended_unseen(record), "a copy made while it ran")
    if any(not process.reachable() for process in processes):
        return _unreachable(heartbeat, processes[0].host)
    if any(process.alive() for process in processes):
        return State(Status.RUNNING)
    # It may have ended between the two looks.
    if record.exit_fact() is not None:
        return derive_state(record, run_dir, heartbeat)
    return State(_ended_unseen(record))


def _not_started(record: OperationRecord) -> State:
    if not record.manifest and _is_being_made(record.paths):
        return State(Status.PENDING)
    launcher = ProcessIdentity.from_json(record.manifest.get("launcher"))
    if launcher is not None and not launcher.reachable():
        return State(Status.PENDING, f"on {launcher.host}")
    if launcher is not None and launcher.alive():
        return State(Status.PENDING)
    if record.started_fact() is not None or record.exit_fact() is not None:
        return State(Status.RUNNING)  # it started between the two looks
    starting = launcher is not None and _is_younger(record.paths.manifest, STARTING_S)
    if starting and not record.paths.stop.exists():
        return State(Status.PENDING)  # a supervisor that outlived it may be starting the script
    return State(_ended_unseen(record))


def _is_younger(path: Path, age_s: float) -> bool:
    try:
        return abs(time.time() - os.stat(path).st_mtime) < age_s
    except OSError:
        return False


def _ended_unseen(record: OperationRecord) -> Status:
    return Status.STOPPED if record.paths.stop.exists() else Status.LOST


def _is_copy(started: Mapping[str, object], run_dir: Path) -> bool:
    """Return whether this directory is a copy of the one the processes write to."""
    where = started.get("directory")
    host = ProcessIdentity.from_json(started.get("training"))
    if host is None or not host.reachable() or not isinstance(where, Sequence):
        return False
    try:
        stat = os.stat(run_dir)
    except OSError:
        return False
    return [stat.st_dev, stat.st_ino] != list(where)


def _unreachable(heartbeat: Path, host: str) -> State:
    try:
        seen = os.stat(heartbeat).st_mtime
    except OSError:
        return State(Status.RUNNING, f"on {host}, never seen")
    if time.time() - seen <= UNSEEN_AFTER_S:
        return State(Status.RUNNING, f"on {host}")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seen))
    return State(Status.RUNNING, f"on {host}, unseen since {when}")


def _is_being_made(paths: OperationPaths) -> bool:
    """Return whether this is an operation without a manifest yet: its sources are being copied."""
    try:
        age_s = time.time() - os.stat(paths.root).st_mtime
        there = set(os.listdir(paths.root))
    except OSError:
        return False
    fresh = paths.meta.name in there and there <= {paths.meta.name, SOURCES_DIR}
    return fresh and abs(age_s) < MAKING_S and not os.path.lexists(paths.manifest)


def _why_unreadable(paths: RunPaths) -> str:
    """Return why a run has no manifest, as far as the disk tells."""
    for path in (paths.root, paths.manifest):
        try:
            os.stat(path)
        except FileNotFoundError:
            return f"{path.relative_to(paths.run_dir)} is missing"
        except OSError as error:
            return f"{path.relative_to(paths.run_dir)} cannot be read: {error.strerror}"
    name = paths.manifest.relative_to(paths.run_dir)
    if not paths.manifest.is_file() or paths.manifest.is_symlink():
        return f"{name} is not a plain file"
    if not os.access(paths.manifest, os.R_OK):
        return f"{name} cannot be read: Permission denied"
    return f"{name} is damaged"


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Beyond the year 9999, and for NaN, no clock or calendar function answers.
    return float(value) if -_LAST_SECOND < value < _LAST_SECOND else None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
