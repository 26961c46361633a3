"""A run as tables: CSV for pandas, R and spreadsheets, or JSON lines; one file a kind of value.

Every file is long: one row is one observation, and `key` says of which series. A file without rows
is not written, except for `scalars`. Images and clips become files of their own, named by `files`.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from guildlite.runs.media import MediaItem, MediaSeries
from guildlite.tfevents import BadContent, ContentLost
from guildlite.tfevents.contents import Audio, Content, Histogram, Images, PrCurve, Text
from guildlite.transfer.stored import Exported, StoredRun

Cell = str | int | float | bool | None
Row = Sequence[Cell]

_POINT = ("key", "step", "time", "segment")
#: File → its columns.
COLUMNS: dict[str, tuple[str, ...]] = {
    "scalars": ("key", "step", "time", "value", "segment"),
    "flags": ("name", "value"),
    "attrs": ("name", "value"),
    "hparams": ("session", "name", "value"),
    "texts": (*_POINT, "index", "text"),
    "histograms": (*_POINT, "left", "right", "count"),
    "pr_curves": (
        *_POINT, "threshold", "true_positives", "false_positives", "true_negatives",
        "false_negatives", "precision", "recall",
    ),
    "files": (*_POINT, "index", "kind", "path"),
}  # fmt: skip
#: Directory of images and clips.
FILES_DIR = "files"
#: Longest name of a series that goes into a file name.
_MOST_NAME = 80


def write_tables(
    stored: StoredRun,
    directory: Path,
    form: str,
    wanted: Callable[[str], bool],
    exported: Exported,
) -> None:
    """Write a run into `directory` as `csv` or `jsonl`; raises OSError and RunUnreadable."""
    with ExitStack() as stack:
        tables = _Tables(directory, form, stack)
        tables.write("flags", stored.flags().items())
        tables.write("attrs", stored.attrs().items())
        for session in stored.sessions():
            tables.write("hparams", ((session.session, *each) for each in session.values.items()))
        tables.open("scalars")
        for key in filter(wanted, stored.scalar_keys()):
            exported.series += 1
            exported.points += tables.write("scalars", _scalar_rows(stored, key))
        media = _MediaTables(tables, stored, directory, exported)
        for number, series in enumerate(filter(lambda each: wanted(each.key), stored.media()), 1):
            media.write_series(series, number)


def _scalar_rows(stored: StoredRun, key: str) -> Iterator[Row]:
    for step, time, value, segment in stored.points(key):
        yield key, step, iso_moment(time), math.nan if value is None else value, segment


# Files --------------------------------------------------------------------------------------------


class _Tables:
    """The tables of one export, each opened with its first row; `stack` closes them."""

    def __init__(self, directory: Path, form: str, stack: ExitStack) -> None:
        self._directory, self._form, self._stack = directory, form, stack
        self._writers: dict[str, Callable[[Row], object]] = {}

    def write(self, name: str, rows: Iterable[Row]) -> int:
        """Add rows to a table and return how many there were."""
        count = 0
        for count, row in enumerate(rows, 1):  # noqa: B007
            if name not in self._writers:
                self.open(name)
            self._writers[name](row)
        return count

    def open(self, name: str) -> None:
        """Begin a table, even if there will be no rows."""
        path = self._directory / f"{name}.{self._form}"
        file = self._stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        begin = _begin_csv if self._form == "csv" else _begin_jsonl
        self._writers[name] = begin(file, COLUMNS[name])


def _begin_csv(file: TextIO, columns: Sequence[str]) -> Callable[[Row], object]:
    # `\n` rather than the library's `\r\n`: line counts and `diff` work, and every reader takes it.
    write_row = csv.writer(file, lineterminator="\n").writerow
    write_row(columns)
    return lambda row: write_row([_csv_cell(each) for each in row])


def _csv_cell(value: Cell) -> str | int | float | None:
    """Return a cell; what is no finite number is spelled so that pandas, R and Python know it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Inf" if value > 0 else "-Inf"
    return value


