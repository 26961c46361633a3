"""A series as a chart wants it: whole when short, thinned when long, then only what is new.

Smoothing comes before thinning: a moving average over the extremes of a thinned series would be
another curve, and another one at each zoom. A page smooths what it has whole by itself; what it
has thinned is smoothed here, over every point, from columns that are kept for the next request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from guildlite.runs import Run, RunReader
from guildlite.series import Point, Summary
from guildlite.web.columns import (
    MAX_SMOOTH,
    ColumnCache,
    Columns,
    debiased_mean,
    drawn,
    extremes,
    joined_by_step,
    not_overwritten,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Up to here a series is answered whole: some 60 kB, and smoothed by the page in microseconds.
ANSWERED_WHOLE = 2000
#: Points of a series that may be asked for whole, as columns of numbers: 480 kB.
MOST_WHOLE = 20_000
#: Points that are not finite, marked at a chart's edge.
MOST_MARKS = 1000


#: Numbers of one column, null for what JSON cannot say; as an array, NaN.
Numbers = Union["list[Any]", "NDArray[Any]"]


class Stretch(NamedTuple):
    """Part of an axis: steps, ms since the epoch, or values of another metric."""

    low: float
    high: float
    by_time: bool = False


class Wish(NamedTuple):
    """How a chart wants its series.

    px: width in pixels. whole: up to so many points a series is answered with every one. stretch:
    the part of the axis that is shown. smooth: weight of the moving average, 0 up to 0.999.
    joined: points that a resumed training wrote again are left out. against: key of the series
    that gives the positions instead of the step. arrays: what is answered whole stays arrays.
    """

    px: int = 800
    whole: int = ANSWERED_WHOLE
    stretch: Stretch | None = None
    smooth: float = 0.0
    joined: bool = False
    against: str | None = None
    arrays: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a line, all of one length: steps, values, times in ms or null.

    `at` are positions on the axis where these are neither steps nor times. A value is null where
    the series is not finite, which is a gap.
    """

    x: Numbers
    y: Numbers
    time: Numbers
    at: list[float] | None = None


@dataclass(frozen=True, slots=True)
class SeriesData:
    """One run's series for a chart of some width.

    With `anew` this is the series, else what came after the cursor that was given; `cursor` is the
    one to give next. `x`, `y`, `time` and `at` are as in `Curve`; `non_finite` has step, value as
    a word, and time of the points that are not finite. `sampled` says that not every point is here;
    `smooth` is then the smoothed line, if one was asked for. `start` is when the run began, ms.
    `overwritten` counts points left out because a resumed training wrote their step again,
    `unmatched` those without a value of the other metric at their step.
    """

    run: str
    tag: str
    anew: bool
    cursor: int
    n: int
    min: float | None
    max: float | None
    last: float | None
    x: Numbers
    y: Numbers
    time: Numbers
    at: list[float] | None
    smooth: Curve | None
    non_finite: list[tuple[int, str, int | None]]
    sampled: bool
    start: int | None
    overwritten: int = 0
    unmatched: int = 0


class SeriesSource:
    """Answers for series; keeps the columns of long ones. May be used by several threads."""

    def __init__(self, columns: ColumnCache | None = None) -> None:
        self._columns = columns or ColumnCache()

    def read(
        self, run: Run, reader: RunReader, tag: str, wish: Wish, after: int = -1
    ) -> SeriesData | None:
        """Return a scalar series, None when there is none; raise RunUnreadable.

        after: cursor of an earlier answer; what came since is answered when it is short, else the
        series anew.
        """
        summary = reader.summary(tag)
        if summary is None or summary.kind != "scalar":
            return None
        if wish.against is not None:
            return self._against(run, reader, summary, wish)
        if 0 <= after <= summary.count and summary.count - after <= 4 * wish.px:
            new = reader.series_from(tag, after) if after < summary.count else []
            return _answer(run, summary, _curve(new), _marks(new))
        if summary.count <= max(wish.whole, 2 * wish.px):
            if wish.arrays:
                return _whole(run, summary, self._columns.take(run, reader, summary))
            points = reader.series(tag)
            return _answer(run, summary, _curve(points), _marks(points), anew=True)
        if wish.joined and summary.segments > 1:
            return self._from_columns(run, reader, summary, wish)
        points = _thinned(reader, summary, wish)
        smooth = None
        if wish.smooth:
            columns = self._columns.take(run, reader, summary)
            smooth = smoothed(columns, wish)
        return _answer(
            run, summary, _curve(points), _stray(reader, summary), anew=True, sampled=True,
            smooth=smooth,
        )  # fmt: skip

    def _from_columns(
        self, run: Run, reader: RunReader, summary: Summary, wish: Wish
    ) -> SeriesData:
        """Return a series of which a resumed training wrote a part again, without that part."""
        every = self._columns.take(run, reader, summary)
        kept = every.where(not_overwritten(every.steps))
        return _answer(
            run, summary, _line(kept, kept.values, wish), _marks_of(kept), anew=True, sampled=True,
            smooth=smoothed(kept, wish) if wish.smooth else None,
            overwritten=len(every) - len(kept),
        )  # fmt: skip

    def _against(self, run: Run, reader: RunReader, summary: Summary, wish: Wish) -> SeriesData:
        """Return a series over the values that another one has at the same steps."""
        import numpy as np

        every = self._columns.take(run, reader, summary)
        columns = every.where(not_overwritten(every.steps)) if wish.joined else every
        other = reader.summary(wish.against or "")
        if other is None or other.kind != "scalar":
            at = np.full(len(columns), math.nan)
        else:
            at = joined_by_step(columns.steps, self._columns.take(run, reader, other))
        # Smoothed over every point: a step without a position counts for the curve all the same.
        smooth = debiased_mean(columns.values, wish.smooth) if wish.smooth else None
        placed = np.isfinite(at)
        return _answer(
            run, summary,
            _path(columns, columns.values, at, placed, wish),
            _marks_of(columns), anew=True, sampled=True,
            smooth=None if smooth is None else _path(columns, smooth, at, placed, wish),
            overwritten=len(every) - len(columns),
            unmatched=int(len(placed) - placed.sum()),
        )  # fmt: skip


