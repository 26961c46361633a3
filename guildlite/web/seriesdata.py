"""A series as a chart wants it: whole when short, thinned when long, then only what is new.

Smoothing comes before thinning: a moving average over the extremes of a thinned series would be
another curve, and another one at each zoom. A page smooths what it has whole by itself; what it
has thinned is smoothed here, over every point, from columns that are kept for the next request.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from guildlite.runs import Run, RunReader
from guildlite.series import Point, PointColumns, Summary
from guildlite.web import charts
from guildlite.web.cards import WHOLE_POINTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Up to here a series is answered whole: some 60 kB, and smoothed by the page in microseconds.
ANSWERED_WHOLE = 2000
MAX_SMOOTH = 0.999
#: Points kept in memory for smoothing, at 24 bytes.
_CACHED_POINTS = 4_000_000
#: Rows of one matrix product of the moving average.
_BLOCK = 128


class Stretch(NamedTuple):
    """Part of an axis: steps, or ms since the epoch."""

    low: float
    high: float
    by_time: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a line: steps, values, and times in ms or null; all of one length."""

    x: list[int]
    y: list[float]
    time: list[int | None]


@dataclass(frozen=True, slots=True)
class SeriesData:
    """One run's series for a chart of some width.

    With `anew` this is the series, else what came after the cursor that was given; `cursor` is the
    one to give next. `x` are steps, `y` values, `time` ms or null; `non_finite` has step, value as
    a word, and time of the points that are not finite. `sampled` says that not every point is here;
    `smooth` is then the smoothed line, if one was asked for. `start` is when the run began, ms.
    """

    run: str
    tag: str
    anew: bool
    cursor: int
    n: int
    min: float | None
    max: float | None
    last: float | None
    x: list[int]
    y: list[float]
    time: list[int | None]
    smooth: Curve | None
    non_finite: list[tuple[int, str, int | None]]
    sampled: bool
    start: int | None


class SeriesSource:
    """Answers for series; keeps the columns of long ones. May be used by several threads."""

    def __init__(self) -> None:
        self._columns: OrderedDict[tuple[Path, str, str], _Columns] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self,
        run: Run,
        reader: RunReader,
        tag: str,
        *,
        px: int,
        after: int = -1,
        stretch: Stretch | None = None,
        smooth: float = 0.0,
    ) -> SeriesData | None:
        """Return a scalar series, None when there is none; raise RunUnreadable.

        px: width of the chart in pixels. after: cursor of an earlier answer; what came since is
        answered when it is short, else the series anew. smooth: 0 up to 0.999.
        """
        summary = reader.summary(tag)
        if summary is None or summary.kind != "scalar":
            return None
        if 0 <= after <= summary.count and summary.count - after <= 4 * px:
            new = reader.series_from(tag, after) if after < summary.count else []
            return _answer(run, summary, new, [p for p in new if math.isfinite(p.value)])
        most = max(WHOLE_POINTS, 2 * px)
        if stretch is None:
            points = reader.chart(tag, most)
        else:
            points = reader.stretch(tag, *stretch[:2], most, by_time=stretch.by_time)
        whole = len(points) == summary.count and len(points) <= max(ANSWERED_WHOLE, 2 * px)
        limit = len(points) if whole else 2 * px
        kept = [point for part in charts.thin(points, limit) for point in part]
        curve = None
        if smooth and not whole:
            curve = self._smoothed(run, reader, summary, smooth, stretch, px)
        return _answer(run, summary, points, kept, anew=True, sampled=not whole, smooth=curve)

    def _smoothed(
        self,
        run: Run,
        reader: RunReader,
        summary: Summary,
        weight: float,
        stretch: Stretch | None,
        px: int,
    ) -> Curve:
        columns = self._take(run, reader, summary)
        return columns.smoothed(min(weight, MAX_SMOOTH), stretch, px)

    def _take(self, run: Run, reader: RunReader, summary: Summary) -> _Columns:
        """Return the columns of a series, read as far as run.db is now."""
        at = (run.paths.db, run.uid or "", summary.key)
        with self._lock:
            found = self._columns.pop(at, None)
        if found is None or found.count > summary.count:
            found = _Columns()
        if found.count < summary.count:
            found.append(reader.columns_from(summary.key, found.count))
        with self._lock:
            self._columns[at] = found
            while len(self._columns) > 1 and self._total() > _CACHED_POINTS:
                self._columns.popitem(last=False)
        return found

    def _total(self) -> int:
        return sum(columns.count for columns in self._columns.values())


