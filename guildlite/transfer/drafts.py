"""An imported run on its way into a runs root, and what is taken from its event files.

A `Draft` is a run directory under a hidden name. Nothing in it is waited for on the way to the
disk; a `Publisher` does that once for the whole draft, in threads, and renames it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from guildlite import __version__
from guildlite.collect.events import EventFiles
from guildlite.platform import ProcessIdentity, sync_directory
from guildlite.runs import RunReader
from guildlite.runs.db import RunDb
from guildlite.runs.facts import read_fact, write_text
from guildlite.runs.paths import OWN_DIR, RunPaths
from guildlite.runs.store import safe_name
from guildlite.series import Cursor, Reading
from guildlite.tfevents import BadContent, open_regular, parse_projector_config
from guildlite.tfevents.contents import PROJECTOR_CONFIG
from guildlite.tfevents.logdir import is_event_file
from guildlite.transfer.grouping import EventFile
from guildlite.transfer.stamps import FileStamp, Stamp, stamp_path

#: Begins the names of drafts.
DRAFT = ".import-"
#: Readings of one commit, as `collect.follow` takes them.
_BATCH = 4
#: Threads that wait for the disk while the next runs are read.
_SYNCING = 2
#: Drafts brought to the disk together: so many are worth waiting for what others write there.
_SYNCED_AT_ONCE = 50
#: Seconds after which drafts no longer wait for more of them.
_HELD_S = 1.0
#: The end of the year 9999, where calendars end.
_LAST_SECOND = 253_402_300_800


@dataclass(slots=True)
class Source:
    """A run as a log directory has it: its event files by path relative to `home`.

    `label` is what people call it, its path in the log directory.
    """

    home: str
    label: str
    files: dict[str, EventFile]

    @property
    def directories(self) -> list[str]:
        """Where the files are, relative to `home`; "" is `home` itself."""
        return sorted({os.path.dirname(name) for name in self.files})

    @property
    def directories_as_text(self) -> list[str]:
        """The same as the names that readers of files use, where not all bytes are UTF-8."""
        return list(map(as_text, self.directories))

    def stamps(self, digests: Mapping[str, str]) -> dict[str, FileStamp]:
        """Return the files as they were found; `digests` are by name as text."""
        return {
            name: FileStamp(file.size, file.mtime_ns, file.ctime_ns, digests.get(as_text(name), ""))
            for name, file in self.files.items()
        }

    def quiet_s(self) -> float:
        """Return for how long no file has changed, in seconds."""
        return time.time() - max(file.mtime_ns for file in self.files.values()) / 1e9

    def events(self, cursors: Iterable[Cursor] = ()) -> EventFiles:
        """Return a reader of the files where they are, that goes on from `cursors`."""
        return EventFiles(Path(self.home), cursors, directories=self.directories_as_text)


@dataclass(slots=True)
class Intake:
    """What was taken into a run.db: how much, and the digests of the files by name as text.

    `ended` is the latest moment (seconds since the epoch); `sessions` tells that there were
    sessions of HParams.
    """

    points: int = 0
    others: int = 0
    ended: float = 0.0
    sessions: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def take(self, db: RunDb, readings: Iterable[Reading]) -> None:
        """Commit readings, a few at a time."""
        readings = iter(readings)
        while batch := list(islice(readings, _BATCH)):
            db.write(batch)
            for reading in batch:
                self._count(reading)

    def _count(self, reading: Reading) -> None:
        self.notices += reading.notices
        if reading.cursor is not None:
            self.digests[reading.cursor.path] = reading.cursor.digest
        self.sessions = self.sessions or bool(reading.sessions)
        for points in reading.points.values():
            self._add_points(len(points), points[-1].time)
        for columns in reading.columns.values():
            self._add_points(len(columns.times), columns.times[-1])
        for items in reading.media:
            self.others += len(items.items)
            self._add_points(0, items.items[-1].time if items.items else None)

    def _add_points(self, count: int, last_ms: int | None) -> None:
        self.points += count
        if last_ms is not None and self.ended < last_ms / 1000 < _LAST_SECOND:
            self.ended = last_ms / 1000


class Draft:
    """A run directory in the making; `final` is where it will be."""

    def __init__(self, path: Path, final: Path, source: Source, model: str, started: float) -> None:
        self.path, self.final = path, final
        self._source, self._model = source, model
        self._paths = RunPaths(path)
        self.stamp = Stamp(source.home, directories=source.directories, started=started)

    def fill(
        self,
        readings: Iterable[Reading],
        blank: bytes,
        follower: ProcessIdentity | None,
        *,
        copy: bool,
    ) -> Intake:
        """Make everything: run.db, the facts, and the stamp, last. Raises OSError, sqlite3.Error.

        `readings` are those of the source's files; with `copy` they are copied first, and read as
        copies. `blank` is an empty run.db. With a `follower` the run is running.
        """
        for directory in (self.path, self._paths.root, self._paths.meta):
            directory.mkdir()
        stamp, intake = self.stamp, Intake()
        if copy:
            stamp.copied = True
            copy_files(self._source, self.path, {})
            readings = EventFiles(self.path).sample(final=True)
        # Begun as a copy, which saves a tenth of a small import: the statements that make tables.
        self._paths.db.write_bytes(blank)
        with RunDb(self._paths.db, durable=False) as db:
            intake.take(db, readings)
            stamp.files = self._source.stamps(intake.digests)
            stamp.ended = max(stamp.started, intake.ended)
            flags = take_record(self._paths.db, stamp) if intake.sessions else {}
            uid = self._uid()
            db.write_start(self._attrs(uid), flags)
        self._write(self._paths.manifest, self._manifest(uid, flags))
        self._write(self._paths.started, started_fact(stamp, follower))
        if follower is None:
            self._write(self._paths.exit, exit_fact(stamp))
        tell(self._paths, intake.notices)
        stamp_path(self.path).write_text(stamp.to_json(), encoding="utf-8")
        return intake

    def _uid(self) -> str:
        """Return a name that is the same for every import of the same run."""
        first = next((file.digest for file in self.stamp.files.values() if file.digest), "")
        told = f"{self.stamp.source}\0{first}"
        return hashlib.blake2b(os.fsencode(told), digest_size=16).hexdigest()

    def _attrs(self, uid: str) -> dict[str, str]:
        stamp = self.stamp
        attrs = {
            "id": self.final.name,
            "uid": uid,
            "project": "",
            "model": self._model,
            "operation": "import",
            "directory": stamp.source,
            "created": _iso(stamp.started),
            "guildlite": __version__,
            "import.source": stamp.source,
            **time_attrs(stamp),
        }
        if not stamp.copied:
            attrs["logdir"] = as_text(stamp.source)
            attrs["logdir_directories"] = json.dumps(self._source.directories_as_text)
        return {name: value for name, value in attrs.items() if value}

    def _manifest(self, uid: str, flags: Mapping[str, str]) -> dict[str, object]:
        stamp = self.stamp
        return {
            "uid": uid,
            "attempt": 1,
            "id": self.final.name,
            "created": stamp.started,
            "guildlite": __version__,
            "operation": "import",
            "model": self._model,
            "run": f"import {stamp.source}",
            "command": [],
            "directory": stamp.source,
            "flags": dict(flags),
            "changed": sorted(flags),
            "imported": {"source": stamp.source, "copied": stamp.copied},
        }

    def _write(self, path: Path, fact: Mapping[str, object]) -> None:
        path.write_text(json.dumps(fact, indent=1), encoding="utf-8")


def blank_run_db(root: Path) -> bytes:
    """Return a run.db without rows; it is made in the directory `root`, for a moment."""
    path = root / f"{DRAFT}{os.getpid()}-blank"
    try:
        RunDb(path, durable=False).close()
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


class Publisher:
    """Brings drafts to the disk and under their final names; a context manager.

    Leaving it waits for all of them, and raises the first OSError of one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = ThreadPoolExecutor(_SYNCING, "publish")
        self._pending: list[Future[None]] = []
        self._batch: list[Draft] = []
        self._submitted = time.monotonic()
        self._taken: set[Path] = set()

    def reserve(self, moment: float, label: str) -> Path:
        """Return a run directory that is not there yet, named by UTC time and label."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))
        name = "-".join(part for part in (stamp, safe_name(label)) if part)
        number = 1
        while True:
            path = self._root / (name if number == 1 else f"{name}-{number}")
            if path not in self._taken and not os.path.lexists(path):
                self._taken.add(path)
                return path
            number += 1

    def publish(self, draft: Draft) -> None:
        """Let the draft appear as soon as it is on the disk, with others if they come fast."""
        self._batch.append(draft)
        if len(self._batch) == _SYNCED_AT_ONCE or time.monotonic() > self._submitted + _HELD_S:
            self._submit()

    def _submit(self) -> None:
        batch, self._batch = self._batch, []
        self._submitted = time.monotonic()
        self._pending.append(self._threads.submit(_publish, self._root, batch))

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self._submit()
        self._threads.shutdown(wait=True)
        sync_directory(self._root)
        for each in self._pending:
            each.result()


def _publish(root: Path, drafts: Sequence[Draft]) -> None:
    try:
        if len(drafts) < _SYNCED_AT_ONCE or not _sync_file_system(root):
            for draft in drafts:
                _sync_tree(draft.path)
        for draft in drafts:
            os.rename(draft.path, draft.final)
    except BaseException:
        for draft in drafts:
            shutil.rmtree(draft.path, ignore_errors=True)
        raise


def _sync_file_system(path: Path) -> bool:
    """Have everything on the file system of `path` on its disk; False where that cannot be had.

    One call instead of eight for each draft: files one by one were a sixth of the CPU time of a
    thousand small imports.
    """
    import ctypes

    descriptor = os.open(path, os.O_RDONLY)
    try:
        return bool(ctypes.CDLL(None).syncfs(descriptor) == 0)
    except (OSError, AttributeError):  # not Linux
        return False
    finally:
        os.close(descriptor)


def _sync_tree(path: Path) -> None:
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            _sync(os.path.join(folder, name))
        sync_directory(Path(folder))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_drafts(root: Path) -> None:
    """Remove what imports left that were killed. For the holder of the root's lock."""
    for entry in root.iterdir():
        if not entry.name.startswith(DRAFT):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def until_values(readings: Iterable[Reading]) -> tuple[list[Reading], bool]:
    """Take readings up to the first with values; return them, and whether there was one.

    What merely announces an experiment of HParams is no value of any run.
    """
    begun = []
    for reading in readings:
        begun.append(reading)
        if (
            reading.points or reading.columns or reading.sessions or reading.embeddings
            or any(items.kind != "hparams" for items in reading.media)
        ):  # fmt: skip
            return begun, True
    return begun, False


