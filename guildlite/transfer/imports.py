"""Log directories of TensorBoard become runs: once, again for what is new, or as they grow.

A new run is made in a hidden directory beside the others and appears by one rename, whole; until
then a crash leaves nothing but that directory, which the next import removes. An older run is
brought up to date the way a live one is: points and cursors commit together. So an import may be
interrupted at any instant, and the next finishes it.

By reference, the event files stay where they are and run.db holds what they say; a copy has them
in the run directory. Nothing is ever written into a log directory.

An imported run has no process to ask. It is `completed` when its session of HParams did not say
that it failed, and began and ended with its first and last event.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain
from pathlib import Path

from guildlite.collect.events import EventFiles
from guildlite.errors import GuildliteError
from guildlite.platform import FileLock, ProcessIdentity, is_network_file_system
from guildlite.runs.db import RunDb
from guildlite.runs.facts import write_text
from guildlite.runs.paths import RunPaths
from guildlite.tfevents import open_regular
from guildlite.tfevents.contents import PROJECTOR_CONFIG
from guildlite.tfevents.logdir import CATCH_UP_BYTES, first_record_digest
from guildlite.transfer.drafts import (
    DRAFT,
    Draft,
    Intake,
    Publisher,
    Source,
    as_text,
    blank_run_db,
    copy_files,
    exit_fact,
    first_moment,
    put_flags,
    remove_drafts,
    started_fact,
    take_record,
    tell,
    time_attrs,
    until_values,
)
from guildlite.transfer.grouping import (
    Contents,
    EventFile,
    LogTree,
    find_event_files,
    group,
    peek,
)
from guildlite.transfer.stamps import ImportedRun, Stamp, iter_imported, stamp_path

#: Held while runs are imported into a runs root; drafts that are there meanwhile are dead.
_LOCK = ".import.lock"
_LOCK_WAIT_S = 5.0
#: A followed run whose files did not change for so long counts as ended, until they do. Some
#: scripts log once an epoch; TensorBoard has no such notion.
QUIET_S = 300.0

NEW, GROWN, UNCHANGED, TRASHED, FAILED = "new", "grown", "unchanged", "trashed", "failed"


@dataclass(slots=True)
class Outcome:
    """What became of one run of a log directory.

    `state` is new, grown, unchanged, trashed (it lies in the trash and stays there) or failed;
    `path` is its run directory, None when there is none. `points` and `others` count the scalars
    and other values that were taken now.
    """

    source: str
    state: str
    path: Path | None = None
    points: int = 0
    others: int = 0
    notices: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What an import did. `notices` are of what belongs to no run; `empty` counts the directories
    whose event files hold no values yet, `runs` those that are runs of guildlite already."""

    outcomes: list[Outcome] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    files: int = 0
    empty: int = 0
    runs: int = 0

    def all_notices(self) -> list[str]:
        """Return the notices, those of runs too."""
        return self.notices + [each for one in self.outcomes for each in one.notices]


