"""Reading a run's own files again into its run.db, without losing what was measured.

System series, lines of output with their moments and what was caught in them stay. So does what
came from files that are not there any more, or not as they were. All of it is one transaction: a
crash at any instant leaves run.db as it was, and readers see the old until they see the new.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from guildlite.collect.events import EventFiles
from guildlite.collect.follow import Follower
from guildlite.collect.projectors import is_deleted
from guildlite.errors import GuildliteError
from guildlite.execute.sealing import collect_columns, start_record
from guildlite.platform import FileLock, is_network_file_system
from guildlite.runs import Run, RunReader
from guildlite.runs.db import RunDb
from guildlite.runs.media import LOGDIR_ATTR, FilesRoot, SourceRow, logdir_path
from guildlite.tfevents import ContentLost
from guildlite.tfevents.logdir import first_record_digest

#: Attribute: the directories below `logdir` that are the run's, as a JSON list.
DIRECTORIES_ATTR = "logdir_directories"
_EVENTS, _PROJECTOR = "tfevents", "projector"
_TABLES = ("csv", "jsonl")
#: Readings written at once.
_BATCH = 4


class Rebuilt(NamedTuple):
    """What a rebuild read: `points` and `media` of `files` files.

    `kept` are the files that cannot be read any more as they were; what they gave stays as it was.
    """

    files: int
    points: int
    media: int
    kept: list[str]


class RunBusy(GuildliteError):
    """Somebody writes the run's run.db: it is read all the time, or being finished right now."""

    http_status = 409


class WouldLose(GuildliteError):
    """The files give less than they once gave; run.db was left as it is."""

    http_status = 409


def rebuild(run: Run, *, force: bool = False) -> Rebuilt:
    """Read the files of a run again, and commit that in place of what they gave before.

    Raises `RunBusy` while the run goes on, and `WouldLose`, unless `force`, when a series would
    come out shorter than it is.
    """
    if not run.status.ended:
        raise RunBusy(f"`{run.id}` is still running, and its files are read as they grow")
    lock = FileLock(run.paths.lock)
    if not lock.try_acquire():
        raise RunBusy(f"`{run.id}` is being written by another process", hint="try again later")
    is_new = not run.paths.db.exists()
    with lock, RunDb(run.paths.db, network=is_network_file_system(run.path)) as db:
        if is_new:
            db.write_start(*start_record(run))
        rebuilt = _rebuild(run, db, force)
        db.seal({})
    return rebuilt


def _rebuild(run: Run, db: RunDb, force: bool) -> Rebuilt:
    stated = db.attr(LOGDIR_ATTR)
    logdir = logdir_path(stated) if stated else None
    root = FilesRoot(logdir or run.path)
    with RunReader(run.paths.db) as reader:
        sources = reader.source_rows()
        listed_no_more = [
            each.key for each in reader.embeddings() if is_deleted(root.path, each.config)
        ]
    anew = {source.id: source for source in sources if _can_be_reread(root, source, sources)}
    kept = [
        source.path
        for source in sources
        if source.id not in anew and source.kind in (_EVENTS, _PROJECTOR, *_TABLES)
    ]
    before = db.counts() - Counter({(key, "embedding"): 1 for key in listed_no_more})
    with db.rereading(anew):
        base = db.counts()
        if logdir:
            _read_logdir(db, logdir)
        else:
            _read_run(run, db)
        after = db.counts()
        if not force:
            _check_nothing_lost(before, after)
    read = after - base
    points = sum(count for (_, kind), count in read.items() if kind == "scalar")
    return Rebuilt(len(anew), points, read.total() - points, kept)


def _can_be_reread(root: FilesRoot, source: SourceRow, sources: Iterable[SourceRow]) -> bool:
    """Tell whether what a source gave is still in its file.

    An event file is known by its first record; of a table the last one of its name is the one that
    is there. What a file that became shorter gave, its beginning does not.
    """
    if source.kind not in (_EVENTS, _PROJECTOR, *_TABLES):
        return False
    same = [each.id for each in sources if each.path == source.path and each.kind in _TABLES]
    if source.kind in _TABLES and source.id != max(same):
        return False
    try:
        if source.kind == _PROJECTOR and is_deleted(root.path, source.path):
            return True
        with root.open(source.path) as file:
            if source.kind == _PROJECTOR:
                return True
            if source.kind == _EVENTS and first_record_digest(file) != source.digest:
                return False
            return os.fstat(file.fileno()).st_size >= source.offset
    except (ContentLost, OSError):
        return False


def _read_logdir(db: RunDb, logdir: Path) -> None:
    """Read the files of a run that was imported by reference."""
    stated = db.attr(DIRECTORIES_ATTR)
    directories: Collection[str] | None = json.loads(stated) if stated else None
    readings = EventFiles(logdir, db.cursors(), directories=directories).sample(final=True)
    while batch := list(islice(readings, _BATCH)):
        db.write(batch)


def _read_run(run: Run, db: RunDb) -> None:
    def tell(notice: str) -> None:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with open(run.paths.errors, "a", encoding="utf-8", errors="replace") as file:
            file.write(f"{when} {notice}\n")

    columns = collect_columns(run)
    follower = Follower(run.paths, db, columns=columns, live=False, tell=tell)
    try:
        follower.poll(final=True, deadline=math.inf)
    finally:
        follower.close()


def _check_nothing_lost(before: Counter[tuple[str, str]], after: Counter[tuple[str, str]]) -> None:
    """Raise `WouldLose` if a series is shorter than it was.

    Numbers caught in the output may go, as soon as a file has them.
    """
    for (key, kind), count in sorted((before - after).items()):
        if not key.startswith("output/"):
            what = ("point" if kind == "scalar" else "value") + "s" * (count > 1)
            raise WouldLose(
                f"reading again would lose {count} {what} of `{key}`",
                hint="its file is damaged or was changed; `--force` takes what is there",
            )
