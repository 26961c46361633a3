"""One series of a run, as arrays."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from guildlite.api.markup import series_card
from guildlite.api.reading import Columns, find_key, read_columns, read_summaries
from guildlite.errors import GuildliteError, did_you_mean, nearest
from guildlite.runs import Run as Directory
from guildlite.series import Summary

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


class SeriesNotFound(GuildliteError, KeyError):
    """The run has no series of that key."""

    http_status = 404

    def __str__(self) -> str:
        return self.message  # that of KeyError would be in quotes


class Series:
    """The points of one series, read when first asked for and kept: a look at one moment.

    `steps`, `times` and `values` always have one length and cannot be written to. While a run goes
    on, `refresh()` or another `run.series(key)` sees the newer points. Reading raises
    SeriesNotFound when the run has no such series, RunUnreadable when its run.db is damaged.
    """

    def __init__(self, run: Directory, key: str) -> None:
        self._run, self._key = run, key
        self._lock = threading.Lock()
        self._columns: Columns | None = None

    @property
    def key(self) -> str:
        """The key as it was asked for; `summary.key` is the whole one, as in `train/loss`."""
        return self._key

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps in the order written, shape (n,), int64; they go back where a training resumed."""
        return self._read().steps

    @property
    def times(self) -> NDArray[np.datetime64]:
        """When each was written, shape (n,), datetime64[ms] in UTC; NaT where nobody saw it."""
        return self._read().times

    @property
    def values(self) -> NDArray[np.float64]:
        """Values as written, shape (n,), float64, with NaN and infinities."""
        return self._read().values

    @property
    def summary(self) -> Summary:
        """First, last, min, max, mean and their steps as run.db has them now; reads no points."""
        known = read_summaries(self._run.fresh())
        key = find_key(known, self._key)
        if key is None:
            raise self._not_found()
        return known[key]

    def __len__(self) -> int:
        return len(self._read().steps)

    def __bool__(self) -> bool:
        # Not by the number of points: `if run.series(...)` should not read them all.
        return True

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the values, for `np.asarray(series)`."""
        import numpy as np

        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def __repr__(self) -> str:
        return f"Series({self._run.id!r}, {self._key!r})"

    def _repr_html_(self) -> str:
        return series_card(self._run.fresh(), self.summary)

    def refresh(self) -> Series:
        """Return the series as it is now."""
        return Series(self._run.fresh(), self._key)

    def to_frame(self) -> pd.DataFrame:
        """Return a frame with the columns `step`, `time` (UTC) and `value`, a row each point."""
        from guildlite.api.frames import series_frame

        return series_frame(self._read())

    def plot(self, *, smooth: float = 0.0, x: str = "step", ax: Axes | None = None) -> Axes:
        """Draw the series; see `Run.plot`."""
        from guildlite.api.plots import Curve, draw

        started = self._run.started_at
        curve = Curve(self._key, self._read(), None if started is None else started * 1000)
        return draw([curve], smooth=smooth, x=x, ax=ax)

    def _read(self) -> Columns:
        with self._lock:
            if self._columns is None:
                self._columns = read_columns(self._run.fresh(), self._key)
            if self._columns is None:
                raise self._not_found()
            return self._columns

    def _not_found(self) -> SeriesNotFound:
        return not_found(self._run.fresh(), self._key)


def not_found(run: Directory, key: str) -> SeriesNotFound:
    """Return the error for a key that a run has no series of, with the likeliest ones."""
    own = read_summaries(run, system=False)
    system = read_summaries(run, system=True)
    # The measurements are many, so that their list is no hint; a misspelt one is.
    near = nearest(key, [*own, *system])
    hint = f"did you mean `{near}`?" if near else did_you_mean(key, own)
    yet = "" if run.status.ended else " yet"
    return SeriesNotFound(f"{run.id} has no series `{key}`{yet}", hint=hint)