def _whole(run: Run, summary: Summary, columns: Columns) -> SeriesData:
    line = Curve(columns.steps, columns.values, columns.times)
    return _answer(run, summary, line, _marks_of(columns), anew=True)


def smoothed(columns: Columns, wish: Wish) -> Curve:
    """Return the smoothed line over every point, then thinned."""
    return _line(columns, debiased_mean(columns.values, min(wish.smooth, MAX_SMOOTH)), wish)


def _line(columns: Columns, values: NDArray[np.float64], wish: Wish) -> Curve:
    """Return values of these columns for a chart: of its stretch, thinned to its pixels."""
    if wish.stretch is not None:
        low, high, by_time = wish.stretch
        axis = columns.times if by_time else columns.steps
        inside = (axis >= low) & (axis <= high)
        # One more at each side: the line comes from there.
        inside[:-1] |= inside[1:]
        inside[1:] |= inside[:-1]
        columns, values = columns.where(inside), values[inside]
    indices = drawn(columns, values, wish.px)
    return _chosen(columns, values, indices)


def _path(
    columns: Columns,
    values: NDArray[np.float64],
    at: NDArray[np.float64],
    placed: NDArray[np.bool_],
    wish: Wish,
) -> Curve:
    """Return values over positions that may go back and forth, in the order written."""
    import numpy as np

    chosen = placed & np.isfinite(values)
    if wish.stretch is not None:
        chosen &= (at >= wish.stretch.low) & (at <= wish.stretch.high)
    indices = np.flatnonzero(chosen)
    # Turning points of both axes, else a loop of the path would be cut off.
    kept = np.union1d(extremes(values[indices], wish.px // 2), extremes(at[indices], wish.px // 2))
    indices = indices[kept.astype(int)]
    return _chosen(columns, values, indices, at[indices].tolist())


def _chosen(
    columns: Columns,
    values: NDArray[np.float64],
    indices: NDArray[np.int64],
    at: list[float] | None = None,
) -> Curve:
    return Curve(
        columns.steps[indices].tolist(),
        [_finite(value) for value in values[indices].tolist()],
        [None if time != time else int(time) for time in columns.times[indices].tolist()],
        at,
    )


def _thinned(reader: RunReader, summary: Summary, wish: Wish) -> list[Point]:
    """Return the points of a long series, or of its stretch, that draw the same line."""
    most = 2 * wish.px
    if wish.stretch is None:
        return reader.chart(summary.key, most)
    low, high, by_time = wish.stretch
    return reader.stretch(summary.key, low, high, most, by_time=by_time)


def _stray(reader: RunReader, summary: Summary) -> list[tuple[int, str, int | None]]:
    """Return the points of a long series that are not finite, evenly chosen where these are many.

    A long series is thinned without them.
    """
    if not summary.nan + summary.infinite:
        return []
    return _marks(reader.non_finite(summary.key))


def _curve(points: Sequence[Point]) -> Curve:
    return Curve(
        [point.step for point in points],
        [_finite(point.value) for point in points],
        [point.time for point in points],
    )


def _marks(points: Sequence[Point]) -> list[tuple[int, str, int | None]]:
    return [
        (point.step, _word(point.value), point.time)
        for point in points
        if not math.isfinite(point.value)
    ]


def _marks_of(columns: Columns) -> list[tuple[int, str, int | None]]:
    import numpy as np

    indices = np.flatnonzero(~np.isfinite(columns.values))
    return [
        (int(columns.steps[at]), _word(float(columns.values[at])), _time(float(columns.times[at])))
        for at in indices[:MOST_MARKS].tolist()
    ]


def _answer(
    run: Run,
    summary: Summary,
    line: Curve,
    non_finite: list[tuple[int, str, int | None]],
    *,
    anew: bool = False,
    sampled: bool = False,
    smooth: Curve | None = None,
    overwritten: int = 0,
    unmatched: int = 0,
) -> SeriesData:
    began = run.started_at
    return SeriesData(
        run=run.id,
        tag=summary.key,
        anew=anew,
        cursor=summary.count,
        n=summary.count,
        min=_finite(summary.min),
        max=_finite(summary.max),
        last=_finite(summary.last),
        x=line.x,
        y=line.y,
        time=line.time,
        at=line.at,
        smooth=smooth,
        non_finite=non_finite,
        sampled=sampled,
        start=summary.first_time if began is None else round(began * 1000),
        overwritten=overwritten,
        unmatched=unmatched,
    )


def _time(time: float) -> int | None:
    return None if time != time else int(time)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _word(value: float) -> str:
    return "nan" if value != value else "inf" if value > 0 else "-inf"
