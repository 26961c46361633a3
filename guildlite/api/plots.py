"""Curves on matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from guildlite.api.extras import require
from guildlite.api.reading import Columns
from guildlite.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_UNITS = ("step", "time")


class Curve(NamedTuple):
    """One line of a plot. `began` is where its time counts from, ms since the epoch."""

    name: str
    columns: Columns
    began: float | None = None


def draw(
    curves: Sequence[Curve], *, smooth: float = 0.0, x: str = "step", ax: Axes | None = None
) -> Axes:
    """Draw curves on `ax`, on new axes without one, and return the axes.

    `x` is `step`, or `time` in seconds since the start of the run. `smooth` from 0 (not at all) to
    below 1 draws what `smoothed` says over the curve itself, which is then faint. Raises UsageError
    for other values, MissingExtra without matplotlib.
    """
    if not 0 <= smooth < 1:
        raise UsageError(f"`smooth` is {smooth:g}, expected 0 to below 1")
    if x not in _UNITS:
        raise UsageError(f"`x` is `{x}`, expected one of `step`, `time`")
    axes = require("matplotlib.pyplot", "a plot").subplots()[1] if ax is None else ax
    for curve in curves:
        _draw_curve(axes, curve, smooth, x)
    axes.set_xlabel("step" if x == "step" else "time (s)")
    if len(curves) == 1:
        axes.set_ylabel(plain(curves[0].name))
    elif curves:
        axes.legend()
    return axes


def _draw_curve(axes: Axes, curve: Curve, smooth: float, x: str) -> None:
    steps, values = curve.columns.steps, curve.columns.values
    where = steps if x == "step" else _seconds(curve)
    label = plain(curve.name)
    if not smooth:
        axes.plot(where, values, label=label)
        return
    (faint,) = axes.plot(where, values, alpha=0.3, label="_raw")
    axes.plot(where, smoothed(values, smooth), color=faint.get_color(), label=label)


def plain(text: str) -> str:
    """Return text that matplotlib shows as it is."""
    # It reads `$...$` as mathematics, and leaves what begins with `_` out of a legend.
    return ("\u200a" * text.startswith("_") + text).replace("$", r"\$")


def _seconds(curve: Curve) -> NDArray[np.float64]:
    import numpy as np

    times = curve.columns.times
    ms = times.astype(np.int64).astype(np.float64)
    ms[np.isnat(times)] = np.nan
    began = curve.began
    if began is None:
        began = float(np.nanmin(ms)) if np.isfinite(ms).any() else 0.0
    seconds: NDArray[np.float64] = (ms - began) / 1000
    return seconds


def smoothed(values: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Return the exponential moving average, as TensorBoard draws it: corrected at the start.

    s[n] = (w s[n-1] + (1 - w) x[n]), divided by 1 - w^n. What is not finite stays as it is and
    leaves the average alone.
    """
    import numpy as np

    result = np.array(values, dtype=np.float64)
    average, share = 0.0, 1.0
    for place in np.flatnonzero(np.isfinite(result)):
        average = weight * average + (1 - weight) * float(result[place])
        share *= weight
        result[place] = average / (1 - share)
    return result
