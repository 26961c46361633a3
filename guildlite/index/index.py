"""The index of a runs root: always right, always disposable.

`Index` belongs to one thread and one command or request: open it, `refresh`, ask, close it. What
it answers from is the last committed state, so nobody waits for anybody: of several processes one
refreshes and the others read. Where no file can be written it lives in memory.

Three looks keep it fresh, the cheapest first. Runs that have not ended are looked at every time.
Those named in the list of changes since the last time are read again. And when the directory of
runs has changed, or an hour has passed, new and missing runs are found by their names and the
stamps of all others are compared, from the newest down: of ten thousand at once, of more by several
refreshes, so that none takes long.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

from guildlite.index.fill import Filler, format_seen, name_of, stored_name, stored_text
from guildlite.index.place import Place, index_directory
from guildlite.index.reading import Examined, examine_all
from guildlite.index.record import (
    ENDED,
    RunRecord,
    is_settled,
    look,
    read_live,
    read_record,
    run_at,
)
from guildlite.index.rows import find_number, find_record
from guildlite.index.schema import FORMAT, create_indexes, create_tables, prepare
from guildlite.runs import Run, RunStore
from guildlite.runs.paths import CHANGED_LIST
from guildlite.runs.store import is_run, list_names

T = TypeVar("T")

#: Called with runs done and runs in all, some times a second.
Progress = Callable[[int, int], None]
#: Called with runs that have ended and were not brought to rest, for whoever may do that.
Settle = Callable[[Sequence[Run]], None]

#: How often the stamps of all runs are compared although nothing says that they changed.
FULL_LOOK_S = 3600.0
#: What a refresh may spend on that, and on it after the directory of runs has changed: two
#: thousand runs and ten thousand on a local disk. The next refresh goes on where it stopped.
LOOK_S, MOVED_LOOK_S = 0.02, 0.1
#: A directory changed within this time may change again with the same stamp.
_YOUNG_NS = 2_000_000_000
_BATCH = 200
#: Runs whose stamps are compared between two looks at the clock, a hundredth of a second.
_LOOK_BATCH = 1_000
#: Stands for the place before the newest run; no run can have the name.
_FROM_NEWEST = "/"
_BUSY_S = 5.0


class Difference(NamedTuple):
    """Something the index says otherwise than the run directory."""

    run: str
    what: str


class Damaged(sqlite3.DatabaseError):
    """The file is not an index of ours."""


class Index:
    """The index of the runs under `root`; the directory of its files may be chosen for tests."""

    def __init__(self, root: Path, directory: Path | None = None) -> None:
        self.root = os.path.abspath(root)
        self._place = Place(index_directory(root) if directory is None else directory)
        self._connection: sqlite3.Connection | None = None
        self._path: Path | None = None

    @property
    def path(self) -> Path | None:
        """The file answers come from; None before the first question and in memory."""
        return self._path

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Asking -------------------------------------------------------------------------------------

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the answer to a question put to the index; a damaged one is built anew first.

        The connection reads one state from the first statement of the question to the last, and
        has the table `live` with the state of every run that has not ended, looked up just now.
        """
        try:
            return self._ask(question)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        self.close()
        self._fill_anew(None, None, after_damage=True)
        return self._ask(question)

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._open()
        connection.execute("BEGIN")
        try:
            _look_up_live(connection, self.root)
            return question(connection)
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")

    # Freshness ----------------------------------------------------------------------------------

    def refresh(self, settle: Settle | None = None, progress: Progress | None = None) -> bool:
        """Take in what has changed; False when another process is doing so just now.

        `settle` gets the runs that ended without being brought to rest, and what it makes of them
        is taken in as well. Raises GuildliteError when the directory
        of runs itself cannot be listed.
        """
        self._follow()
        try:
            self._place.make()
            if not self._place.lock.try_acquire():
                self._open_or_fill(settle, progress)
                return False
        except OSError:
            self._fill_in_memory(settle, progress)
            return True
        try:
            with self._place.lock:
                return self._refresh_locked(settle, progress)
        except (sqlite3.OperationalError, OSError) as error:
            if isinstance(error, OSError) or _is_about_disk(error):
                # A full disk is no reason not to answer.
                self._fill_in_memory(settle, progress)
                return True
            raise

    def _refresh_locked(self, settle: Settle | None, progress: Progress | None) -> bool:
        self._place.remove_old()
        try:
            connection = self._open()
        except FileNotFoundError:
            self._build(settle, progress)
            return True
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._build(settle, progress)
            return True
        try:
            self._update(connection, settle, progress)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self.close()
            self._build(settle, progress)
        return True

    def _update(
        self, connection: sqlite3.Connection, settle: Settle | None, progress: Progress | None
    ) -> None:
        now = time.time()
        look_around = _Look(connection, self.root, now)
        if settle is not None:
            _settle(settle, self.root, look_around.ended())
        changed, gone = look_around.find()
        if not changed and not gone and not look_around.news:
            return
        # Everything is read before the first write, so that nobody waits for a slow disk.
        read = [*_read(self.root, changed, now, settle, progress)]
        connection.execute("BEGIN IMMEDIATE")
        try:
            filler = Filler(connection)
            for name in gone:
                filler.remove(name)
            filler.put(read)
            look_around.write_marks()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def rebuild(self, settle: Settle | None = None, progress: Progress | None = None) -> int:
        """Build the index anew from the run directories; return how many runs it holds.

        Others go on reading the old one meanwhile.
        """
        self._fill_anew(settle, progress, after_damage=False)
        found = self._open().execute("SELECT count(*) FROM run").fetchone()
        return int(found[0])

    def _fill_anew(
        self, settle: Settle | None, progress: Progress | None, *, after_damage: bool
    ) -> None:
        try:
            self._place.make()
            if self._place.lock.acquire(0 if after_damage else 60):
                with self._place.lock:
                    self._build(settle, progress)
                return
        except (OSError, sqlite3.OperationalError):
            pass
        self._fill_in_memory(settle, progress)

    # Files --------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """Return the connection to the newest file; FileNotFoundError without one."""
        if self._connection is None:
            path = self._place.current()
            if path is None:
                raise FileNotFoundError(str(self._place.directory))
            self._connection = _connect(path, self.root)
            self._path = path
        return self._connection

    def _follow(self) -> None:
        """Let go of a file that has been replaced or deleted, and of one in memory."""
        if self._connection is not None and self._place.current() != self._path:
            self.close()

    def _open_or_fill(self, settle: Settle | None, progress: Progress | None) -> None:
        """Open what another process has committed; while it builds the first, read it all."""
        try:
            self._open()
        except (FileNotFoundError, sqlite3.DatabaseError):
            self._fill_in_memory(settle, progress)

    def _build(self, settle: Settle | None, progress: Progress | None) -> None:
        """Write a new index file and let it take the place of the old; needs the lock."""
        self.close()
        target = self._place.successor()
        temporary = target.with_suffix(".new")
        _remove(temporary)  # of a process that was killed
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            # Nobody sees it before it is whole, so nothing needs a journal.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            _fill(connection, self.root, settle, progress)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.close()
            os.replace(temporary, target)
        except BaseException:
            connection.close()
            _remove(temporary)
            raise
        self._open()

    def _fill_in_memory(self, settle: Settle | None, progress: Progress | None) -> None:
        """Have the index in memory: what the file holds and what changed since, else all runs."""
        self.close()
        connection = self._copied()
        try:
            if connection is not None:
                self._update(connection, settle, progress)
        except sqlite3.DatabaseError:
            connection = None
        if connection is None:
            connection = sqlite3.connect(":memory:", isolation_level=None)
            prepare(connection)
            _fill(connection, self.root, settle, progress)
        self._connection, self._path = connection, None

    def _copied(self) -> sqlite3.Connection | None:
        """Return the newest file copied into memory, or None where that cannot be read.

        What is in its log is left out; the refresh that follows finds it anew.
        """
        path = self._place.current()
        if path is None:
            return None
        try:
            with closing(_connect(path, self.root, "immutable=1")) as file:
                connection = sqlite3.connect(":memory:", isolation_level=None)
                file.backup(connection)
            prepare(connection)
            return connection
        except sqlite3.DatabaseError:
            return None

    # Truth --------------------------------------------------------------------------------------

    def check(self, progress: Progress | None = None) -> list[Difference]:
        """Compare the index with every run directory and return what differs; changes nothing."""
        return self.ask(lambda connection: self._check(connection, progress))

    def _check(self, connection: sqlite3.Connection, progress: Progress | None) -> list[Difference]:
        damage = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
        found = [Difference("", text) for text in damage if text != "ok"]
        known = {name_of(row[0]) for row in connection.execute("SELECT name FROM run")}
        runs = {run.id: run for run in RunStore(Path(self.root)).list()}
        found += [Difference(name, "is no longer there") for name in sorted(known - set(runs))]
        for done, (name, run) in enumerate(runs.items(), 1):
            found += [Difference(name, what) for what in _differences(connection, run)]
            if progress is not None and (done % _BATCH == 0 or done == len(runs)):
                progress(done, len(runs))
        return found