class Importer:
    """Imports log directories into the runs root `root`, as often as `look` is called.

    copy: event files are copied into the run directories.
    run_per_dir: every directory with event files is a run, as TensorBoard has it.
    model: what the runs are said to be runs of; by default their path in the log directory.
    follower: the process that will go on looking; runs that grow are running as long as it lives.

    What was imported once stays as it was imported. For one thread.
    """

    def __init__(
        self,
        root: Path,
        *,
        copy: bool = False,
        run_per_dir: bool = False,
        model: str = "",
        follower: ProcessIdentity | None = None,
    ) -> None:
        self._root = root
        self._copy, self._run_per_dir, self._model = copy, run_per_dir, model
        self._follower = follower
        self._imported: dict[str, list[ImportedRun]] | None = None
        self._homes: dict[str, str] = {}
        self._peeked: dict[tuple[EventFile, ...], Contents] = {}
        #: Homes without values, with the files that had none.
        self._empty: dict[str, dict[str, EventFile]] = {}
        #: Runs that are said to be running while the follower lives.
        self._claimed: set[Path] = set()
        self._drafts = 0
        self._blank = b""

    def look(
        self,
        logdirs: Sequence[Path],
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Report:
        """Import what is new below `logdirs` and return what was done.

        `progress` is told how many runs are done, of how many that have something new; `stop` is
        asked between two runs whether to leave the rest. Troubles with single files and runs are in
        the report. Raises GuildliteError when the runs root cannot be written or another import
        goes on in it.
        """
        report = Report()
        trees = [find_event_files(os.fspath(logdir)) for logdir in logdirs]
        for tree in trees:
            report.notices += tree.notices
            report.runs += tree.runs
            report.files += sum(map(len, tree.directories.values()))
        if not report.files:
            return report
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._root / _LOCK)
            if not lock.acquire(_LOCK_WAIT_S):
                raise GuildliteError(
                    f"another import into {self._root} goes on", hint="wait for it"
                )
            with lock:
                self._look(trees, report, progress, stop)
        except BaseException as error:
            # What was begun may not be there: the next look starts from what is on the disk.
            self._imported = None
            if not isinstance(error, OSError):
                raise
            raise GuildliteError(
                f"cannot import into {self._root}: {error.strerror or error}",
                hint="check its permissions and free space",
            ) from error
        return report

    def close(self) -> None:
        """Say that nobody follows the runs any more."""
        for run in chain.from_iterable((self._imported or {}).values()):
            if run.path in self._claimed:
                _end(run)
        self._claimed.clear()

    # Deciding -----------------------------------------------------------------------------

    def _look(
        self,
        trees: Sequence[LogTree],
        report: Report,
        progress: Callable[[int, int], None],
        stop: Callable[[], bool],
    ) -> None:
        if self._imported is None:
            remove_drafts(self._root)
            self._load()
        work: dict[str, tuple[Source, ImportedRun | None]] = {}
        planned: dict[str, str] = {}
        for tree in trees:
            for source in self._sources(tree, planned):
                known = self._find(source)
                if source.home in work:
                    continue
                if known is None or self._has_news(source, known):
                    work[source.home] = (source, known)
                else:
                    report.outcomes.append(self._unchanged(source, known))
        _load_blocks(source for source, _ in work.values())
        with Publisher(self._root) as publisher:
            for done, (source, known) in enumerate(work.values()):
                progress(done, len(work))
                if stop():
                    return
                outcome = self._import(source, known, publisher)
                if outcome is None:
                    report.empty += 1
                else:
                    report.outcomes.append(outcome)
        progress(len(work), len(work))

    def _load(self) -> None:
        self._imported, self._homes = {}, {}
        for run in iter_imported(self._root):
            self._remember(run)

    def _remember(self, run: ImportedRun) -> None:
        assert self._imported is not None
        self._imported.setdefault(run.stamp.source, []).append(run)
        self._remember_homes(run)

    def _remember_homes(self, run: ImportedRun) -> None:
        home = run.stamp.source
        for name in run.stamp.directories:
            self._homes[os.path.join(home, name) if name else home] = home

    def _sources(self, tree: LogTree, planned: dict[str, str]) -> Iterable[Source]:
        """Return the runs of a log directory, in order of their directories.

        `planned` are the homes of directories of other log directories; this one's are added.
        """
        found: dict[str, Source] = {}
        homes = self._grouped(tree, {**self._homes, **planned} if planned else self._homes)
        planned.update(homes)
        for path, home in homes.items():
            source = found.get(home)
            if source is None:
                label = os.path.relpath(home, tree.root)
                label = os.path.basename(tree.root) if label == "." else label
                source = found[home] = Source(home, label, {})
            for file in tree.directories[path].values():
                source.files[os.path.relpath(file.path, home)] = file
        return found.values()

    def _grouped(self, tree: LogTree, homes: Mapping[str, str]) -> Mapping[str, str]:
        if self._run_per_dir:
            return {path: homes.get(path, path) for path in tree.directories}
        if all(path in homes for path in tree.directories):
            return {path: homes[path] for path in tree.directories}
        return group(tree, lambda path: self._peek(tree.directories.get(path, {})), homes)

    def _peek(self, files: Mapping[str, EventFile]) -> Contents:
        key = tuple(files.values())
        if key not in self._peeked:
            self._peeked[key] = peek(key)
        return self._peeked[key]

    def _find(self, source: Source) -> ImportedRun | None:
        """Return the run that has been imported from these files, however they grew since."""
        assert self._imported is not None
        runs = self._imported.get(source.home, [])
        for run in reversed(runs):
            stamps = run.stamp.files
            if any(name in stamps and stamps[name].is_of(file)
                   for name, file in source.files.items()):  # fmt: skip
                return run
        for run in reversed(runs):
            for name, stamp in run.stamp.files.items():
                if name in source.files and stamp.digest == _digest(source.files[name].path):
                    return run
        return None

    def _has_news(self, source: Source, known: ImportedRun) -> bool:
        stamps = known.stamp.files
        return not known.trashed and (
            any(
                name not in stamps or not stamps[name].is_of(file)
                for name, file in source.files.items()
            )
            or bool(_deleted_configs(source, known.stamp))
        )

    def _unchanged(self, source: Source, known: ImportedRun) -> Outcome:
        if not known.trashed:
            self._conclude(source, known)
        return Outcome(source.home, TRASHED if known.trashed else UNCHANGED, known.path)

    # Importing ----------------------------------------------------------------------------

    def _import(
        self, source: Source, known: ImportedRun | None, publisher: Publisher
    ) -> Outcome | None:
        """Import one run; None when there are no values in it."""
        if known is not None and not stamp_path(known.path).exists():
            # Moved to the trash, or deleted, since we looked.
            self._load()
            known = self._find(source)
            if known is not None and known.trashed:
                return Outcome(source.home, TRASHED, known.path)
        return self._create(source, publisher) if known is None else self._update(source, known)

    def _create(self, source: Source, publisher: Publisher) -> Outcome | None:
        if self._empty.get(source.home) == source.files:
            return None
        readings = source.events().sample(final=True)
        begun, found = until_values(readings)
        if not found:
            self._empty[source.home] = dict(source.files)
            notices = [notice for reading in begun for notice in reading.notices]
            return self._failed(source, notices) if notices else None
        started = first_moment(source)
        self._drafts += 1
        draft = Draft(
            self._root / f"{DRAFT}{os.getpid()}-{self._drafts}",
            publisher.reserve(started, source.label),
            source,
            self._model or source.label,
            started,
        )
        follower = self._follower if source.quiet_s() <= QUIET_S else None
        try:
            self._blank = self._blank or blank_run_db(self._root)
            intake = draft.fill(chain(begun, readings), self._blank, follower, copy=self._copy)
        except BaseException as error:
            shutil.rmtree(draft.path, ignore_errors=True)
            if isinstance(error, sqlite3.Error):
                raise OSError(f"{error}") from error  # of a new file: the disk
            raise
        publisher.publish(draft)
        if follower is not None:
            self._claimed.add(draft.final)
        self._remember(ImportedRun(draft.final, draft.stamp))
        return _outcome(source, NEW, draft.final, intake)

    def _failed(self, source: Source, notices: list[str]) -> Outcome:
        return Outcome(source.home, FAILED, notices=[f"{source.home}: {one}" for one in notices])

    def _update(self, source: Source, known: ImportedRun) -> Outcome:
        paths = RunPaths(known.path)
        lock = FileLock(paths.lock)
        if not lock.try_acquire():
            return self._failed(source, [f"{known.path.name} is being written by another gl"])
        with lock:
            try:
                intake = self._take_new(source, known)
            except (sqlite3.Error, GuildliteError) as error:
                return self._failed(source, [f"{known.path.name} cannot be written: {error}"])
            tell(paths, intake.notices)
            self._remember_homes(known)
            self._conclude(source, known, anew=True)
            # The last, so that nothing of the above is left out when this is killed.
            write_text(stamp_path(known.path), known.stamp.to_json())
        state = GROWN if intake.points or intake.others else UNCHANGED
        return _outcome(source, state, known.path, intake)

    def _take_new(self, source: Source, known: ImportedRun) -> Intake:
        """Commit what is new for a run, and bring its facts up to date but for the stamp's file."""
        paths, stamp, intake = RunPaths(known.path), known.stamp, Intake()
        if stamp.copied:
            copy_files(source, known.path, stamp.files)
        with RunDb(paths.db, network=is_network_file_system(known.path)) as db:
            cursors = db.cursors()
            files = EventFiles(known.path, cursors) if stamp.copied else source.events(cursors)
            intake.take(db, files.sample(final=True))
            digests = {name: each.digest for name, each in stamp.files.items()}
            stamp.files |= source.stamps(digests | intake.digests)
            for name in _deleted_configs(source, stamp):
                del stamp.files[name]
            stamp.directories = sorted({*stamp.directories, *source.directories})
            flags = take_record(paths.db, stamp)
            db.write_start({}, flags)
            attrs = time_attrs(stamp)
            if not stamp.copied:
                attrs["logdir_directories"] = json.dumps(list(map(as_text, stamp.directories)))
            # A reader in the way keeps the file in WAL mode, which is as complete.
            db.seal(attrs, patience_s=0.2)
        put_flags(paths, flags)
        return intake

    def _conclude(self, source: Source, run: ImportedRun, *, anew: bool = False) -> None:
        """Let the run be running while it is followed and grows, else ended.

        With `anew`, what was said of its end may no longer be true.
        """
        paths = RunPaths(run.path)
        if self._follower is None or source.quiet_s() > QUIET_S:
            self._claimed.discard(run.path)
            _end(run, anew=anew)
        elif run.path not in self._claimed:
            fact = started_fact(run.stamp, self._follower)
            write_text(paths.started, json.dumps(fact, indent=1))
            paths.exit.unlink(missing_ok=True)
            self._claimed.add(run.path)


