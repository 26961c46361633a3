"""Rows of tables that scripts write: from bytes to a step, a moment and numbers.

Two formats: CSV (commas, semicolons or tabs; a header line or names given by the project) and
JSON lines (one object a line). `recognise` decides from the first lines whether a file is such a
table at all; a data set that happens to be a CSV is not.

The step is the column `step`, or the first there is of `global_step`, `iteration`, `epoch`, as
Keras' and ultralytics' logs have it; case and spaces around names do not matter. A column
`time`, `timestamp` or `wall_time` that holds moments (seconds or milliseconds since the epoch) says
when; holding anything else (seconds elapsed, say) it is a series like any other.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from guildlite.series import MAX_STEP, MIN_STEP

STEP_NAMES = ("step", "global_step", "iteration", "epoch")
TIME_NAMES = ("time", "timestamp", "wall_time")
DELIMITERS = (",", ";", "\t")

#: A table shows what it is within these bytes, and JSON lines within so many of them.
HEAD_BYTES = 64 << 10
_HEAD_OBJECTS = 20
#: A quoted cell may run over several lines, but a stray quote must not swallow the file.
_MAX_QUOTED_BYTES = 64 << 10

_BOM = b"\xef\xbb\xbf"
_QUOTED_CELL = re.compile(rb'(?:^|[,;\t])[ ]*"')


class Row(NamedTuple):
    """One row. `step` is None where rows are numbered; `time` in ms since the epoch."""

    step: int | None
    time: int | None
    values: dict[str, float]


class BadRow(Exception):
    """This row makes no sense; the next one may. The message says why."""


class NotATable(Exception):
    """The file is none of ours, whatever is appended to it."""


class Recognised(NamedTuple):
    """A table's format, and the lines that tell this file from another of the same name."""

    format: CsvFormat | JsonFormat
    identity: bytes


def recognise(
    head: bytes, *, json_lines: bool, names: Sequence[str] | None, whole: bool
) -> Recognised | None:
    """Tell from a file's first bytes what table it is; None when there is too little to tell.

    `names` are the columns by the project file's `collect:`. With `whole`, nothing will be
    appended, so a last line without line end counts. Raises `NotATable`.
    """
    if b"\0" in head:
        raise NotATable
    records, _ = split_records(head, quotes=not json_lines, whole=whole)
    records = [record for record in map(_without_bom, records) if record.strip()]
    if json_lines or (names is not None and records and records[0].lstrip().startswith(b"{")):
        found = _recognise_json(records, names)
    else:
        found = _recognise_csv(records, names)
    if found is None and (whole or len(head) >= HEAD_BYTES):
        raise NotATable
    return found


def split_records(data: bytes, *, quotes: bool, whole: bool) -> tuple[list[bytes], int]:
    """Return the complete records of `data` without line ends, and how many bytes they take.

    With `quotes`, a record goes on over line ends inside a quoted cell. With `whole`, what is left
    at the end is a record too.
    """
    records: list[bytes] = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        if end >= 0 and quotes and _opens_quote(data[start:end]):
            end = _closing_line_end(data, start, end, whole)
        if end < 0:
            break
        records.append(data[start:end].rstrip(b"\r"))
        start = end + 1
    if whole and start < len(data):
        records.append(data[start:].rstrip(b"\r"))
        start = len(data)
    return records, start


def _opens_quote(line: bytes) -> bool:
    return line.count(b'"') % 2 == 1 and _QUOTED_CELL.search(line) is not None


def _closing_line_end(data: bytes, start: int, first: int, whole: bool) -> int:
    """Return the line end after the closing quote, -1 to wait for it, `first` if there is none."""
    end, limit = first, start + _MAX_QUOTED_BYTES
    quotes = data.count(b'"', start, first)
    while True:
        following = data.find(b"\n", end + 1, limit)
        if following < 0:
            return first if whole or len(data) >= limit else -1
        quotes += data.count(b'"', end, following)
        end = following
        if quotes % 2 == 0:
            return end


def _without_bom(record: bytes) -> bytes:
    return record.removeprefix(_BOM)


# --- CSV ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """Delimited cells under these names; `header` is the line of names, which may come again."""

    names: tuple[str, ...]
    delimiter: str
    header: tuple[str, ...] | None
    step: int | None
    times: tuple[str, ...]

    kind: ClassVar[str] = "csv"
    #: Whether a row may go on over a line end, in quotes.
    quotes: ClassVar[bool] = True

    def parse(self, record: bytes) -> Row | None:
        """Return the row, or None for a line that holds none; raise `BadRow`."""
        cells = parse_cells(_without_bom(record), self.delimiter)
        if not any(cells) or tuple(cells) == self.header:
            return None
        if len(cells) < len(self.names) or any(cells[len(self.names) :]):
            raise BadRow(f"it has {len(cells)} cells, not {len(self.names)}")
        step = None if self.step is None else step_of(cells[self.step])
        values: dict[str, float] = {}
        for index, (name, cell) in enumerate(zip(self.names, cells, strict=False)):
            number = number_of(cell) if name and index != self.step else None
            if number is not None:
                values[name] = number
        return Row(step, _take_moment(values, self.times), values)