# Facts and times ------------------------------------------------------------------------------


def first_moment(source: Source) -> float:
    """Return when the first event of a run was written, seconds since the epoch.

    Every event begins with its time, that of the file's first record too; where a file says
    nothing sensible, its own age counts.
    """
    moments = [moment for file in source.files.values() if (moment := _first_moment(file.path))]
    if moments:
        return min(moments)
    return min(file.mtime_ns for file in source.files.values()) / 1e9


def _first_moment(path: str) -> float | None:
    try:
        with open_regular(path) as file:
            head = file.read(21)
    except OSError:
        return None
    # Behind the 12 bytes of framing: field 1 of the event, a double.
    if len(head) < 21 or head[12] != 0x09:
        return None
    moment: float = struct.unpack("<d", head[13:])[0]
    return moment if _is_moment(moment) else None


def started_fact(stamp: Stamp, follower: ProcessIdentity | None) -> dict[str, object]:
    """Return started.json of an imported run; with a `follower` it runs while that lives."""
    fact: dict[str, object] = {"attempt": 1, "imported": True, "time": stamp.started}
    if follower is not None:
        fact["supervisor"] = follower.to_json()
    return fact


def exit_fact(stamp: Stamp) -> dict[str, object]:
    """Return exit.json of an imported run."""
    return {
        "attempt": 1,
        "imported": True,
        "code": None if stamp.failed else 0,
        "signal": None,
        "time": stamp.ended,
        "duration_s": stamp.ended - stamp.started,
    }


