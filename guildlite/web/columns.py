"""Whole series as arrays: kept between requests, smoothed, thinned, joined by step.

What must look at every point, as a moving average does, works on these and not on what is drawn.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from guildlite.runs import Run, RunReader
from guildlite.series import PointColumns, Summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SMOOTH = 0.999
#: Points kept in memory, at 24 bytes.
_CACHED_POINTS = 4_000_000
#: Rows of one matrix product of the moving average.
_BLOCK = 128


class Columns:
    """Every point of a series as arrays of one length, in the order written.

    `steps` int64; `times` in ms, NaN where unknown; `values` float64.
    """

    __slots__ = ("steps", "times", "values")

    def __init__(
        self,
        steps: NDArray[np.int64],
        times: NDArray[np.float64],
        values: NDArray[np.float64],
    ) -> None:
        self.steps, self.times, self.values = steps, times, values

    @classmethod
    def of(cls, points: PointColumns) -> Columns:
        import numpy as np

        # As floats an unknown time, None, becomes NaN.
        return cls(
            np.array(points.steps, np.int64),
            np.array(points.times, np.float64),
            np.array(points.values, np.float64),
        )

    def __len__(self) -> int:
        return len(self.values)

    def followed_by(self, points: PointColumns) -> Columns:
        """Return these points and then those; nobody's arrays change."""
        import numpy as np

        more = Columns.of(points)
        return Columns(
            np.concatenate([self.steps, more.steps]),
            np.concatenate([self.times, more.times]),
            np.concatenate([self.values, more.values]),
        )

    def where(self, chosen: NDArray[np.bool_]) -> Columns:
        return Columns(self.steps[chosen], self.times[chosen], self.values[chosen])


class ColumnCache:
    """The columns of series that were asked for; may be used by several threads."""

    def __init__(self, most: int = _CACHED_POINTS) -> None:
        self._kept: OrderedDict[tuple[Path, str, str], Columns] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most

    def take(self, run: Run, reader: RunReader, summary: Summary) -> Columns:
        """Return the columns of a series, read as far as run.db is now."""
        at = (run.paths.db, run.uid or "", summary.key)
        with self._lock:
            found = self._kept.pop(at, None)
        if found is None or len(found) > summary.count:
            found = Columns.of(reader.columns_from(summary.key, 0))
        elif len(found) < summary.count:
            found = found.followed_by(reader.columns_from(summary.key, len(found)))
        with self._lock:
            self._kept[at] = found
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._most:
                self._kept.popitem(last=False)
        return found


def not_overwritten(steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which points no later segment wrote again: those below its first step.

    steps: in the order written; where they go back, as in a resumed training, a segment begins.
    """
    import numpy as np

    starts = np.flatnonzero(np.diff(steps) < 0) + 1
    kept = np.ones(len(steps), bool)
    if not len(starts):
        return kept
    limits = np.minimum.accumulate(steps[starts][::-1])[::-1]
    segment = np.searchsorted(starts, np.arange(starts[-1]), side="right")
    kept[: starts[-1]] = steps[: starts[-1]] < limits[segment]
    return kept


def joined_by_step(steps: NDArray[np.int64], other: Columns) -> NDArray[np.float64]:
    """Return the value `other` has at each step, NaN where it has none at exactly that step.

    A step that was written several times, as after a resumed training, is matched first with
    first, second with second, and beyond that with the last.
    """
    import numpy as np

    order = np.argsort(other.steps, kind="stable")
    known = other.steps[order]
    first = np.searchsorted(known, steps, side="left")
    after = np.searchsorted(known, steps, side="right")
    at = np.minimum(first + _nth_of_step(steps), after - 1)
    found = after > first
    values = np.full(len(steps), math.nan)
    values[found] = other.values[order[at[found]]]
    return values


def _nth_of_step(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each point's step was written before it."""
    import numpy as np

    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    numbers = np.arange(len(steps))
    begins = np.ones(len(steps), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    nth = np.empty(len(steps), np.int64)
    nth[order] = numbers - np.maximum.accumulate(np.where(begins, numbers, 0))
    return nth


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
    # Without their first value, so that a constant stays one to the last digit.
    first = float(taken[0]) if n else 0.0
    padded = np.zeros(-(-n // _BLOCK) * _BLOCK)
    # Large values against each other are the caller's; what overflows is infinite, as in numbers.
    with np.errstate(over="ignore", invalid="ignore"):
        padded[:n] = taken - first
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
    result[finite] = debiased + first
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


def drawn(columns: Columns, values: NDArray[np.float64], px: int) -> NDArray[np.int64]:
    """Return the indices that draw `values` of these columns on `px` pixels, rising.

    The ends and extremes of each segment, and one point of each stretch that is not finite, up to
    `px` of them, so that a gap stays one.
    """
    import numpy as np

    finite = np.isfinite(values)
    gaps = np.flatnonzero(~finite & np.concatenate([[True], finite[:-1]]))
    found = [gaps[np.linspace(0, len(gaps) - 1, px).astype(int)] if len(gaps) > px else gaps]
    starts = np.flatnonzero(np.diff(columns.steps) < 0) + 1
    ends = [0, *starts.tolist(), len(values)] if len(starts) < px // 4 else [0, len(values)]
    for start, end in itertools.pairwise(ends):
        inside = start + np.flatnonzero(finite[start:end])
        found.append(inside[extremes(values[inside], max(1, px * (end - start) // len(values)))])
    return np.unique(np.concatenate(found))
