"""Whether run.db holds what the run's event files hold, by the word of an independent reader.

Compared are, for every file and series: the number of points on both sides, and each point's step,
moment (to the millisecond) and value; NaN equals NaN. Of what is no scalar, the number of values.
What is known to be no fault of run.db is reported beside the differences: damage in files, points
that TensorBoard leaves out after a restart, and how far a running run has been read.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from guildlite.collect.files import SKIPPED_DIRS, series_key
from guildlite.runs import Run
from guildlite.runs.media import LOGDIR_ATTR, SourceRow
from guildlite.runs.storable import storable
from guildlite.series import KINDS
from guildlite.tfevents import Columns, FileTree, open_regular
from guildlite.tfevents.logdir import first_record_digest, is_event_file
from guildlite.transfer import referee
from guildlite.transfer.stored import EVENTS, StoredRun

#: Beyond this many seconds run.db has no moment: 64-bit milliseconds end.
_MAX_SECONDS = 2**63 / 1000 - 1
#: Attribute: the directories below `logdir` that are the run's, as a JSON list.
_LOGDIR_DIRECTORIES = "logdir_directories"

POINTS, VALUES, STEP, TIME, VALUE, FILE = "points", "values", "step", "time", "value", "file"


class Difference(NamedTuple):
    """Something that run.db and an event file do not agree on.

    `what` is `points` or `values` (how many there are of a series; the latter of what is no
    scalar), `step`, `time` or `value` (of the point number `nth` of a series, from 0, with that
    `step` in run.db), or `file` (then `stored` is the number of points that cannot be compared, and
    `read` says why). `more` counts further points of the series that differ. NaN is a float.
    """

    path: str
    key: str
    what: str
    stored: float | int | None
    read: float | int | str | None
    nth: int | None = None
    step: int | None = None
    more: int = 0


@dataclass(slots=True)
class Report:
    """What verifying one run found; it is as it should be when there are no `differences`.

    Counted is what was compared. `dropped` maps series to the number of their points that
    TensorBoard's reader drops because a writer began anew; `damage` maps files to what is wrong in
    them; `unknown` maps series to the number of points whose type the independent reader cannot
    decode. `notes` are sentences.
    """

    run: str
    files: int = 0
    series: int = 0
    points: int = 0
    media: int = 0
    differences: list[Difference] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    damage: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def verify_run(run: Run, progress: Callable[[str], None] = lambda path: None) -> Report:
    """Compare one run with its event files; raises RunUnreadable, and OSError for a full disk.

    `progress` is told of each file before it is read.
    """
    with StoredRun(run) as stored:
        report = Report(run.id)
        files, notices = _event_files(stored)
        report.notes += notices
        rows = [row for row in stored.source_rows() if row.kind == EVENTS]
        if not rows and not files:
            report.notes.append("there are no event files")
            return report
        active = run.busy()
        if active:
            report.notes.append("it is running: compared as far as it has been read")
        if not stored.has_media:
            report.notes.append("run.db is of a version without images, text and the like")
        checked = _Check(report, stored, files, active)
        for directory in checked.directories(rows):
            checked.check_directory(directory, progress)
        return report


def _event_files(stored: StoredRun) -> tuple[dict[str, str], list[str]]:
    """Return the run's event files, name to path, and what is to be said of the search."""
    attrs = stored.attrs()
    directories: set[str] | None = None
    if LOGDIR_ATTR in attrs:  # the tree may hold other runs as well
        directories = {row.path.rpartition("/")[0] for row in stored.source_rows()}
        directories |= _directories(attrs.get(_LOGDIR_DIRECTORIES))

    def is_wanted(name: str) -> bool:
        return is_event_file(name) and (
            directories is None or name.rpartition("/")[0] in directories
        )

    tree = FileTree(stored.files_root, is_wanted, skip=SKIPPED_DIRS)
    return {found.name: found.path for found in tree.changed(everything=True)}, tree.notices


def _directories(attr: str | None) -> set[str]:
    try:
        found = json.loads(attr) if attr else []
    except ValueError:
        return set()
    return {each for each in found if isinstance(each, str)} if isinstance(found, list) else set()


class _Points:
    """The points of one series that came from one file, as run.db has them."""

    __slots__ = ("steps", "times", "values")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.times: list[int | None] = []
        self.values: list[float | None] = []


