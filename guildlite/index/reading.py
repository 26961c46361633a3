"""Reading ten thousand runs in seconds: the same record as `record.read_record`, made cheaply.

What nearly every run is (ended, at rest, nothing later going on) takes two directory listings,
the facts that are there and one connection for all run.db files, to which each is attached in
turn: half the time of asking for everything by name. Whatever looks different in any way is read
by `read_record`.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from guildlite.index.record import (
    YOUNG_S,
    Reduced,
    RunRecord,
    Seen,
    is_settled,
    look,
    make_record,
    own_attributes,
    read_live,
    read_record,
    run_at,
)
from guildlite.runs import Run
from guildlite.runs.facts import read_fact, read_text
from guildlite.runs.migrations import VERSION

#: With the types that `read_record` asks for too: SQLite lets a stranger write others.
_SERIES = (
    'SELECT "key", "count", "first", "last", "min", "max", mean, first_step, last_step, min_step,'
    " max_step FROM r.series_key WHERE kind = 'scalar' AND typeof(\"key\") = 'text'"
    " AND typeof(\"count\") = 'integer' AND "
    + " AND ".join(f"typeof(\"{name}\") NOT IN ('text', 'blob')" for name in Reduced._fields[1:])
)
#: What reading the summaries of one run may take, and the steps of SQLite's machine between two
#: looks at the clock: ten thousand series take three times as many.
_LONGEST_S, _STEPS = 2.0, 100_000


class Examined(NamedTuple):
    """A record, the stamps its files had before it was read, and whether the run is done."""

    record: RunRecord
    seen: Seen
    settled: bool


class Examiner:
    """Reads runs of one root, one after the other; close it."""

    def __init__(self, root: str, now: float) -> None:
        self._root, self._now = root, now
        self._connection = sqlite3.connect(":memory:", uri=True, isolation_level=None)
        self._connection.execute("PRAGMA trusted_schema = OFF")
        # A table of somebody else's may be a view that never ends.
        self._connection.set_progress_handler(self._is_too_long, _STEPS)
        self._deadline = 0.0

    def _is_too_long(self) -> bool:
        return time.monotonic() > self._deadline

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Examiner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def examine(self, name: str) -> Examined:
        """Return what there is to know of a run. Raises nothing: trouble is part of the record."""
        seen = look(f"{self._root}/{name}")
        if self._now - seen.quiet_since() > YOUNG_S and seen.db_size:
            record = self._read_at_rest(name)
            if record is not None:
                return Examined(record, seen, True)
        run = run_at(self._root, name)
        record = read_record(run)
        return Examined(record, seen, is_settled(run, seen, self._now))

    def _read_at_rest(self, name: str) -> RunRecord | None:
        """Return the record of a run that has ended and at which nobody works, else None."""
        own = f"{self._root}/{name}/gl.d"
        try:
            files, facts = os.listdir(own), os.listdir(f"{own}/meta")
        except OSError:
            return None
        if not _BUSY_SIGNS.isdisjoint(files) or "exit.json" not in facts:
            return None
        run = _run_with_facts(self._root, name, facts)
        if run is None:
            return None
        words = tuple(
            read_text(f"{own}/meta/{word}") if word in facts else "" for word in ("label", "note")
        )
        found = self._read_db(f"{own}/run.db")
        if found is None or None in words:
            return None
        label, note = (word or "" for word in words)
        return make_record(run, read_live(run), (label.strip(), note, "mark" in facts), "", *found)

    def _read_db(self, path: str) -> tuple[dict[str, str], dict[str, Reduced]] | None:
        execute = self._connection.execute
        self._deadline = time.monotonic() + _LONGEST_S
        name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        try:
            # Nobody writes to it; if somebody begins to, its stamps change and it is read again.
            execute("ATTACH ? AS r", (f"file:{name}?immutable=1",))
        except (sqlite3.Error, UnicodeError):
            return None
        try:
            if execute("PRAGMA r.user_version").fetchone() != (VERSION,):
                return None
            attrs = dict(execute("SELECT name, value FROM r.attr").fetchall())
            rows = execute(_SERIES).fetchall()
            return own_attributes(attrs), {row[0]: Reduced(*row[1:]) for row in rows}
        except sqlite3.Error:
            return None
        finally:
            execute("DETACH r")


#: Names in `gl.d` of which one says that the run is not at rest.
_BUSY_SIGNS = frozenset(["heartbeat", "ops", "run.db-wal", "run.db-journal"])


def _run_with_facts(root: str, name: str, facts: list[str]) -> Run | None:
    meta = f"{root}/{name}/gl.d/meta"
    manifest, ended = read_fact(f"{meta}/manifest.json"), read_fact(f"{meta}/exit.json")
    if not manifest or ended is None:
        return None
    started = read_fact(f"{meta}/started.json") if "started.json" in facts else None
    return Run.with_facts(Path(root, name), manifest, started, ended)


# Many at once -------------------------------------------------------------------------------------

#: Below this many runs another process takes longer to begin than it saves.
_MANY = 1_000
_BATCH = 50
_MOST_PROCESSES = 4
#: How many parts a helper reads for each that this process reads.
_SHARE = 4
#: Room for several batches, so that a helper need not wait for its turn. Linux has it.
_PIPE_BYTES = 1024 * 1024
_F_SETPIPE_SZ = 1031


def examine_all(
    root: str, names: Sequence[str], now: float, progress: Callable[[int, int], None] | None = None
) -> Iterator[Examined]:
    """Yield what there is to know of runs, in the order of `names`.

    Thousands are read by several processes, as far as there are idle processors and this one has
    a single thread: forking is not safe with more. Progress is told every fifty runs.
    """
    done = 0
    for batch in _batches(root, names, now):
        yield from batch
        done += len(batch)
        if progress is not None:
            progress(done, len(names))


def _batches(root: str, names: Sequence[str], now: float) -> Iterator[list[Examined]]:
    parts = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
    helpers = _helpers(len(names))
    # This process also writes what all have read; with one helper both then work as long.
    turns = _SHARE * helpers + 1
    shares: list[list[Sequence[str]]] = [[] for _ in range(helpers + 1)]
    for place, part in enumerate(parts):
        shares[_whose(place, turns)].append(part)
    workers = [_Worker(root, share, now) for share in shares[1:]]
    try:
        with Examiner(root, now) as examiner:
            for place, part in enumerate(parts):
                turn = _whose(place, turns)
                batch = workers[turn - 1].take() if turn else None
                # What a helper that died did not send is read here.
                yield batch or [examiner.examine(name) for name in part]
    finally:
        for worker in workers:
            worker.close()


def _whose(place: int, turns: int) -> int:
    """Return the number of the helper that reads a part; 0 is this process."""
    return (place % turns + _SHARE - 1) // _SHARE


def _helpers(runs: int) -> int:
    """Return how many processes to start beside this one."""
    if runs < _MANY or not hasattr(os, "fork") or _has_threads():
        return 0
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(processors, _MOST_PROCESSES) - 1


def _has_threads() -> bool:
    try:
        # Those of libraries count too.
        return len(os.listdir("/proc/self/task")) > 1
    except OSError:
        threading = sys.modules.get("threading")
        return threading is not None and threading.active_count() > 1


class _Worker:
    """A process that examines parts and sends each as one pickle through a pipe."""

    def __init__(self, root: str, parts: Sequence[Sequence[str]], now: float) -> None:
        reading, writing = os.pipe()
        _widen(writing)
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                os.close(reading)
                with os.fdopen(writing, "wb") as pipe:
                    _send(pipe, root, parts, now)
                status = 0
            finally:
                # Not through the interpreter's end: what it would close belongs to the parent.
                os._exit(status)
        os.close(writing)
        self._pipe: IO[bytes] = os.fdopen(reading, "rb")
        self._dead = False

    def take(self) -> list[Examined] | None:
        """Return the next part, or None when the process has come to harm."""
        import marshal

        if not self._dead:
            try:
                return [_unpack(packed) for packed in marshal.load(self._pipe)]
            except (EOFError, ValueError, TypeError):
                self._dead = True
        return None

    def close(self) -> None:
        """Let the process end, and forget it."""
        self._pipe.close()
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass


def _widen(pipe: int) -> None:
    import fcntl

    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass


def _send(pipe: IO[bytes], root: str, parts: Sequence[Sequence[str]], now: float) -> None:
    import marshal

    with Examiner(root, now) as examiner:
        for part in parts:
            # marshal takes plain values only, in a third of the time of pickle; both ends are
            # the same interpreter.
            marshal.dump([_pack(examiner.examine(name)) for name in part], pipe)


def _pack(examined: Examined) -> tuple[object, ...]:
    record, seen, settled = examined
    *plain, flags, attrs, series = record
    reduced = {name: tuple(each) for name, each in series.items()}
    return tuple(plain), dict(flags), dict(attrs), reduced, tuple(seen), settled


def _unpack(packed: tuple[object, ...]) -> Examined:
    plain, flags, attrs, reduced, seen, settled = packed
    series = {name: Reduced._make(each) for name, each in reduced.items()}  # type: ignore[attr-defined]
    record = RunRecord._make((*plain, flags, attrs, series))  # type: ignore[misc]
    return Examined(record, Seen._make(seen), bool(settled))  # type: ignore[arg-type]
