"""How things are laid out on a terminal and in JSON: safe text, tables, colour.

Everything a run says of itself (names, labels, flags, output) passes `for_terminal` before it is
printed, so that no file can move a cursor or hide a word. Colour only repeats what a word says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from guildlite.wording import visible

if TYPE_CHECKING:
    from guildlite.runs import Run

# Text ---------------------------------------------------------------------------------------------


def for_terminal(text: object) -> str:
    """Return text in which every character that is not seen as itself is written as an escape.

    C0, C1 and DEL, bidirectional and invisible marks, and bytes of file names that are no UTF-8.
    """
    return visible(str(text))


def cell_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    # Accents, and joiners between letters, take no room of their own.
    return sum(
        0 if category(char) in ("Mn", "Me", "Cf") else 2 if east_asian_width(char) in "WF" else 1
        for char in text
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


def relative(path: os.PathLike[str]) -> str:
    """Return a path as it is typed here: relative to this directory where that is not far."""
    found = os.path.relpath(path)
    return os.fspath(path) if found.startswith("../..") else found


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


def status_of(run: Run) -> str:
    """Return the word for a run's status; `unreadable` where its files are damaged."""
    return "unreadable" if run.error else run.status.value


def status_text(status: str) -> str:
    """Return icon and word of a status; where the terminal cannot write icons, the word."""
    icon = _STATUSES.get(status, (" ", None))[0]
    try:
        icon.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return status
    return f"{icon} {status}"


def coloured_status(status: str, stream: TextIO | None = None) -> str:
    """Return icon and word of a status in its colour, as `coloured`."""
    return coloured(status_text(status), status_colour(status), stream)


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


def aligned(pairs: Iterable[tuple[str, str]], indent: str = "  ") -> list[str]:
    """Return `name  value` lines with the values below one another."""
    pairs = list(pairs)
    width = max((cell_width(name) for name, _ in pairs), default=0)
    return [f"{indent}{name}{' ' * (width - cell_width(name))}  {value}" for name, value in pairs]


# JSON ---------------------------------------------------------------------------------------------


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