def _load_blocks(sources: Iterable[Source]) -> None:
    """Have event files read in blocks if they are many scalars together, however small each is."""
    if sum(file.size for one in sources for file in one.files.values()) >= CATCH_UP_BYTES:
        with contextlib.suppress(ImportError):  # no NumPy, or one that does not fit
            import_module("guildlite.tfevents.blocks")


def _deleted_configs(source: Source, stamp: Stamp) -> list[str]:
    """Return the configurations of embeddings that were there before; a copy keeps its own."""
    if stamp.copied or len(stamp.files) <= len(source.files):
        return []
    return [
        name
        for name in stamp.files
        if name not in source.files and os.path.basename(name) == PROJECTOR_CONFIG
    ]


def _outcome(source: Source, state: str, path: Path, intake: Intake) -> Outcome:
    notices = [f"{source.home}: {notice}" for notice in intake.notices]
    return Outcome(source.home, state, path, intake.points, intake.others, notices)


def _end(run: ImportedRun, *, anew: bool = False) -> None:
    """Say how a run ended; without `anew` only if it is not said."""
    path = RunPaths(run.path).exit
    if path.parent.exists() and (anew or not path.exists()):
        write_text(path, json.dumps(exit_fact(run.stamp), indent=1))


def _digest(path: str) -> str | None:
    try:
        with open_regular(path) as file:
            return first_record_digest(file)
    except OSError:
        return None