def time_attrs(stamp: Stamp) -> dict[str, str]:
    """Return the attributes that say when a run began and ended."""
    return {
        "started": _iso(stamp.started),
        "stopped": _iso(stamp.ended),
        "duration": str(stamp.ended - stamp.started),
    }


def take_record(db: Path, stamp: Stamp) -> dict[str, str]:
    """Note in the stamp what run.db says of the end of a run; return the flags.

    These are the hparams of its session, of several the run's own or else the first.
    """
    with RunReader(db) as reader:
        seen = [summary.last_time for summary in reader.summaries()]
        seen += [series.last_time for series in reader.media()]
        sessions = sorted(reader.sessions(), key=lambda session: session.session)
    moments = [time_ms / 1000 for time_ms in seen if time_ms is not None]
    stamp.ended = max(filter(_is_moment, moments), default=stamp.started)
    stamp.ended = max(stamp.ended, stamp.started)
    if not sessions:
        return {}
    stamp.failed = sessions[0].status == "failure"
    return {name: _flag_text(value) for name, value in sessions[0].values.items()}


def _is_moment(seconds: float) -> bool:
    return 0 < seconds < _LAST_SECOND


def _flag_text(value: object) -> str:
    """Return a value as one would type it: HParams knows no integers, so 32 comes as 32.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def put_flags(paths: RunPaths, flags: Mapping[str, str]) -> None:
    """Add flags that a session stated only after the run had been imported."""
    manifest = read_fact(paths.manifest) if flags else None
    if manifest is not None and manifest.get("flags") != flags:
        manifest |= {"flags": dict(flags), "changed": sorted(flags)}
        write_text(paths.manifest, json.dumps(manifest, indent=1))


def tell(paths: RunPaths, notices: Iterable[str]) -> None:
    """Append notices to the run's errors.log."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lines = [f"{when} {notice}\n" for notice in notices]
    if lines:
        with open(paths.errors, "a", encoding="utf-8", errors="replace") as file:
            file.writelines(lines)


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


