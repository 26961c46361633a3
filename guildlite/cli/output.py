"""How values look on a terminal and in JSON: text, tables, colour, numbers, times.

Everything a run says of itself (names, labels, flags, output) passes `for_terminal` before it is
printed, so that no file can move a cursor or hide a word. Colour only repeats what a word says.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

# Text ---------------------------------------------------------------------------------------------

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
#: Marks that change the direction of text or are not seen: they can make a line read as another.
_HIDDEN = (0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
_ESCAPES = {
    **_CONTROLS,
    **{code: f"\\u{code:04x}" for code in _HIDDEN},
    **{code: f"\\x{code - 0xDC00:02x}" for code in range(0xDC80, 0xDD00)},
    0x09: "\\t",
    0x0A: "\\n",
    0x0D: "\\r",
}


def for_terminal(text: object) -> str:
    """Return text in which every character that is not seen as itself is written as an escape.

    C0, C1 and DEL, bidirectional and invisible marks, and bytes of file names that are no UTF-8.
    """
    plain = str(text)
    # Nearly all text is printable, and this check is ten times faster than the translation.
    return plain if plain.isprintable() else plain.translate(_ESCAPES)


def cell_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def fit(text: str, width: int) -> str:
    """Return `text` in at most `width` columns, cut with an ellipsis where it is longer."""
    if cell_width(text) <= width:
        return text
    kept, used = [], 1
    for char in text:
        used += cell_width(char)
        if used > width:
            break
        kept.append(char)
    return "".join(kept) + "…" if width > 0 else ""


# Terminal -----------------------------------------------------------------------------------------


def terminal_width() -> int | None:
    """Return the columns of the terminal on stdout; None when stdout is none: do not cut then."""
    if not sys.stdout.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


def coloured(text: str, colour: str | None, stream: TextIO | None = None) -> str:
    """Return text in a colour where `stream` (stdout) is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stdout
    if colour is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if stream.isatty() else text


#: Status → icon, colour. The word always follows the icon.
_STATUSES = {
    "pending": ("○", None),
    "running": ("●", "blue"),
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "stopped": ("■", "yellow"),
    "lost": ("?", "yellow"),
    "unreadable": ("!", "red"),
}


def status_text(status: str) -> str:
    """Return icon and word of a status; where the terminal cannot write icons, the word."""
    icon = _STATUSES.get(status, (" ", None))[0]
    try:
        icon.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return status
    return f"{icon} {status}"


def status_colour(status: str) -> str | None:
    """Return the colour of a status, for `coloured`."""
    return _STATUSES.get(status, ("", None))[1]


# Tables -------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column: its head, `align` ("<" or ">"), the width below which it is dropped rather than
    cut (None: never cut), and `rank`: the highest is dropped first where space is short, 0 never.
    """

    head: str
    align: str = "<"
    least: int | None = None
    rank: int = 0


class Cell(NamedTuple):
    """A cell: text safe for a terminal, and its colour."""

    text: str
    colour: str | None = None


_GAP = 2


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int | None
) -> list[str]:
    """Return the lines of a table, head first, none wider than `width` (None: as wide as it is).

    Where space is short, columns are first cut down to their `least`, then dropped, the highest
    rank first. Columns without any text are left out.
    """
    widths = {}
    for index, column in enumerate(columns):
        widest = max((cell_width(row[index].text) for row in rows), default=0)
        if widest or column.rank == 0:
            widths[index] = max(widest, cell_width(column.head))
    if width is not None:
        _squeeze(columns, widths, width)
    cells = [[Cell(column.head, "dim") for column in columns], *rows]
    return [_line(columns, widths, row) for row in cells]


def _squeeze(columns: Sequence[Column], widths: dict[int, int], width: int) -> None:
    def over() -> int:
        return sum(widths.values()) + _GAP * (len(widths) - 1) - width

    while over() > 0:
        droppable = [index for index in widths if columns[index].rank > 0]
        cuttable = [
            index
            for index in widths
            if (least := columns[index].least) is not None and widths[index] > least
        ]
        spare = sum(widths[index] - (columns[index].least or 0) for index in cuttable)
        if droppable and spare < over():
            del widths[max(droppable, key=lambda index: (columns[index].rank, index))]
            continue
        if not cuttable:
            return
        widest = max(cuttable, key=lambda index: widths[index])
        widths[widest] -= 1


def _line(columns: Sequence[Column], widths: Mapping[int, int], row: Sequence[Cell]) -> str:
    parts = []
    last = max(widths, default=0)
    for index, width in widths.items():
        cell = row[index]
        text = fit(cell.text, width)
        padding = " " * (width - cell_width(text))
        shown = coloured(text, cell.colour)
        if columns[index].align == ">":
            parts.append(padding + shown)
        else:
            parts.append(shown if index == last else shown + padding)
    return (" " * _GAP).join(parts).rstrip()


# Values -------------------------------------------------------------------------------------------


def format_json(value: Any) -> str:
    """Return one line of JSON: NaN as null, infinities as the strings "Infinity", "-Infinity"."""
    import json

    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        plain = _without_specials(value)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _without_specials(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_specials(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_specials(item) for item in value]
    if isinstance(value, float):
        if value != value:
            return None
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
    return value


def format_number(value: float | None, pattern: str | None = None) -> str:
    """Return a number for people: by a pattern such as `0.0%`, else in five digits.

    NaN is `nan`, None (NaN in run.db) too.
    """
    if value is None or value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return str(value)
    if pattern is not None:
        return _by_pattern(value, pattern)
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.5g}"


def _by_pattern(value: float, pattern: str) -> str:
    """Return a value by a number format: `0.0%`, `#,##0`, `0.000e+0`-less plain decimals."""
    percent = pattern.endswith("%")
    digits = len(pattern.rstrip("%").partition(".")[2])
    comma = "," if "," in pattern else ""
    return f"{value * 100 if percent else value:{comma}.{digits}f}" + ("%" if percent else "")


def format_duration(seconds: float | None) -> str:
    """Return a duration in at most two units: `0.4s`, `12s`, `1m 04s`, `3h 07m`, `2d 05h`."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    for size, unit, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // smaller:02d}{small}"
    return f"{whole // 60}m {whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def format_ago(moment: float | None, now: float) -> str:
    """Return how long ago a moment (seconds since the epoch) was: `now`, `5m ago`, `3d ago`."""
    if moment is None:
        return ""
    seconds = now - moment
    if seconds < -60:
        return "in the future"  # a clock that was set back, or another machine's
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return f"{int(seconds)}s ago" if seconds >= 5 else "now"


def format_moment(moment: float | None) -> str:
    """Return a moment in local time, to the second: `2026-11-20 17:45:01`."""
    if moment is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def iso_utc(moment: float | None) -> str | None:
    """Return a moment as ISO 8601 in UTC with milliseconds, or None: what `--json` prints."""
    if moment is None:
        return None
    ms = int(moment * 1000 + 0.5)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def format_size(size_bytes: float) -> str:
    """Return a size in the unit that suits it: `512 B`, `3.4 MB` (powers of 1000)."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 run`, `3 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def aligned(pairs: Iterable[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Return `name  value` lines with the values below one another."""
    pairs = list(pairs)
    width = max((cell_width(name) for name, _ in pairs), default=0)
    return [f"{indent}{name}{' ' * (width - cell_width(name))}  {value}" for name, value in pairs]
