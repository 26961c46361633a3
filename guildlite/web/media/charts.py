"""Histograms and PR curves as SVG, made on the server. Pure functions: numbers in, markup out.

Three looks at how a distribution moves, as TensorBoard has them: ridges behind one another, curves
over one another, and bands of percentiles over steps or time. Colours are classes of page.css.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from guildlite.web.ansi import shown
from guildlite.web.charts import (
    HEIGHT,
    WIDTH,
    Scale,
    nice_ticks,
    nice_y_ticks,
    step_ticks,
    tick_labels,
    time_labels,
    time_ticks,
)
from guildlite.web.numbers import format_clock, format_value
from guildlite.wording import format_duration

_TOP, _RIGHT, _BOTTOM = 10, 14, 40
_CHARACTER = 6.6
#: Points of one curve of a histogram: as many even bins as TensorBoard makes. `bins.ts` knows it.
_BINS = 30
#: Shares below the lines of a band chart: those of a normal distribution at half sigmas.
QUANTILES = (0.0, 0.0668, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 0.9332, 1.0)
#: Of these the table beside a chart shows some.
TABLE_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_MOST_TABLE_ROWS = 12


class Shape(NamedTuple):
    """A histogram at a step: buckets as (left edge, right edge, count), edges rising.

    `time` is ms since the epoch, None where nobody saw it.
    """

    step: int
    buckets: list[tuple[float, float, float]]
    time: int | None = None


def clean(
    step: int, buckets: Sequence[tuple[float, float, float]], time: int | None = None
) -> Shape:
    """Return a histogram without what cannot be drawn: endless edges, counts below or at zero."""
    kept = [
        (left, right, count)
        for left, right, count in buckets
        if -math.inf < left <= right < math.inf and 0 < count < math.inf
    ]
    return Shape(step, sorted(kept), time)


def quantiles(shape: Shape, shares: Sequence[float] = QUANTILES) -> list[float] | None:
    """Return the values below which these shares lie, as if even in each bucket; None if empty."""
    total = math.fsum(count for _, _, count in shape.buckets)
    if not shape.buckets or not math.isfinite(total):
        return None
    found: list[float] = []
    below, place = 0.0, 0
    for share in shares:
        wanted = share * total
        while place < len(shape.buckets) - 1 and below + shape.buckets[place][2] < wanted:
            below += shape.buckets[place][2]
            place += 1
        left, right, count = shape.buckets[place]
        part = min(1.0, max(0.0, (wanted - below) / count))
        found.append(left * (1 - part) + right * part)
    return found


def table(shapes: Sequence[Shape]) -> list[tuple[int, float, list[float]]]:
    """Return (step, count, percentiles) of evenly chosen histograms, first and last among them."""
    if len(shapes) > _MOST_TABLE_ROWS:
        last = len(shapes) - 1
        shapes = [shapes[n * last // (_MOST_TABLE_ROWS - 1)] for n in range(_MOST_TABLE_ROWS)]
    rows = []
    for shape in shapes:
        values = quantiles(shape, TABLE_QUANTILES)
        if values is not None:
            rows.append((shape.step, math.fsum(count for _, _, count in shape.buckets), values))
    return rows


# Ridges and overlay


def ridges(
    title: str, shapes: Sequence[Shape], *, overlay: bool = False, along: str = "step"
) -> str:
    """Return histograms as curves, the newest in front: behind one another, or all on one line.

    Behind one another they stand as far apart as in steps, or as in time with `along` `relative` or
    `wall`.
    """
    drawn = [shape for shape in shapes if shape.buckets]
    if not drawn:
        return _opening(title, drawn) + _nothing()
    places, texts = _along(drawn, along)
    low, high = _range(drawn)
    curves = [_curve(shape, low, high) for shape in drawn]
    tallest = max(map(max, curves))
    left = 14.0
    right = WIDTH - _RIGHT if overlay else WIDTH - 12 - _CHARACTER * max(map(len, texts))
    x = Scale(low, high, left, right)
    bottom = HEIGHT - _BOTTOM
    reach = bottom - _TOP if overlay else (bottom - _TOP) * (0.45 if len(drawn) > 1 else 1.0)
    bases = [bottom if overlay else _TOP + reach + p * (bottom - _TOP - reach) for p in places]
    # What a script needs to say which bin is pointed at, and how many values it holds.
    facts = f' data-bins="{low:g} {high:g} {left:g} {right:g} {tallest / reach:.6g}"'
    body = [_x_axis(x, nice_ticks(low, high), left, right, "value")]
    order = sorted(range(len(drawn)), key=lambda n: places[n])
    labels = set() if overlay else _apart(order, bases)
    for n in order:
        heights = [bases[n] - value / tallest * reach for value in curves[n]]
        body.append(_ridge(drawn[n], texts[n], heights, bases[n], left, right, places[n], overlay))
        if n in labels:
            body.append(
                f'<text class="tick" x="{right + 6:.1f}" y="{bases[n] + 4:.1f}">{texts[n]}</text>'
            )
    return f"{_opening(title, drawn, facts)}{''.join(body)}</svg>"


def _along(shapes: Sequence[Shape], along: str) -> tuple[list[float], list[str]]:
    """Return where each histogram stands from 0 to 1, and what is written beside it."""
    times = [shape.time for shape in shapes]
    known = [at for at in times if at is not None]
    if along == "step" or len(known) < len(times):
        values = [float(shape.step) for shape in shapes]
        texts = [f"{shape.step:,}" for shape in shapes]
    else:
        values = [float(at) for at in known]
        start = min(known)
        texts = [
            format_clock(at) if along == "wall" else (format_duration((at - start) / 1000) or "0")
            for at in known
        ]
    low, high = min(values), max(values)
    if high <= low:
        return [1.0] * len(shapes), texts
    return [(value - low) / (high - low) for value in values], texts


def _apart(order: Sequence[int], bases: Sequence[float]) -> set[int]:
    """Return which ridges are written beside: the last, and others where there is room."""
    kept: list[int] = []
    for n in reversed(order):
        if not kept or bases[kept[-1]] - bases[n] >= 16:
            kept.append(n)
    return set(kept)


def _ridge(
    shape: Shape,
    text: str,
    heights: Sequence[float],
    base: float,
    left: float,
    right: float,
    share: float,
    overlay: bool,
) -> str:
    width = (right - left) / (len(heights) - 1)
    spots = " ".join(f"{left + n * width:.1f} {at:.1f}" for n, at in enumerate(heights))
    opacity = f"{0.25 + 0.75 * share:.2f}"
    total = math.fsum(count for _, _, count in shape.buckets)
    facts = f'stroke-opacity="{opacity}" data-step="{shape.step}" data-total="{total:g}"'
    if overlay:
        path = f'<path class="line thin c1" {facts} d="M{spots}">'
    else:
        path = f'<path class="ridge c1" {facts} d="M{left} {base:.1f}L{spots}V{base:.1f}">'
    said = f"step {shape.step:,}" if text == f"{shape.step:,}" else f"step {shape.step:,}, {text}"
    return f"{path}<title>{said}</title></path>"


def _curve(shape: Shape, low: float, high: float) -> list[float]:
    """Return the share of values in each of even bins from `low` to `high`."""
    bins = [0.0] * _BINS
    total = math.fsum(count for _, _, count in shape.buckets) or 1.0
    scale = Scale(low, high, 0.0, float(_BINS))
    for left, right, count in shape.buckets:
        begin, end = scale(left), scale(right)
        first, last = min(int(begin), _BINS - 1), min(int(end), _BINS - 1)
        if first == last:
            bins[first] += count / total
            continue
        for number in range(first, last + 1):
            inside = min(end, number + 1) - max(begin, number)
            bins[number] += count / total * inside / (end - begin)
    return bins


def _range(shapes: Sequence[Shape]) -> tuple[float, float]:
    low = min(shape.buckets[0][0] for shape in shapes)
    high = max(right for shape in shapes for _, right, _ in shape.buckets)
    if low / 2 == high / 2:
        pad = abs(low) * 0.1 or 0.5
        return max(low - pad, -1.7e308), min(high + pad, 1.7e308)
    return low, high


# Bands


def bands(title: str, shapes: Sequence[Shape], *, along: str = "step") -> str:
    """Return bands of percentiles over steps or time, with the median as a line."""
    found = [(shape, values) for shape in shapes if (values := quantiles(shape)) is not None]
    opening = _opening(title, [shape for shape, _ in found])
    if not found:
        return opening + _nothing()
    low, high = _range([shape for shape, _ in found])
    ticks = nice_y_ticks(low, high)
    labels = tick_labels(ticks)
    left = 12 + _CHARACTER * max(map(len, labels), default=0)
    at, axis = _positions([shape for shape, _ in found], along)
    first, last = min(at), max(at)
    if first == last:
        first, last = first - max(1.0, abs(first) * 1e-3), last + max(1.0, abs(last) * 1e-3)
    x = Scale(first, last, left, WIDTH - _RIGHT)
    y = Scale(low, high, HEIGHT - _BOTTOM, _TOP)
    body = [_y_grid(y, ticks, labels, left, WIDTH - _RIGHT)]
    body.append(axis(x, left))
    for numbers in _stretches([shape for shape, _ in found]):
        spots = [x(at[n]) for n in numbers]
        rows = [found[n][1] for n in numbers]
        if len(spots) == 1:  # a band needs a width to be seen
            spots, rows = [spots[0] - 6, spots[0] + 6], rows * 2
        body.append(_bands(spots, rows, y))
    return f"{opening}{''.join(body)}</svg>"


def _positions(
    shapes: Sequence[Shape], along: str
) -> tuple[list[float], Callable[[Scale, float], str]]:
    """Return the places of histograms on the axis below bands, and what draws that axis."""
    right = WIDTH - _RIGHT
    times = [shape.time for shape in shapes if shape.time is not None]
    if along == "step" or len(times) < len(shapes):
        steps = [float(shape.step) for shape in shapes]
        return steps, lambda x, left: _x_axis(x, step_ticks(x.low, x.high), left, right, "step")
    if along == "relative":
        seconds = [(at - min(times)) / 1000 for at in times]
        return seconds, lambda x, left: _x_axis(
            x, ticks := _seconds(x), left, right, "time since the first",
            time_labels(ticks) if ticks[-1] >= 5 else [f"{tick:.3g} s" for tick in ticks],
        )  # fmt: skip
    return [float(at) for at in times], lambda x, left: _x_axis(
        x, ticks := [x.low + (x.high - x.low) * n / 3 for n in range(4)], left, right,
        "time of day", [format_clock(round(tick)) for tick in ticks],
    )  # fmt: skip


def _seconds(x: Scale) -> list[float]:
    """Return ticks that are round on a clock; of a few seconds also parts of one."""
    return time_ticks(x.low, x.high) if x.high >= 5 else nice_ticks(x.low, x.high)


def _stretches(shapes: Sequence[Shape]) -> list[list[int]]:
    """Return histograms by number in stretches of rising steps: a resumed training begins one."""
    stretches: list[list[int]] = []
    for number, shape in enumerate(shapes):
        if not stretches or shape.step < shapes[stretches[-1][-1]].step:
            stretches.append([])
        stretches[-1].append(number)
    return stretches


def _bands(spots: Sequence[float], rows: Sequence[Sequence[float]], y: Scale) -> str:
    pieces = []
    middle = len(QUANTILES) // 2
    for number in range(middle):
        lower = [f"{at:.1f} {y(row[number]):.1f}" for at, row in zip(spots, rows, strict=True)]
        upper = [f"{at:.1f} {y(row[-1 - number]):.1f}" for at, row in zip(spots, rows, strict=True)]
        share = f"{QUANTILES[number] * 100:g} to {QUANTILES[-1 - number] * 100:g} %"
        pieces.append(
            f'<path class="fill c1" fill-opacity="{0.12 + 0.06 * number:.2f}" '
            f'd="M{" ".join([*upper, *reversed(lower)])}z"><title>{share}</title></path>'
        )
    line = " ".join(f"{at:.1f} {y(row[middle]):.1f}" for at, row in zip(spots, rows, strict=True))
    pieces.append(f'<path class="line c1" d="M{line}"><title>median</title></path>')
    return "".join(pieces)


# PR curves


def pr_chart(title: str, precision: Sequence[float], recall: Sequence[float]) -> str:
    """Return precision over recall."""
    points = [
        (r, p)
        for r, p in zip(recall, precision, strict=False)
        if math.isfinite(r) and math.isfinite(p)
    ]
    words = f"{title}: precision over recall at {len(points)} thresholds"
    opening = (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{_text(title)}</title><desc>{_text(words)}</desc>"
    )
    if not points:
        return opening + _nothing()
    left = 40.0
    x = Scale(0.0, 1.0, left, WIDTH - _RIGHT)
    y = Scale(0.0, 1.0, HEIGHT - _BOTTOM, _TOP)
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    spots = [f"{x(_unit(r)):.1f} {y(_unit(p)):.1f}" for r, p in points]
    dots = ""
    if len(spots) <= 40:
        at = (spot.split() for spot in spots)
        dots = "".join(f'<circle class="dot c1" cx="{cx}" cy="{cy}" r="2"/>' for cx, cy in at)
    return (
        f"{opening}{_y_grid(y, ticks, tick_labels(ticks), left, WIDTH - _RIGHT)}"
        f"{_x_axis(x, ticks, left, WIDTH - _RIGHT, 'recall')}"
        f'<text class="name" transform="translate(11 {(HEIGHT - _BOTTOM + _TOP) / 2}) '
        f'rotate(-90)">precision</text>'
        f'{dots}<path class="line c1" d="M{" ".join(spots)}"/></svg>'
    )


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))


# Around


def _opening(title: str, shapes: Sequence[Shape], facts: str = "") -> str:
    words = f"{title}: no values"
    if shapes:
        middle = quantiles(shapes[-1], (0.0, 0.5, 1.0))
        assert middle is not None
        low, median, high = map(format_value, middle)
        words = (
            f"{title}: {len(shapes)} histograms, steps {min(s.step for s in shapes):,} to "
            f"{max(s.step for s in shapes):,}; the last from {low} to {high}, median {median}"
        )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"{facts}>'
        f"<title>{_text(title)}</title><desc>{_text(words)}</desc>"
    )


def _nothing() -> str:
    return f'<text class="none" x="{WIDTH // 2}" y="{HEIGHT // 2}">no finite value</text></svg>'


def _x_axis(
    x: Scale,
    ticks: Sequence[float],
    left: float,
    right: float,
    name: str,
    labels: Sequence[str] | None = None,
) -> str:
    bottom = HEIGHT - _BOTTOM
    pieces = [f'<path class="axis" d="M{left:.1f} {bottom}H{right:.1f}"/>']
    for tick, label in zip(ticks, labels or tick_labels(ticks), strict=True):
        at = x(tick)
        half = _CHARACTER * len(label) / 2
        middle = min(max(at, half), WIDTH - half)
        pieces.append(f'<path class="axis" d="M{at:.1f} {bottom}v4"/>')
        pieces.append(f'<text class="tick x" x="{middle:.1f}" y="{bottom + 17}">{label}</text>')
    pieces.append(f'<text class="name" x="{(left + right) / 2:.1f}" y="{HEIGHT - 5}">{name}</text>')
    return "".join(pieces)


def _y_grid(
    y: Scale, ticks: Sequence[float], labels: Sequence[str], left: float, right: float
) -> str:
    pieces = []
    for tick, label in zip(ticks, labels, strict=True):
        at = y(tick)
        pieces.append(f'<path class="grid" d="M{left:.1f} {at:.1f}H{right:.1f}"/>')
        pieces.append(f'<text class="tick y" x="{left - 6:.1f}" y="{at + 4:.1f}">{label}</text>')
    return "".join(pieces)


def _text(text: str) -> str:
    return escape(shown(text))