# What changed -------------------------------------------------------------------------------------


class _Marks(NamedTuple):
    """How far the last refresh got: kept in the table `meta`."""

    list_inode: int = 0
    list_offset: int = 0
    root_ns: int = 0
    #: When the last look at all runs began.
    looked_at: float = 0.0
    #: The run it has come to, from the newest down; empty when it is over.
    looked_to: str | bytes = ""
    #: Whether something changed since it began, so that another follows.
    again: int = 0


class _Look:
    """One look at what has changed since the last refresh."""

    def __init__(self, connection: sqlite3.Connection, root: str, now: float) -> None:
        self._connection, self._root, self._now = connection, root, now
        rows = dict(connection.execute("SELECT name, value FROM meta"))
        self._marks = _Marks(*(rows.get(name, getattr(_Marks(), name)) for name in _Marks._fields))
        self._new = self._marks

    @property
    def news(self) -> bool:
        """Whether there is something to remember although no run changed."""
        return self._new != self._marks

    def find(self) -> tuple[list[str], list[str]]:
        """Return the names of runs to read, and of those that are gone."""
        listed, cut = self._listed()
        changed = dict.fromkeys(self._open_and_changed())
        changed.update(dict.fromkeys(listed))
        try:
            root_ns = os.stat(self._root).st_mtime_ns
        except FileNotFoundError:
            root_ns = -1
        marks = self._marks
        moved = cut or root_ns != marks.root_ns
        deadline = time.perf_counter() + (MOVED_LOOK_S if moved else LOOK_S)
        due = not 0 <= self._now - marks.looked_at < FULL_LOOK_S
        gone: set[str] = set()
        if moved or due:
            gone = self._compare_names(changed)
            settled = int(self._now * 1e9) - root_ns > _YOUNG_NS
            self._new = self._new._replace(root_ns=root_ns if settled else 0)
            if marks.looked_to:
                self._new = self._new._replace(again=1)
            else:
                self._new = self._new._replace(looked_at=self._now, looked_to=_FROM_NEWEST)
        if self._new.looked_to:
            self._look_further(changed, None if cut else deadline)
        gone.update(name for name in listed if self._is_gone(name))
        return [name for name in changed if name not in gone and is_run(self._root, name)], [*gone]

    def _listed(self) -> tuple[list[str], bool]:
        """Return the names added to the list of changes, and whether it began anew."""
        try:
            with open(os.path.join(self._root, CHANGED_LIST), "rb") as file:
                facts = os.fstat(file.fileno())
                marks = self._marks
                cut = facts.st_ino != marks.list_inode or facts.st_size < marks.list_offset
                file.seek(0 if cut else marks.list_offset)
                data = file.read()
                whole = data[: data.rfind(b"\n") + 1]
                offset = file.tell() - len(data) + len(whole)
        except OSError:
            self._new = self._new._replace(list_inode=0, list_offset=0)
            return [], False
        self._new = self._new._replace(list_inode=facts.st_ino, list_offset=offset)
        names = {os.fsdecode(line) for line in whole.splitlines() if line}
        return [name for name in names if os.sep not in name and not name.startswith(".")], cut

    def ended(self) -> list[str]:
        """Return the runs that were not at rest at the last look and have ended since."""
        rows = self._connection.execute("SELECT name FROM run WHERE sealed = 0")
        names = [name_of(row[0]) for row in rows]
        runs = (run_at(self._root, name) for name in names)
        return [run.id for run in runs if run.error is None and run.status.ended]

    def _open_and_changed(self) -> Iterator[str]:
        """Yield the runs that had not ended and whose files have changed, or that end now."""
        for stored, seen in self._connection.execute("SELECT name, seen FROM run WHERE sealed = 0"):
            name = name_of(stored)
            now = look(os.path.join(self._root, name))
            if format_seen(now) != seen or is_settled(run_at(self._root, name), now, self._now):
                yield name

    def _compare_names(self, changed: dict[str, None]) -> set[str]:
        """Add the runs that are new; return those that are gone."""
        # Without a call for each: there may be a hundred thousand.
        rows = self._connection.execute("SELECT name FROM run")
        known = {name if isinstance(name, str) else name_of(name) for (name,) in rows}
        there = list_names(self._root)
        # In the order of time, so that runs get their numbers in it.
        changed.update(dict.fromkeys(sorted(name for name in there if name not in known)))
        return known.difference(there)

    def _is_gone(self, name: str) -> bool:
        return not is_run(self._root, name) and find_number(self._connection, name) is not None

    def _look_further(self, changed: dict[str, None], deadline: float | None) -> None:
        """Compare stamps from where the last look stopped, of at least a thousand runs."""
        while self._new.looked_to:
            self._compare_stamps(changed)
            if deadline is not None and time.perf_counter() > deadline:
                return

    def _compare_stamps(self, changed: dict[str, None]) -> None:
        """Add those of the next thousand runs whose stamps are not as remembered."""
        after = self._new.looked_to
        where = "" if after == _FROM_NEWEST else "WHERE name < ?"
        rows = self._connection.execute(
            f"SELECT name, seen, sealed FROM run {where} ORDER BY name DESC LIMIT {_LOOK_BATCH}",
            (after,) if where else (),
        ).fetchall()
        for stored, seen, sealed in rows:
            name = name_of(stored)
            if sealed and seen != format_seen(look(f"{self._root}/{name}", live=False)):
                changed.setdefault(name)
        if len(rows) == _LOOK_BATCH:
            self._new = self._new._replace(looked_to=rows[-1][0])
        elif self._new.again:
            self._new = self._new._replace(looked_at=self._now, looked_to=_FROM_NEWEST, again=0)
        else:
            self._new = self._new._replace(looked_to="")

    def write_marks(self) -> None:
        """Remember how far this look got; part of the caller's transaction."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", self._new._asdict().items()
        )


def _read(
    root: str,
    names: Sequence[str],
    now: float,
    settle: Settle | None,
    progress: Progress | None,
) -> Iterator[Examined]:
    """Yield what there is to know of runs; those that were not brought to rest come last."""
    left = []
    for examined in examine_all(root, names, now, progress):
        if settle is None or examined.settled or examined.record.status not in ENDED:
            yield examined
        else:
            left.append(examined.record.id)
    if settle is not None and left:
        _settle(settle, root, left)
        yield from examine_all(root, left, now)


def _settle(settle: Settle, root: str, names: Sequence[str]) -> None:
    if names:
        settle([run_at(root, name) for name in names])


# Files --------------------------------------------------------------------------------------------


def _connect(path: Path, root: str, mode: str = "mode=rw") -> sqlite3.Connection:
    """Open an index file; Damaged when it is of another format or of other runs."""
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:{name}?{mode}", uri=True, timeout=_BUSY_S, isolation_level=None
    )
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
            raise Damaged("another format")
        row = connection.execute("SELECT value FROM meta WHERE name = 'root'").fetchone()
        if row is None or row[0] != _stored_root(root):
            raise Damaged("an index of other runs")
        connection.execute("PRAGMA synchronous = NORMAL")
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _remove(path: Path) -> None:
    """Remove an index file that nobody has open, with what SQLite puts beside it."""
    for end in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def _stored_root(root: str) -> str | bytes:
    return stored_name(os.path.realpath(root))


def _fill(
    connection: sqlite3.Connection, root: str, settle: Settle | None, progress: Progress | None
) -> None:
    """Fill an empty database with all runs."""
    now = time.time()
    create_tables(connection)
    look_around = _Look(connection, root, now)
    changed, _ = look_around.find()
    connection.execute("BEGIN")
    filler = Filler(connection)
    batch: list[Examined] = []
    for item in _read(root, changed, now, settle, progress):
        batch.append(item)
        if len(batch) == _BATCH:
            filler.put(batch)
            batch.clear()
    filler.put(batch)
    look_around.write_marks()
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('root', ?)", (_stored_root(root),))
    create_indexes(connection)
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")


def _look_up_live(connection: sqlite3.Connection, root: str) -> None:
    """Fill the table `live` with the state of every run that has not ended."""
    rows = connection.execute("SELECT id, name FROM run WHERE sealed = 0").fetchall()
    connection.execute("DELETE FROM live")
    connection.executemany(
        "INSERT INTO live VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, *read_live(run_at(root, name_of(name)))) for number, name in rows],
    )


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether an error is about what the file holds rather than about the moment."""
    if isinstance(error, Damaged):
        return True
    if isinstance(error, sqlite3.OperationalError):
        text = str(error)
        return "no such" in text or "has no column" in text or "unable to open" in text
    return type(error) is sqlite3.DatabaseError or isinstance(error, sqlite3.IntegrityError)


def _is_about_disk(error: sqlite3.OperationalError) -> bool:
    text = str(error)
    return any(word in text for word in ("full", "readonly", "I/O", "locked"))


# The truth ----------------------------------------------------------------------------------------


def _differences(connection: sqlite3.Connection, run: Run) -> Iterator[str]:
    """Yield what the index says otherwise than the run directory."""
    stored = find_record(connection, run.id)
    if stored is None:
        yield "is missing in the index"
        return
    truth = read_record(run)
    for name, believed in zip(RunRecord._fields, stored, strict=True):
        actual = _as_stored(getattr(truth, name))
        # A duration of what goes on is another one each time.
        if actual != believed and not (name == "duration" and truth.status == "running"):
            yield f"{name} is {_short(actual)}, the index has {_short(believed)}"


def _as_stored(value: object) -> object:
    if isinstance(value, str):
        return stored_text(value)
    if isinstance(value, dict) and any(isinstance(one, str) for one in value.values()):
        return {stored_text(name): stored_text(text) for name, text in value.items()}
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
