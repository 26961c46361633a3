"""CSV and JSON-lines files in the run directory, as points of `COLUMN` or `SUBDIR/COLUMN`.

Which files: those ending in .csv, .tsv, .jsonl or .ndjson that have a step column (see
`collect.rows`), and those that the project file names under `collect:`. Only complete lines are
taken, until the script has ended.

A file is its path plus a digest of its first line (of a header and the line below it). When what
was read before is no longer there, the file was written anew: its digest gets a number, `-2` and so
on, and it is read from the start as another source.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from io import FileIO
from pathlib import Path

from guildlite.collect.files import run_files, series_key
from guildlite.collect.rows import (
    HEAD_BYTES,
    BadRow,
    CsvFormat,
    JsonFormat,
    NotATable,
    Recognised,
    recognise,
    split_records,
)
from guildlite.platform import open_regular
from guildlite.series import Cursor, Point, Reading
from guildlite.tfevents import FoundFile, Signature, Watch

KINDS = ("csv", "jsonl")
_JSON_SUFFIXES = (".jsonl", ".ndjson")
_SUFFIXES = (".csv", ".tsv", *_JSON_SUFFIXES)

#: Bytes read for one reading: some 10,000 points of usual tables.
_BLOCK_BYTES = 128 << 10
#: A longer line ends the file.
_MAX_LINE_BYTES = 8 << 20
#: Bytes before the cursor that must still be the same for the file to be the same.
_TAIL_BYTES = 256


class Tables:
    """Collector of the run's tables; goes on from the cursors of kind `csv` and `jsonl`.

    `columns` maps a path or glob relative to the run directory to column names: the project's
    `collect:`. Rows of a named table without the name `step` are numbered from 0. Rows that do not
    say their time get the moment they were seen if `live`, else none.
    """

    name = "tables"

    def __init__(
        self,
        run_dir: Path,
        cursors: Iterable[Cursor] = (),
        columns: Mapping[str, Sequence[str]] | None = None,
        *,
        live: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self._columns = dict(columns or {})
        self._live = live
        self._tree = run_files(run_dir, self._wanted, watch)
        self._cursors = {(each.path, each.digest): each for each in cursors if each.kind in KINDS}
        self._tables: dict[str, _Table] = {}
        self._not_ours: dict[str, tuple[int, int]] = {}
        #: Files of which something is left, waiting for the end of a line.
        self._unfinished: dict[str, FoundFile] = {}
        #: Size and time of files last seen shorter than what was read of them.
        self._shorter: dict[str, Signature | None] = {}
        self._unreadable: set[str] = set()

    def probe(self) -> dict[str, str]:
        """Return nothing: tables may come at any time."""
        return {}

    def sample(self, final: bool = False) -> Iterator[Reading]:
        """Yield what is new, a reading for a bounded stretch of one file.

        With `final`, when the script has ended, every file is looked at and a last line without
        line end is taken. Lazy: whoever stops between two readings gets the rest from the next
        call. Troubles become notices; nothing in the run directory makes this raise.
        """
        notices: list[str] = []
        if final:
            for found in self._unfinished.values():
                self._tree.again(found)
        for found in self._tree.changed(everything=final):
            if self._is_known_stranger(found):
                continue
            try:
                with open_regular(found.path) as file:
                    yield from self._read(found, file, final)
            except FileNotFoundError:
                continue
            except OSError as error:
                if found.name not in self._unreadable:
                    self._unreadable.add(found.name)
                    notices.append(f"`{found.name}` cannot be read: {error.strerror or error}")
            else:
                self._tree.done(found)
        notices += self._tree.notices
        self._tree.notices = []
        if notices:
            yield Reading(notices=notices)

    def close(self) -> None:
        """Do nothing: no file is open between samples."""

    def _wanted(self, name: str) -> bool:
        return name.lower().endswith(_SUFFIXES) or self._names(name) is not None

    def _names(self, name: str) -> Sequence[str] | None:
        """Return the columns that the project gives to a file, if it does."""
        exact = self._columns.get(name)
        if exact is not None:
            return exact
        for pattern, names in self._columns.items():
            if _matches(name, pattern.removeprefix("./")):
                return names
        return None

    def _is_known_stranger(self, found: FoundFile) -> bool:
        """Tell whether the file was found not to be ours: a growing data set is not reopened."""
        inode, size = self._not_ours.get(found.name, (-1, 0))
        if found.seen is None or found.seen[0] != inode or found.seen[1] < size:
            return False
        self._tree.done(found)
        return True

    def _read(self, found: FoundFile, file: FileIO, final: bool) -> Iterator[Reading]:
        size = os.fstat(file.fileno()).st_size
        self._unfinished[found.name] = found
        head = os.pread(file.fileno(), min(size, HEAD_BYTES), 0)
        try:
            recognised = recognise(
                head,
                json_lines=found.name.lower().endswith(_JSON_SUFFIXES),
                names=self._names(found.name),
                whole=final and size <= HEAD_BYTES,
            )
        except NotATable:
            if not final and found.seen:
                self._not_ours[found.name] = found.seen[:2]
                del self._unfinished[found.name]
            return
        if recognised is None:
            return
        table = self._table(found.name, recognised)
        if size < table.offset and not final and self._is_being_written(found):
            return
        if not table.continues(file):
            cursor = Cursor(found.name, recognised.format.kind, _next_digest(table.digest))
            table = _Table(cursor, recognised.format)
        self._tables[found.name] = table
        for reading in table.read(file, size, final=final, live=self._live):
            if reading.cursor is not None:  # the file may be replaced, and come back
                self._cursors[reading.cursor.path, reading.cursor.digest] = reading.cursor
            yield reading
        if table.offset >= size:
            del self._unfinished[found.name]

    def _is_being_written(self, found: FoundFile) -> bool:
        """Tell whether a file that became shorter may still grow back.

        Many scripts write their whole table anew each epoch, with the same lines and one more;
        seen half-way it must not pass for another table. It counts once two looks saw the same.
        """
        if self._shorter.get(found.name) == found.seen:
            return False
        self._shorter[found.name] = found.seen
        self._tree.again(found)
        return True

    def _table(self, name: str, recognised: Recognised) -> _Table:
        """Return the table as read so far, or a new one if the first lines changed."""
        digest = hashlib.blake2b(recognised.identity, digest_size=16).hexdigest()
        table = self._tables.get(name)
        if table is not None and table.digest.partition("-")[0] == digest:
            return table
        return self._resume(name, digest, recognised.format)

    def _resume(self, name: str, digest: str, format: CsvFormat | JsonFormat) -> _Table:
        """Return the latest table with this first line that the cursors know, or a new one."""
        cursor = Cursor(name, format.kind, digest)
        later = self._cursors.get((name, digest))
        while later is not None:
            cursor = later
            later = self._cursors.get((name, _next_digest(cursor.digest)))
        return _Table(cursor, format)


class _Table:
    """One file under one digest: how far it was read, and its rows to come."""

    def __init__(self, cursor: Cursor, format: CsvFormat | JsonFormat) -> None:
        self.path, self.digest = cursor.path, cursor.digest
        self._format = format
        self.offset, self._error = cursor.offset, cursor.error
        self._rows = _whole_number(cursor.state.get("rows"))
        self._bad = _whole_number(cursor.state.get("bad"))
        self._tail = str(cursor.state.get("tail", ""))

    def continues(self, file: FileIO) -> bool:
        """Tell whether the bytes last read are still where they were."""
        return not self.offset or _tail(file, self.offset) == self._tail

    def read(self, file: FileIO, size: int, *, final: bool, live: bool) -> Iterator[Reading]:
        """Yield readings of the rows before `size`."""
        length = _BLOCK_BYTES
        while self._error is None and self.offset < size:
            data = os.pread(file.fileno(), min(length, size - self.offset), self.offset)
            at_end = self.offset + len(data) >= size
            records, used = split_records(data, quotes=self._format.quotes, whole=final and at_end)
            if used:
                length = _BLOCK_BYTES
                points, notices = self._take(records, _now() if live else None)
                self.offset += used
                self._tail = _tail(file, self.offset)
            elif at_end or not data:
                return
            elif length < _MAX_LINE_BYTES:
                length *= 2
                continue
            else:
                self._error = f"damaged at byte {self.offset}: a line has no end"
                points, notices = {}, [f"`{self.path}` is {self._error}; the rest was not read"]
            yield Reading(self._cursor(), points, notices=notices)

    def _take(
        self, records: list[bytes], now: int | None
    ) -> tuple[dict[str, list[Point]], list[str]]:
        """Return the points of these rows by series key, and the first trouble of the file."""
        points: dict[str, list[Point]] = {}
        notices: list[str] = []
        for record in records:
            try:
                row = self._format.parse(record)
            except BadRow as error:
                if not self._bad:
                    notices.append(f"`{self.path}` has a bad row, which was skipped: {error}")
                self._bad += 1
                self._rows += 1
                continue
            if row is None:
                continue
            step = self._rows if row.step is None else row.step
            moment = now if row.time is None else row.time
            self._rows += 1
            for name, value in row.values.items():
                points.setdefault(name, []).append(Point(step, moment, value))
        return {series_key(self.path, name): found for name, found in points.items()}, notices

    def _cursor(self) -> Cursor:
        state: dict[str, object] = {"rows": self._rows, "tail": self._tail}
        if self._bad:
            state["bad"] = self._bad
        return Cursor(self.path, self._format.kind, self.digest, self.offset, state, self._error)


def _tail(file: FileIO, offset: int) -> str:
    """Return a digest of the bytes before `offset`, empty if the file is shorter."""
    length = min(_TAIL_BYTES, offset)
    data = os.pread(file.fileno(), length, offset - length)
    if len(data) < length:
        return ""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _next_digest(digest: str) -> str:
    base, _, number = digest.partition("-")
    return f"{base}-{int(number or 1) + 1}"


def _matches(name: str, pattern: str) -> bool:
    """Match a glob in which `*` stays within one directory and `**` does not."""
    if "**" in pattern:
        return fnmatchcase(name, pattern)
    names, patterns = name.split("/"), pattern.split("/")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))


def _whole_number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _now() -> int:
    return int(time.time() * 1000)