class _File(NamedTuple):
    """An event file under verification; `row` is None for one that run.db does not know."""

    name: str
    path: str
    row: SourceRow | None


class _Check:
    """Verifies one run, directory by directory, as TensorBoard reads."""

    def __init__(
        self, report: Report, stored: StoredRun, files: dict[str, str], active: bool
    ) -> None:
        self._report, self._files, self._active = report, files, active
        self._points = _points_by_source(stored)
        self._media = stored.media_counts() if stored.has_media else None
        self._series: set[str] = set()

    def directories(self, rows: Sequence[SourceRow]) -> list[list[_File]]:
        """Return the files to compare, by directory, in order of name; report what is not there."""
        by_path: dict[str, list[SourceRow]] = {}
        for row in rows:
            by_path.setdefault(row.path, []).append(row)
        found: dict[str, list[_File]] = {}
        for name in sorted({*by_path, *self._files}):
            path = self._files.get(name)
            digest = None if path is None else _digest(path)
            current = None
            for row in by_path.get(name, ()):
                if digest is not None and row.digest == digest:
                    current = row
                else:
                    reason = "is gone" if path is None else "was replaced"
                    self._report_lost(_File(name, "", row), reason)
            if path is not None and digest is not None and self._is_due(current):
                found.setdefault(name.rpartition("/")[0], []).append(_File(name, path, current))
        return list(found.values())

    def _is_due(self, row: SourceRow | None) -> bool:
        # A file that appeared after the last look of a run that goes on.
        return row is not None or not self._active

    def _report_lost(self, file: _File, reason: str) -> None:
        """Report a file that cannot be compared, if run.db has anything of it."""
        source = -1 if file.row is None else file.row.id
        points = sum(len(each.steps) for each in self._points.pop(source, {}).values())
        media = sum(count for _, count in (self._media or {}).pop(source, {}).values())
        if points + media or not file.row:
            self._report.differences.append(Difference(file.name, "", FILE, points + media, reason))

    def check_directory(self, files: Sequence[_File], progress: Callable[[str], None]) -> None:
        """Compare the files of one directory."""
        kept: dict[str, int] = {}
        restarts = False
        with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="gl-verify-") as links:
            for number, file in enumerate(files):
                progress(file.name)
                try:
                    surveyed, path, found = self._read(file, stack)
                except referee.NotReadable as error:
                    self._report_lost(file, f"stops TensorBoard: {error}")
                    continue
                restarts |= surveyed.restarts
                for tag, columns in found.scalars.items():
                    kept[tag] = kept.get(tag, 0) + len(columns)
                self._compare_file(file, found)
                link = Path(links, f"{number:06d}.tfevents")
                link.symlink_to(os.path.abspath(path))
            if restarts:
                self._count_dropped(links, files[0].name, kept)

    def _read(self, file: _File, stack: ExitStack) -> tuple[referee.Survey, str, referee.Found]:
        """Return what the independent reader finds in the records of a file that are whole."""
        end = os.stat(file.path).st_size
        if file.row is not None and self._active:
            end = min(end, file.row.offset)
        surveyed = referee.survey(file.path, end)
        path = stack.enter_context(referee.whole_records(file.path, surveyed))
        try:
            found = referee.read(path)
        except referee.NotReadable:
            surveyed = referee.survey(file.path, end, decode=True)
            path = stack.enter_context(referee.whole_records(file.path, surveyed))
            found = referee.read(path)
        if surveyed.damage:
            self._report.damage[file.name] = surveyed.damage
        return surveyed, path, found

    def _count_dropped(self, directory: str, name: str, kept: dict[str, int]) -> None:
        """Count what TensorBoard leaves out when it reads the directory as one run."""
        shown = referee.read(directory, purge=True).scalars
        for tag, count in kept.items():
            dropped = count - len(shown.get(tag, ()))
            if dropped:
                self._report.dropped[_key(name, tag)] = dropped

    # One file -----------------------------------------------------------------------------

    def _compare_file(self, file: _File, found: referee.Found) -> None:
        report = self._report
        report.files += 1
        stored = self._points.pop(file.row.id, {}) if file.row is not None else {}
        read = {_key(file.name, tag): columns for tag, columns in found.scalars.items()}
        unknown = {_key(file.name, tag): count for tag, count in found.unknown.items()}
        mixed = {_key(file.name, tag) for tag in found.mixed}
        for key in sorted({*stored, *read}):
            points, columns = stored.get(key, _Points()), read.get(key, Columns())
            self._compare_counts(file.name, key, points, columns, unknown.get(key, 0))
            if key not in unknown:
                ordered = key not in mixed
                report.differences += _first_difference(file.name, key, points, columns, ordered)
        if self._media is not None:
            kinds = {} if file.row is None else self._media.pop(file.row.id, {})
            self._compare_media(file.name, kinds, found)
        report.series = len(self._series)

    def _compare_counts(
        self, path: str, key: str, points: _Points, columns: Columns, unknown: int
    ) -> None:
        report = self._report
        self._series.add(key)
        if unknown:
            report.unknown[key] = report.unknown.get(key, 0) + unknown
        stored, read = len(points.steps), len(columns) + unknown
        report.points += min(stored, len(columns))
        if stored != read:
            report.differences.append(Difference(path, key, POINTS, stored, read))

    def _compare_media(
        self, path: str, stored: dict[str, tuple[str, int]], found: referee.Found
    ) -> None:
        for tag, count in sorted(found.media.items()):
            key = _key(path, tag)
            # A second kind of value under one tag has its kind behind its key.
            names = [key, *(f"{key}:{kind}" for kind in KINDS)]
            kept = sum(stored.pop(name, ("", 0))[1] for name in names)
            self._series.add(key)
            self._report.media += min(kept, count)
            if kept != count:
                self._report.differences.append(Difference(path, key, VALUES, kept, count))
        stated = {_key(path, tag) for tag in found.stated}
        for key, (kind, count) in sorted(stored.items()):
            # Graphs beside tags, and values that are all metadata, are not counted over there.
            if key not in stated and not (kind == "graph" and found.has_graph):
                self._report.differences.append(Difference(path, key, VALUES, count, 0))
            else:
                self._series.add(key)
                self._report.media += count


