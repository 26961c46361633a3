"""One run as the index knows it, read from its directory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.runs import Run, RunReader, Status
from guildlite.runs.paths import OWN_DIR

#: Attributes of run.db that every record has by its own names, or that are pages of text.
_NOT_ATTRIBUTES = frozenset(
    ["id", "uid", "project", "model", "operation", "created", "started", "stopped", "duration",
     "exit_code", "exit_signal", "packages", "environment", "argv"]
)  # fmt: skip
_MOST_CHARACTERS = 500
#: A file changed less than this ago may change again without its stamp showing it.
YOUNG_S = 2.0
#: A run that ended this long ago is left alone even where its heartbeat was never taken away.
SETTLED_S = 3600.0
_STAMP = re.compile(r"\d{8}T\d{6}Z")


class Reduced(NamedTuple):
    """What the index holds of a series: a part of its `series.Summary`."""

    count: int  # type: ignore[assignment]  # the tuple method of that name is not missed
    first: float | None
    last: float | None
    min: float | None
    max: float | None
    mean: float | None
    first_step: int | None
    last_step: int | None
    min_step: int | None
    max_step: int | None


class RunRecord(NamedTuple):
    """What can be asked of a run. Times are seconds since the epoch, None where nobody saw them.

    `status` is a word of `runs.Status`, or `unreadable`; `error` says why, `trouble` why run.db
    alone cannot be read. `started` falls back on `created`. `series` holds the scalars.
    """

    id: str
    uid: str
    project: str
    model: str
    operation: str
    status: str
    status_note: str | None
    created: float | None
    started: float | None
    stopped: float | None
    duration: float | None
    exit_code: int | None
    exit_signal: int | None
    label: str
    note: str
    marked: bool
    error: str
    flags: Mapping[str, str]
    attrs: Mapping[str, str]
    series: Mapping[str, Reduced]

    @property
    def stamp(self) -> str:
        """A text that sorts like `RunStore.list`: the time in the name, then the manifest's."""
        created = max(0.0, self.created or 0.0)
        match = _STAMP.match(self.id)
        head = match[0] if match else time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(created))
        return f"{head} {created:020.6f}"

    @property
    def words(self) -> str:
        """What bare words are looked for in."""
        return f"{self.id}\n{self.label}\n{self.model}".casefold()


class LiveState(NamedTuple):
    """What of a run that has not ended may be different at every look."""

    status: str
    status_note: str | None
    started: float | None
    stopped: float | None
    duration: float | None
    exit_code: int | None
    exit_signal: int | None


class Seen(NamedTuple):
    """Stamps of a run's files: when one of them changes the run is read again.

    Every commit changes run.db or its log, every fact and word the meta directory.
    """

    db_ns: int
    db_size: int
    wal_ns: int
    wal_size: int
    meta_ns: int

    def quiet_since(self) -> float:
        """Return when the last of them changed, seconds since the epoch."""
        return max(self.db_ns, self.wal_ns, self.meta_ns) / 1e9


def look(run_dir: str, *, live: bool = True) -> Seen:
    """Return the stamps of a run's files; zeros where there is none. `live` False skips the log.

    A run.db at rest has no log beside it, and of ten thousand runs nearly all are at rest.
    """
    own = f"{run_dir}/{OWN_DIR}"
    db_ns, db_size = _stamp(f"{own}/run.db")
    wal_ns, wal_size = _stamp(f"{own}/run.db-wal") if live else (0, 0)
    return Seen(db_ns, db_size, wal_ns, wal_size, _stamp(f"{own}/meta")[0])


def _stamp(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)
    except OSError:
        return 0, 0
    return facts.st_mtime_ns, facts.st_size


def read_live(run: Run) -> LiveState:
    """Return the state of a run now."""
    if run.error is not None:
        return LiveState("unreadable", None, None, None, None, None, None)
    state = run.state
    return LiveState(
        state.status.value,
        state.note,
        run.started_at,
        run.stopped_at,
        run.duration_s,
        run.exit_code,
        run.exit_signal,
    )


def read_record(run: Run) -> RunRecord:
    """Return everything the index holds of a run. Raises nothing: trouble is part of the record."""
    live = read_live(run)
    attrs: dict[str, str] = {}
    series: dict[str, Reduced] = {}
    error = run.error or ""
    if not error:
        try:
            with run.read() as reader:
                attrs, series = own_attributes(reader.attrs()), _scalars(reader)
        except RunUnreadable as trouble:
            # Of a run that is only starting there is none yet.
            error = trouble.message if live.status in ENDED else ""
    words = (run.label, run.note, run.marked)
    return make_record(run, live, words, error, attrs, series)


def make_record(
    run: Run,
    live: LiveState,
    words: tuple[str, str, bool],
    error: str,
    attrs: Mapping[str, str],
    series: Mapping[str, Reduced],
) -> RunRecord:
    """Return a record of what has been read; `words` are label, note and mark."""
    return RunRecord(
        id=run.id,
        uid=run.uid,
        project=run.project,
        model=run.model,
        operation=run.operation,
        status=live.status,
        status_note=live.status_note,
        created=run.created_at,
        started=live.started,
        stopped=live.stopped,
        duration=live.duration,
        exit_code=live.exit_code,
        exit_signal=live.exit_signal,
        label=words[0],
        note=words[1],
        marked=words[2],
        error=error,
        flags=run.flags,
        attrs=attrs,
        series=series,
    )


#: The statuses of runs with which nothing more will happen.
ENDED = frozenset(status.value for status in Status if status.ended)


def _scalars(reader: RunReader) -> dict[str, Reduced]:
    # The fields of a summary from its count on, as far as the index goes.
    return {
        each.key: Reduced(*each[2:12])
        for each in reader.summaries()
        if each.kind == "scalar" and _is_sound(each)
    }


def _is_sound(summary: Sequence[object]) -> bool:
    """Return whether a summary has the types it should: SQLite lets a stranger write others."""
    key, _, count, *rest = summary[:12]
    numbers = isinstance(count, int) and all(isinstance(n, (int, float, type(None))) for n in rest)
    return isinstance(key, str) and numbers


def is_settled(run: Run, seen: Seen, now: float) -> bool:
    """Return whether a run has ended and nobody is about to write to it.

    What changes later all the same (a label, an evaluation, a copy from elsewhere) changes `Seen`.
    """
    if run.error is not None or not run.status.ended:
        return False
    quiet_s = now - seen.quiet_since()
    if quiet_s < YOUNG_S:
        return False
    return quiet_s > SETTLED_S or not (run.paths.heartbeat.exists() or run.busy())


def run_at(root: str, name: str) -> Run:
    """Return the run in a directory of the runs root."""
    return Run(Path(root, name))


def own_attributes(attrs: Mapping[str, str | None]) -> dict[str, str]:
    """Return the attributes of a run.db that a record keeps: texts, whatever else lies there."""
    return {
        name: value
        for name, value in attrs.items()
        if isinstance(value, str)
        and isinstance(name, str)
        and name not in _NOT_ATTRIBUTES
        and 0 < len(value) <= _MOST_CHARACTERS
    }
