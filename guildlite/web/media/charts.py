"""Histograms and PR curves as SVG, made on the server. Pure functions: numbers in, markup out.

Three looks at how a distribution moves, as TensorBoard has them: ridges behind one another, curves
over one another, and bands of percentiles over steps. Colours are classes of the pages' styles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
)
from guildlite.web.numbers import format_value

_TOP, _RIGHT, _BOTTOM = 10, 14, 40
_CHARACTER = 6.6
#: Points of one curve of a histogram.
_BINS = 60
#: Shares below the lines of a band chart: those of a normal distribution at half sigmas.
QUANTILES = (0.0, 0.067, 0.159, 0.309, 0.5, 0.691, 0.841, 0.933, 1.0)
#: Of these the table beside a chart shows some.
TABLE_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_MOST_TABLE_ROWS = 12


class Shape(NamedTuple):
    """A histogram at a step: buckets as (left edge, right edge, count), edges rising."""

    step: int
    buckets: list[tuple[float, float, float]]


def clean(step: int, buckets: Sequence[tuple[float, float, float]]) -> Shape:
    """Return a histogram without what cannot be drawn: endless edges, counts below or at zero."""
    kept = [
        (left, right, count)
        for left, right, count in buckets
        if -math.inf < left <= right < math.inf and 0 < count < math.inf
    ]
    return Shape(step, sorted(kept))


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


def ridges(title: str, shapes: Sequence[Shape], *, overlay: bool = False) -> str:
    """Return histograms as curves, the newest in front: behind one another, or all on one line."""
    drawn = [shape for shape in shapes if shape.buckets]
    opening = _opening(title, drawn)
    if not drawn:
        return opening + _nothing()
    low, high = _range(drawn)
    curves = [_curve(shape, low, high) for shape in drawn]
    tallest = max(map(max, curves))
    left, right = (14.0, WIDTH - _RIGHT) if overlay else (14.0, WIDTH - 62.0)
    x = Scale(low, high, left, right)
    bottom = HEIGHT - _BOTTOM
    reach = bottom - _TOP if overlay else (bottom - _TOP) * (0.45 if len(drawn) > 1 else 1.0)
    body = [_x_axis(x, nice_ticks(low, high), left, right, "value")]
    labels = [] if overlay else _ridge_labels(drawn)
    for number, (shape, curve) in enumerate(zip(drawn, curves, strict=True)):
        share = number / (len(drawn) - 1) if len(drawn) > 1 else 1.0
        base = bottom if overlay else _TOP + reach + share * (bottom - _TOP - reach)
        heights = [base - value / tallest * reach for value in curve]
        body.append(_ridge(shape, heights, base, left, right, share, overlay))
        if number in labels:
            body.append(
                f'<text class="tick" x="{right + 6:.1f}" y="{base + 4:.1f}">{shape.step:,}</text>'
            )
    return f"{opening}{''.join(body)}</svg>"


def _ridge_labels(shapes: Sequence[Shape]) -> set[int]:
    """Return which ridges have their step written beside them."""
    most = min(6, len(shapes))
    if most == 1:
        return {0}
    return {number * (len(shapes) - 1) // (most - 1) for number in range(most)}


def _ridge(
    shape: Shape,
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
    if overlay:
        path = f'<path class="line thin c1" stroke-opacity="{opacity}" d="M{spots}">'
    else:
        path = (
            f'<path class="ridge c1" stroke-opacity="{opacity}" '
            f'd="M{left} {base:.1f}L{spots}V{base:.1f}">'
        )
    return f"{path}<title>step {shape.step:,}</title></path>"


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


def bands(title: str, shapes: Sequence[Shape]) -> str:
    """Return bands of percentiles over steps, with the median as a line."""
    found = [(shape, values) for shape in shapes if (values := quantiles(shape)) is not None]
    opening = _opening(title, [shape for shape, _ in found])
    if not found:
        return opening + _nothing()
    low, high = _range([shape for shape, _ in found])
    ticks = nice_y_ticks(low, high)
    labels = tick_labels(ticks)
    left = 12 + _CHARACTER * max(map(len, labels), default=0)
    steps = [shape.step for shape, _ in found]
    first, last = float(min(steps)), float(max(steps))
    if first == last:
        first, last = first - max(1.0, abs(first) * 1e-3), last + max(1.0, abs(last) * 1e-3)
    x = Scale(first, last, left, WIDTH - _RIGHT)
    y = Scale(low, high, HEIGHT - _BOTTOM, _TOP)
    body = [_y_grid(y, ticks, labels, left, WIDTH - _RIGHT)]
    body.append(_x_axis(x, step_ticks(first, last), left, WIDTH - _RIGHT, "step"))
    for stretch in _stretches(found):
        spots = [x(shape.step) for shape, _ in stretch]
        rows = [values for _, values in stretch]
        if len(spots) == 1:  # a band needs a width to be seen
            spots, rows = [spots[0] - 6, spots[0] + 6], rows * 2
        body.append(_bands(spots, rows, y))
    return f"{opening}{''.join(body)}</svg>"


def _stretches(
    found: Sequence[tuple[Shape, list[float]]],
) -> list[list[tuple[Shape, list[float]]]]:
    """Return the histograms in stretches of rising steps: a resumed training begins another."""
    stretches: list[list[tuple[Shape, list[float]]]] = []
    for each in found:
        if not stretches or each[0].step < stretches[-1][-1][0].step:
            stretches.append([])
        stretches[-1].append(each)
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


def _opening(title: str, shapes: Sequence[Shape]) -> str:
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
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{_text(title)}</title><desc>{_text(words)}</desc>"
    )


def _nothing() -> str:
    return f'<text class="none" x="{WIDTH // 2}" y="{HEIGHT // 2}">no finite value</text></svg>'


def _x_axis(x: Scale, ticks: Sequence[float], left: float, right: float, name: str) -> str:
    bottom = HEIGHT - _BOTTOM
    pieces = [f'<path class="axis" d="M{left:.1f} {bottom}H{right:.1f}"/>']
    for tick, label in zip(ticks, tick_labels(ticks), strict=True):
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