def parse_cells(record: bytes, delimiter: str) -> list[str]:
    """Return a CSV record's cells without spaces around them; raise `BadRow`."""
    text = record.decode("utf-8", "replace")
    if '"' not in text:
        return [cell.strip() for cell in text.split(delimiter)]
    try:
        rows = list(csv.reader([text], delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise BadRow(str(error)) from error
    return [cell.strip() for cell in rows[0]] if rows else []


def _recognise_csv(records: list[bytes], names: Sequence[str] | None) -> Recognised | None:
    if not records:
        return None
    if names is not None:
        return _named_csv(records, names)
    try:
        format = _csv_with_header(records[0])
    except BadRow:
        format = None
    if format is None:
        raise NotATable
    # A header says little about which file this is: every restart writes the same one.
    return Recognised(format, b"\n".join(records[:2])) if len(records) > 1 else None


def _csv_with_header(line: bytes) -> CsvFormat | None:
    for delimiter in DELIMITERS:
        names = tuple(parse_cells(line, delimiter))
        step = _position(names, STEP_NAMES)
        if step is not None:
            return _csv_format(names, delimiter, names, step)
    return None


def _named_csv(records: list[bytes], names: Sequence[str]) -> Recognised | None:
    """Return the format of a table whose columns the project file names.

    A first line without any number is a header by other names, which the given ones replace.
    """
    names = tuple(names)
    delimiter = max(DELIMITERS, key=lambda each: records[0].count(each.encode()))
    try:
        cells = tuple(parse_cells(records[0], delimiter))
    except BadRow:
        cells = ()
    header = cells if cells and all(number_of(cell) is None for cell in cells) else None
    if header is not None and len(records) < 2:
        return None
    format = _csv_format(names, delimiter, header, _position(names, STEP_NAMES[:1]))
    return Recognised(format, b"\n".join(records[: 2 if header is not None else 1]))


def _csv_format(
    names: tuple[str, ...], delimiter: str, header: tuple[str, ...] | None, step: int | None
) -> CsvFormat:
    times = tuple(name for name in names if name.lower() in TIME_NAMES)
    return CsvFormat(names, delimiter, header, step, times)


def _position(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    lower = [name.lower() for name in names]
    return next((lower.index(name) for name in wanted if name in lower), None)


# --- JSON lines --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """One object a line; `step` is the field with the step, None where rows are numbered."""

    names: frozenset[str] | None
    step: str | None

    kind: ClassVar[str] = "jsonl"
    quotes: ClassVar[bool] = False

    def parse(self, record: bytes) -> Row | None:
        """Return the row, or None for a line that holds none; raise `BadRow`."""
        if not record.strip():
            return None
        fields = parse_object(record)
        step = None
        if self.step is not None:
            if self.step not in fields:
                return None
            step = step_of(fields[self.step])
        values: dict[str, float] = {}
        for name, field in fields.items():
            taken = name != self.step and (self.names is None or name in self.names)
            number = _json_number(field) if taken else None
            if number is not None:
                values[name] = number
        times = [name for name in values if name.lower() in TIME_NAMES]
        return Row(step, _take_moment(values, times), values)


def parse_object(record: bytes) -> Mapping[str, object]:
    """Return the JSON object on a line; raise `BadRow`. NaN and Infinity are read as numbers."""
    try:
        found = json.loads(_without_bom(record).decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise BadRow("it is not JSON") from error
    if not isinstance(found, dict):
        raise BadRow("it is not a JSON object")
    return {_encodable(name): value for name, value in found.items()}


def _encodable(name: str) -> str:
    """Return a name that a database takes: JSON can spell half of a surrogate pair."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _recognise_json(records: list[bytes], names: Sequence[str] | None) -> Recognised | None:
    chosen = None if names is None else frozenset(names)
    for record in records[:_HEAD_OBJECTS]:
        try:
            fields = parse_object(record)
        except BadRow:
            continue
        step = next((each for name in STEP_NAMES for each in fields if each.lower() == name), None)
        if step is not None:
            return Recognised(JsonFormat(chosen, step), records[0])
    if names is not None and records and "step" not in names:
        return Recognised(JsonFormat(chosen, None), records[0])
    if len(records) >= _HEAD_OBJECTS:
        raise NotATable
    return None


def _json_number(field: object) -> float | None:
    if isinstance(field, bool) or not isinstance(field, (int, float)):
        return None
    try:
        return float(field)
    except OverflowError:
        return None


# --- cells -------------------------------------------------------------------------------------


def number_of(cell: str) -> float | None:
    """Return the number in a cell, `nan` and `inf` included; None for text or an empty cell."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def step_of(cell: object) -> int:
    """Return a step: a whole number of 64 bits, also spelt `10.0` or `1e3`; raise `BadRow`."""
    step: object = cell
    if isinstance(cell, str):
        try:
            step = int(cell) if "_" not in cell else None
        except ValueError:
            step = number_of(cell)
    if isinstance(step, bool) or not isinstance(step, (int, float)):
        raise BadRow(f"its step is not a number: {str(cell)[:40]!r}")
    if isinstance(step, float) and not step.is_integer():
        raise BadRow(f"its step is not a whole number: {str(cell)[:40]!r}")
    if not MIN_STEP <= step <= MAX_STEP:
        raise BadRow("its step has more than 64 bits")
    return int(step)


def moment_of(value: float) -> int | None:
    """Return seconds or milliseconds since the epoch, from 2001 on, as milliseconds; else None."""
    if 1e9 <= value < 1e11:
        return round(value * 1000)
    if 1e12 <= value < 1e14:
        return round(value)
    return None


def _take_moment(values: dict[str, float], names: Iterable[str]) -> int | None:
    """Take the moment out of a row's values, if one of the columns `names` holds one."""
    time = None
    for name in names:
        moment = moment_of(values[name]) if name in values else None
        if moment is not None:
            del values[name]
            time = moment
    return time