class _Columns:
    """Every point of a series as arrays; a thread holds it alone while it appends."""

    def __init__(self) -> None:
        import numpy as np

        self.steps: NDArray[np.int64] = np.empty(0, np.int64)
        self.times: NDArray[np.float64] = np.empty(0, np.float64)
        self.values: NDArray[np.float64] = np.empty(0, np.float64)

    @property
    def count(self) -> int:
        return len(self.values)

    def append(self, points: PointColumns) -> None:
        import numpy as np

        # As floats an unknown time, None, becomes NaN.
        self.steps = np.concatenate([self.steps, np.array(points.steps, np.int64)])
        self.times = np.concatenate([self.times, np.array(points.times, np.float64)])
        self.values = np.concatenate([self.values, np.array(points.values, np.float64)])

    def smoothed(self, weight: float, stretch: Stretch | None, px: int) -> Curve:
        import numpy as np

        steps, times, values = self.steps, self.times, self.values
        smooth = debiased_mean(values, weight)
        chosen = np.isfinite(smooth)
        if stretch is not None:
            axis = times if stretch.by_time else steps
            chosen &= (axis >= stretch.low) & (axis <= stretch.high)
        indices = np.flatnonzero(chosen)
        indices = indices[extremes(smooth[indices], px)]
        return Curve(
            steps[indices].tolist(),
            smooth[indices].tolist(),
            [None if time != time else int(time) for time in times[indices].tolist()],
        )


def debiased_mean(values: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Return the exponential moving average without the pull to zero at its start.

    values: any length, in order. weight: what the past counts, 0 up to 0.999. A value that is not
    finite stays what it is and counts for nothing. The correction is that of Kingma and Ba, "Adam"
    (2015), section 3. Computed block by block as a product with the matrix of the weights' powers.
    """
    import numpy as np

    finite = np.isfinite(values)
    taken = values[finite]
    n = len(taken)
    powers = weight ** np.arange(1, _BLOCK + 1, dtype=np.float64)
    lags = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    matrix = np.where(lags >= 0, (1 - weight) * weight ** np.maximum(lags, 0).astype(float), 0.0)
    padded = np.zeros(-(-n // _BLOCK) * _BLOCK)
    padded[:n] = taken
    # Large values against each other are the caller's; what overflows is infinite, as in numbers.
    with np.errstate(over="ignore", invalid="ignore"):
        means = padded.reshape(-1, _BLOCK) @ matrix.T
        carried = 0.0
        carries = np.empty(len(means))
        for index, last in enumerate(means[:, -1].tolist()):
            carries[index] = carried
            carried = carried * float(powers[-1]) + last
        means += np.outer(carries, powers)
        debiased = means.reshape(-1)[:n]
        # Beyond these the correction is below what a float can tell.
        few = min(n, math.ceil(-40.0 / math.log(weight)) if weight > 0 else 1)
        debiased[:few] /= 1.0 - weight ** np.arange(1, few + 1, dtype=np.float64)
    result = values.copy()
    result[finite] = debiased
    return result


def extremes(values: NDArray[np.float64], buckets: int) -> NDArray[np.int64]:
    """Return the indices of each bucket's smallest and largest value and of both ends, rising."""
    import numpy as np

    n = len(values)
    if n <= 2 * buckets:
        return np.arange(n)
    per = n // buckets
    whole = per * buckets
    rows = values[:whole].reshape(buckets, per)
    base = np.arange(buckets) * per
    found = [np.array([0, n - 1]), base + rows.argmin(axis=1), base + rows.argmax(axis=1)]
    if whole < n:
        rest = values[whole:]
        found.append(np.array([whole + rest.argmin(), whole + rest.argmax()]))
    return np.unique(np.concatenate(found))


def _answer(
    run: Run,
    summary: Summary,
    points: Sequence[Point],
    kept: Sequence[Point],
    *,
    anew: bool = False,
    sampled: bool = False,
    smooth: Curve | None = None,
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
        x=[point.step for point in kept],
        y=[point.value for point in kept],
        time=[point.time for point in kept],
        smooth=smooth,
        non_finite=[
            (point.step, _word(point.value), point.time)
            for point in points
            if not math.isfinite(point.value)
        ],
        sampled=sampled,
        start=summary.first_time if began is None else round(began * 1000),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _word(value: float) -> str:
    return "nan" if value != value else "inf" if value > 0 else "-inf"