def _points_by_source(stored: StoredRun) -> dict[int, dict[str, _Points]]:
    """Return the points of event files, by source and series."""
    found: dict[int, dict[str, _Points]] = {}
    for key in stored.scalar_keys():
        origins = stored.origins(key)
        if not any(origin.kind == EVENTS for origin in origins.values()):
            continue
        parts: dict[int, _Points] = {}
        for segment, origin in origins.items():
            if origin.kind == EVENTS and origin.source is not None:
                by_key = found.setdefault(origin.source, {})
                parts[segment] = by_key.setdefault(key, _Points())
        for step, time, value, segment in stored.points(key):
            if segment in parts:
                points = parts[segment]
                points.steps.append(step)
                points.times.append(time)
                points.values.append(value)
    return found


def _digest(path: str) -> str | None:
    """Return the digest of a file's first record; None while there is none, or for no file."""
    try:
        with open_regular(path) as file:
            return first_record_digest(file)
    except OSError:
        return None


def _key(path: str, tag: str) -> str:
    return storable(series_key(path, tag))


# Points -------------------------------------------------------------------------------------------


def _first_difference(
    path: str, key: str, points: _Points, columns: Columns, ordered: bool
) -> Iterator[Difference]:
    """Yield the first point that differs, if one does, and how many more do."""
    moments = [_moment(wall_time) for wall_time in columns.wall_times]
    values = [None if value != value else value for value in columns.values]
    if (points.steps, points.times, points.values) == (columns.steps.tolist(), moments, values):
        return
    ours = list(zip(points.steps, points.times, points.values, strict=True))
    theirs = list(zip(columns.steps, moments, values, strict=True))
    if not ordered:
        ours, theirs = sorted(ours, key=repr), sorted(theirs, key=repr)
    pairs = zip(ours, theirs, strict=False)  # what one has more, the number of points says
    differing = [nth for nth, (one, other) in enumerate(pairs) if one != other]
    if not differing:
        return
    nth = differing[0]
    one, other = ours[nth], theirs[nth]
    at = next(at for at in range(3) if one[at] != other[at])
    stored, read = (math.nan if at == 2 and row[at] is None else row[at] for row in (one, other))
    more = len(differing) - 1
    yield Difference(path, key, (STEP, TIME, VALUE)[at], stored, read, nth, one[0], more)


def _moment(wall_time: float) -> int | None:
    if math.isfinite(wall_time) and abs(wall_time) <= _MAX_SECONDS:
        return round(wall_time * 1000)
    return None
