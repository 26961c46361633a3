"""Runs with the same value of a flag as one curve: their mean, and a band of how far they lie.

Computed from every point of every run, and each group from its own runs only, so that a curve
never changes because another one is shown or because something was thinned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.http import RequestError
from guildlite.runs import Run
from guildlite.web.columns import (
    MAX_SMOOTH,
    ColumnCache,
    Columns,
    debiased_mean,
    extremes,
    not_overwritten,
)
from guildlite.web.seriesdata import Stretch
from guildlite.web.workspace import natural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BANDS = ("std", "sem", "minmax")
AXES = ("step", "relative", "wall")
#: What runs can be put together by, besides a flag as `flag.NAME`.
_ATTRIBUTES = ("model", "operation", "label")


@dataclass(frozen=True, slots=True)
class GroupCurve:
    """The mean of some runs and a band around it; all lists of one length.

    `value` is what the runs have in common, null where it is not set. `x` are steps, seconds since
    the start, or ms since the epoch. `n` says how many runs had a value there: a run counts from
    its first point to its last. `aligned` says that all runs have the same positions, so that
    nothing was interpolated.
    """

    value: str | None
    runs: list[str]
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    n: list[int]
    aligned: bool


class Line(NamedTuple):
    """One run's curve: positions that rise, and values, which may be NaN."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


class Mean(NamedTuple):
    """Arrays of one length; see `GroupCurve`."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]
    aligned: bool


def read_groups(
    runs: Sequence[Run],
    tag: str,
    columns: ColumnCache,
    *,
    by: str,
    axis: str = "step",
    band: str = "std",
    px: int = 800,
    smooth: float = 0.0,
    stretch: Stretch | None = None,
) -> list[GroupCurve]:
    """Return the curves of a series by what its runs have in common, in order of that value.

    A run without the series, or that cannot be read, belongs to no group.
    """
    members: dict[str | None, list[Run]] = {}
    for run in runs:
        members.setdefault(value_of(run, by), []).append(run)
    found = []
    for value in sorted(members, key=_in_order):
        lines = []
        named = []
        for run in members[value]:
            line = _read_line(run, tag, columns, axis, smooth)
            if line is not None:
                lines.append(line)
                named.append(run.id)
        if lines:
            found.append(_curve(value, named, mean_of(lines, band), px, stretch))
    return found


def _in_order(value: str | None) -> tuple[bool, bool, float, list[tuple[int, int, str]]]:
    """Sort key of a group: numbers by size, then words, then the runs without any."""
    try:
        number = float(value or "nan")
    except ValueError:
        number = math.nan
    words = number != number
    return value is None, words, 0.0 if words else number, natural(value or "")


def value_of(run: Run, by: str) -> str | None:
    """Return what a run is grouped by: a flag's value, its model, operation or label."""
    if by.startswith("flag."):
        return run.flags.get(by.removeprefix("flag."))
    if by not in _ATTRIBUTES:
        raise RequestError(
            "runs cannot be grouped by that",
            field="by",
            expected=f"flag.NAME, {', '.join(_ATTRIBUTES)}",
            got=by[:100],
        )
    return str(getattr(run, by) or "") or None


def _read_line(run: Run, tag: str, cache: ColumnCache, axis: str, smooth: float) -> Line | None:
    try:
        with run.read() as reader:
            summary = reader.summary(tag)
            if summary is None:
                return None
            columns = cache.take(run, reader, summary)
    except RunUnreadable:
        return None
    columns = columns.where(not_overwritten(columns.steps))
    if not len(columns):
        return None
    began = run.started_at
    start = None if began is None else began * 1000
    return line_of(columns, axis, start, smooth)


def line_of(
    columns: Columns, axis: str, start_ms: float | None, smooth: float = 0.0
) -> Line | None:
    """Return a run's curve over steps, or over the times that are known; None without any.

    Of several values at one position the last one counts.
    """
    import numpy as np

    values = debiased_mean(columns.values, min(smooth, MAX_SMOOTH)) if smooth else columns.values
    if axis == "step":
        at = columns.steps.astype(np.float64)
    else:
        at = columns.times
        if axis == "relative":
            known = at[~np.isnan(at)]
            zero = start_ms if start_ms is not None else (known[0] if len(known) else 0.0)
            at = (at - zero) / 1000
    known = ~np.isnan(at)
    at, values = at[known], values[known]
    if not len(at):
        return None
    # Clocks are set back at times.
    at = np.maximum.accumulate(at)
    last = np.append(at[1:] != at[:-1], True)
    return Line(at[last], np.where(np.isfinite(values), values, math.nan)[last])


def mean_of(lines: Sequence[Line], band: str = "std") -> Mean:
    """Return the mean of curves and a band around it.

    Where all have the same positions these are compared point by point. Else each is interpolated
    linearly between its own points at the positions of all; a curve counts from its first point to
    its last, never beyond. band: `std` is the sample standard deviation (n - 1), `sem` that
    divided by the root of n, both 0 for a single curve; `minmax` the smallest and largest.
    """
    import numpy as np

    first = lines[0].x
    aligned = all(np.array_equal(line.x, first) for line in lines[1:])
    x = first if aligned else np.unique(np.concatenate([line.x for line in lines]))

    def at_all(line: Line) -> NDArray[np.float64]:
        if len(line.x) == len(x):
            return line.y
        finite = np.isfinite(line.y)
        if not finite.any():
            return np.full(len(x), math.nan)
        return np.interp(x, line.x[finite], line.y[finite], left=math.nan, right=math.nan)

    # Passes over one curve at a time: a table of positions times curves may not fit in memory.
    n = np.zeros(len(x), np.int64)
    total = np.zeros(len(x))
    low, high = np.full(len(x), math.inf), np.full(len(x), -math.inf)
    for line in lines:
        values = at_all(line)
        there = np.isfinite(values)
        n += there
        total += np.where(there, values, 0.0)
        low, high = np.fmin(low, values), np.fmax(high, values)
    some = n > 0
    mean = np.where(some, total / np.maximum(n, 1), math.nan)
    if band != "minmax":
        squares = np.zeros(len(x))
        for line in lines:
            away = at_all(line) - mean
            squares += np.where(np.isfinite(away), away * away, 0.0)
        spread = np.sqrt(squares / np.maximum(n - 1, 1))
        if band == "sem":
            spread /= np.sqrt(np.maximum(n, 1))
        low, high = mean - spread, mean + spread
    return Mean(x[some], mean[some], low[some], high[some], n[some], aligned)


def _curve(
    value: str | None, runs: list[str], found: Mean, px: int, stretch: Stretch | None
) -> GroupCurve:
    import numpy as np

    columns: list[NDArray[Any]] = [found.x, found.mean, found.low, found.high, found.n]
    if stretch is not None:
        inside = (found.x >= stretch.low) & (found.x <= stretch.high)
        inside[:-1] |= inside[1:]
        inside[1:] |= inside[:-1]
        columns = [column[inside] for column in columns]
    kept = np.unique(
        np.concatenate([extremes(column, max(1, px // 2)) for column in columns[1:4]])
    ).astype(int)
    x, mean, low, high, n = (column[kept].tolist() for column in columns)
    return GroupCurve(value, runs, x, mean, low, high, n, found.aligned)