# Copying ----------------------------------------------------------------------------------------


def copy_files(source: Source, target: Path, copied: Mapping[str, FileStamp]) -> None:
    """Copy the source's files below `target`, but for those as `copied` has them already.

    Each appears whole. One that became shorter stays as it was copied, since nothing is lost.
    """
    # Within gl's own folder, where nobody takes a copy in the making for the file.
    scratch = target / OWN_DIR / "copy"
    for name, file in source.files.items():
        stamp = copied.get(name)
        if stamp is None or not stamp.is_of(file):
            _copy_file(file.path, target / name, scratch)
            if os.path.basename(name) == PROJECTOR_CONFIG:
                for each in _embedding_files(source.home, name):
                    _copy_file(os.path.join(source.home, each), target / each, scratch)


def _embedding_files(home: str, config: str) -> list[str]:
    """Return the files below `home` that a projector's configuration there names."""
    try:
        with open_regular(os.path.join(home, config)) as file:
            embeddings = parse_projector_config(file.readall().decode("utf-8", "replace"))
    except (OSError, BadContent):
        return []
    named = [
        os.path.normpath(os.path.join(os.path.dirname(config), path))
        for one in embeddings
        for path in (one.tensor_path, one.metadata_path, one.sprite_path, one.bookmarks_path)
        if path
    ]
    inside = home.rstrip("/") + "/"
    return [name for name in named if os.path.realpath(f"{inside}{name}").startswith(inside)]


def _copy_file(path: str, target: Path, scratch: Path) -> None:
    try:
        source = open_regular(path)
    except OSError:
        return  # whoever reads the run's files where they are says so
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, open(scratch, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
        status = os.fstat(source.fileno())
    is_log = is_event_file(target.name)
    if is_log and target.exists() and scratch.stat().st_size < target.stat().st_size:
        scratch.unlink()
        return
    os.utime(scratch, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(scratch, target)


def as_text(name: str) -> str:
    """Return a relative path as readers of files name it: bytes that are not UTF-8 as `\\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
