"""The metrics of one run on a terminal: values, the steps they came at, and a small curve."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from guildlite.cli.output import Cell, Column, for_terminal, table
from guildlite.series import Point, Summary
from guildlite.wording import format_number

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 10


def metric_table(
    summaries: Sequence[Summary],
    charts: Mapping[str, Sequence[Point]],
    patterns: Mapping[str, str | None],
    width: int | None,
) -> list[str]:
    """Return the lines of the table, at most `width` columns wide (None: as wide as it is).

    `charts` are some points of each series, `patterns` the formats of the project file.
    """
    curves = {each.key: curve(charts.get(each.key, ())) for each in summaries}
    heads = [
        Column("metric", least=24),
        Column("curve", rank=4),
        Column("last", ">"),
        Column("step", ">", rank=3),
        Column("min", ">", rank=2),
        Column("step", ">", rank=6),
        Column("max", ">", rank=1),
        Column("step", ">", rank=5),
        Column("points", ">", rank=7),
    ]
    rows = [_row(each, curves[each.key], patterns.get(each.key)) for each in summaries]
    return table(heads, rows, width)


def _row(each: Summary, drawn: str, pattern: str | None) -> list[Cell]:
    cells = [for_terminal(each.key), drawn]
    for value, step in (
        (each.last, each.last_step),
        (each.min, each.min_step),
        (each.max, each.max_step),
    ):
        cells += [format_number(value, pattern), "" if step is None else f"{step:,}"]
    return [Cell(text) for text in (*cells, f"{each.count:,}")]


def curve(points: Sequence[Point], width: int = _WIDTH) -> str:
    """Return the course of a series as blocks, `width` of them from its first step to its last.

    A block stands for the mean of the points at its place, a space for none; NaN and infinities
    are left out. Empty for fewer than two points, and where the terminal cannot write blocks.
    """
    finite = [point for point in points if math.isfinite(point.value)]
    if len(finite) < 2 or not _can_write_blocks():
        return ""
    first, last = min(p.step for p in finite), max(p.step for p in finite)
    low, high = min(p.value for p in finite), max(p.value for p in finite)
    # Fewer points than places would leave gaps that mean nothing.
    width = min(width, len({point.step for point in finite}))
    places: list[list[float]] = [[] for _ in range(width)]
    for point in finite:
        share = (point.step - first) / (last - first) if last > first else 0.0
        places[min(width - 1, int(share * width))].append(point.value)
    text = "".join(_block(values, low, high) for values in places)
    return text if len(text.strip()) > 1 else ""


def _block(values: Sequence[float], low: float, high: float) -> str:
    if not values:
        return " "
    # Divided before they are added: the sum of large values is infinite.
    mean = sum(value / len(values) for value in values)
    share = mean / 2 - low / 2, high / 2 - low / 2
    level = share[0] / share[1] if share[1] > 0 else 0.0
    return _BLOCKS[min(len(_BLOCKS) - 1, max(0, int(level * len(_BLOCKS))))]


def _can_write_blocks() -> bool:
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