def _begin_jsonl(file: TextIO, columns: Sequence[str]) -> Callable[[Row], object]:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

    def write_row(row: Row) -> None:
        cells = dict(zip(columns, map(_json_cell, row), strict=True))
        file.write(encode(cells) + "\n")

    return write_row


def _json_cell(value: Cell) -> Cell:
    """Return a value that JSON has: NaN as null, infinities as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


_EPOCH = datetime(1970, 1, 1)


def iso_moment(at: int | None) -> str | None:
    """Return a moment in ms since the epoch as ISO 8601 in UTC; None beyond the calendar."""
    if at is None:
        return None
    second = _iso_second(at // 1000)
    return None if second is None else f"{second}.{at % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _iso_second(seconds: int) -> str | None:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return None


# What is no scalar --------------------------------------------------------------------------------


class _MediaTables:
    """Writes series that are no scalars into tables and files."""

    def __init__(
        self, tables: _Tables, stored: StoredRun, directory: Path, exported: Exported
    ) -> None:
        self._tables, self._stored = tables, stored
        self._directory, self._exported = directory, exported

    def write_series(self, series: MediaSeries, number: int) -> None:
        """Write one series; `number` tells its files from those of a like name."""
        if series.kind == "hparams":
            return  # what they say is in the table of that name
        if series.kind not in _KINDS:
            left_out = self._exported.left_out
            left_out[series.kind] = left_out.get(series.kind, 0) + series.count
            return
        self._exported.series += 1
        folder = f"{number:04d}-{_plain_name(series.key)}"
        for item in self._stored.items(series.key):
            try:
                content = self._stored.content(item)
            except (ContentLost, BadContent) as error:
                self._exported.lost.append(
                    f"{item.kind} `{item.key}` at step {item.step}: {error.message}"
                )
                continue
            self._exported.media += 1
            self._write_item(item, content, folder)

    def _write_item(self, item: MediaItem, content: Content, folder: str) -> None:
        point = (item.key, item.step, iso_moment(item.time), item.segment)
        if isinstance(content, Text):
            self._tables.write("texts", ((*point, *each) for each in enumerate(content.texts)))
        elif isinstance(content, Histogram):
            self._tables.write("histograms", ((*point, *bucket) for bucket in content.buckets))
        elif isinstance(content, PrCurve):
            self._tables.write("pr_curves", ((*point, *each) for each in _thresholds(content)))
        elif isinstance(content, Images):
            self._write_files(item, point, folder, content.images)
        elif isinstance(content, Audio):
            self._write_files(item, point, folder, content.clips)

    def _write_files(
        self, item: MediaItem, point: tuple[Cell, ...], folder: str, contents: list[bytes]
    ) -> None:
        (self._directory / FILES_DIR / folder).mkdir(parents=True, exist_ok=True)
        for index, data in enumerate(contents):
            name = f"{FILES_DIR}/{folder}/{item.seq:06d}-{index}{_suffix(data)}"
            (self._directory / name).write_bytes(data)
            self._tables.write("files", [(*point, index, item.kind, name)])


_KINDS = ("text", "histogram", "pr_curve", "image", "audio")


def _thresholds(curve: PrCurve) -> Iterator[tuple[float, ...]]:
    last = max(len(curve.precision) - 1, 1)
    rows = zip(
        curve.true_positives, curve.false_positives, curve.true_negatives, curve.false_negatives,
        curve.precision, curve.recall, strict=True,
    )  # fmt: skip
    return ((nth / last, *row) for nth, row in enumerate(rows))


def _plain_name(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", key)[:_MOST_NAME].strip("._") or "series"


#: How encoded images and clips begin → what their files are called.
_SUFFIXES = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".wav",
    b"OggS": ".ogg",
    b"fLaC": ".flac",
    b"ID3": ".mp3",
}


def _suffix(data: bytes) -> str:
    if data[8:12] == b"WEBP":
        return ".webp"
    return next((name for start, name in _SUFFIXES.items() if data.startswith(start)), ".bin")
