"""Line charts as SVG, made on the server. Pure functions: points in, markup out.

Colours, fonts and line styles are classes of static/page.css, so that one SVG looks right in light
and dark. Where a series is NaN or infinite its line has a gap and the chart's edge a mark; where
the step goes back (a resumed training) a new stroke begins.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from guildlite.series import Point, downsample
from guildlite.web.ansi import shown
from guildlite.web.numbers import MINUS, format_value, scale_of

#: Colours times dash patterns (solid, dashes, dots) before two lines look the same.
HUES, DASHES = 6, 3
SLOTS = HUES * DASHES

WIDTH, HEIGHT = 400, 230
_TOP, _RIGHT, _BOTTOM = 10, 14, 40
_CHARACTER = 6.6  # of the tick labels, in SVG units, at most
#: Points of one line: two for each column of pixels, the extremes of that column.
MOST_POINTS = 2 * (WIDTH - 60)

#: Up to here each point of a line has a dot.
FEW_POINTS = 20

_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)


@dataclass(frozen=True, slots=True)
class Line:
    """One series on a chart. `slot` from 0 picks colour and dashes."""

    name: str
    points: Sequence[Point]
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low`..`high` to positions from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        # Halved first: the span of two finite floats may be infinite.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return self.start + share * (self.end - self.start)


def slot_class(slot: int) -> str:
    """Return the classes of a line's colour and dashes."""
    return f"c{slot % HUES + 1} d{slot // HUES % DASHES}"


# Ticks


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between `low` and `high`: 1, 2 or 5 times a power of ten apart."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or most < 1:
        return []
    rough = high / most - low / most
    if rough <= 0:
        return [low]
    try:
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999999)
    except (OverflowError, StopIteration):
        return [low]
    if step == 0 or low / step == (high / step) or abs(low / step) > 2**53:
        return [low]
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def step_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round whole steps between `low` and `high`."""
    ticks = nice_ticks(low, high, most)
    return [tick for tick in ticks if tick == int(tick)] or [low]


def time_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return seconds between `low` and `high` that are round on a clock."""
    span = high - low
    step = next((s for s in _SECONDS if span / s <= most), None)
    if step is None:
        return [tick * 86400 for tick in nice_ticks(low / 86400, high / 86400, most)]
    return [float(n * step) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def tick_labels(ticks: Sequence[float], unit: str = "") -> list[str]:
    """Return texts for ticks, alike in unit, with as many decimals as tell them apart."""
    if not ticks:
        return []
    gap = min((b - a for a, b in pairwise(ticks)), default=abs(ticks[0]) or 1.0)
    factor, suffix = scale_of(max(map(abs, ticks)), unit)
    share = gap / factor
    if not share or not math.isfinite(share):
        return [format_value(tick) for tick in ticks]
    decimals = max(0, -math.floor(math.log10(share) + 1e-6))
    if decimals > 12:
        return [format_value(tick) for tick in ticks]
    texts = [f"{tick / factor:.{decimals}f}" for tick in ticks]
    if all("." in text for text in texts):
        while all(text.endswith("0") for text in texts):
            texts = [text[:-1] for text in texts]
        texts = [text.removesuffix(".") for text in texts]
    return [_signed(text, suffix) for text in texts]


def _signed(text: str, suffix: str) -> str:
    if not text.strip("-0."):
        return "0"
    return text.replace("-", MINUS) + suffix


def time_labels(ticks: Sequence[float]) -> list[str]:
    """Return texts for ticks in seconds."""
    return [_clock(int(tick)) for tick in ticks]


def _clock(seconds: int) -> str:
    if seconds % 86400 == 0 and seconds:
        return f"{seconds // 86400} d"
    if seconds >= 3600:
        hours, minutes = seconds // 3600, seconds % 3600 // 60
        return f"{hours} h {minutes:02}" if minutes else f"{hours} h"
    if seconds >= 60:
        minutes, rest = divmod(seconds, 60)
        return f"{minutes}:{rest:02}" if rest else f"{minutes} min"
    return f"{seconds} s" if seconds else "0"


# Lines


def strokes(points: Iterable[Point]) -> Iterator[list[Point]]:
    """Yield the stretches of finite points that are drawn in one stroke."""
    stroke: list[Point] = []
    for point in points:
        goes_on = not stroke or point.step >= stroke[-1].step
        if math.isfinite(point.value):
            if not goes_on:
                yield stroke
                stroke = []
            stroke.append(point)
        elif stroke:
            yield stroke
            stroke = []
    if stroke:
        yield stroke


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[list[Point]]:
    """Return the strokes of a line in about `most` points in all, spikes and ends kept."""
    parts = list(strokes(points))
    total = sum(map(len, parts))
    if total <= most:
        return parts
    return [downsample(part, max(4, most * len(part) // total)) for part in parts]


def path_data(parts: Iterable[Sequence[Point]], x: Scale, y: Scale) -> str:
    """Return the `d` of a path; a stroke of one point becomes a dot by way of its round ends."""
    pieces = []
    for part in parts:
        spots = [f"{x(point.step):.1f} {y(point.value):.1f}" for point in part]
        pieces.append(f"M{spots[0]}" + (f"L{' '.join(spots[1:])}" if len(spots) > 1 else "h0"))
    return "".join(pieces)


def sparkline(points: Sequence[Point], label: str, slot: int = 0) -> str:
    """Return a curve without axes for a table row or tile, "" when there is nothing to draw."""
    width, height = 120, 28
    parts = thin(points, 2 * width)
    if sum(map(len, parts)) < 2:
        return ""
    x_range, y_range = _ranges(parts)
    x = Scale(*x_range, 2, width - 2)
    y = Scale(*y_range, height - 3, 3)
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" role="img" '
        f'preserveAspectRatio="none"><title>{_text(label)}</title>'
        f'<path class="line {slot_class(slot)}" d="{path_data(parts, x, y)}"/></svg>'
    )


def line_chart(
    title: str, lines: Sequence[Line], *, unit: str = "", in_seconds: bool = False
) -> str:
    """Return a whole chart with axes, for lines over steps, or over seconds since the start."""
    drawn = [(line, thin(line.points)) for line in lines]
    parts = [part for _, each in drawn for part in each]
    sentence = describe(title, lines, unit=unit, in_seconds=in_seconds)
    opening = (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{_text(title)}</title><desc>{_text(sentence)}</desc>"
    )
    if not parts:
        return (
            f'{opening}<text class="none" x="{WIDTH // 2}" y="{HEIGHT // 2}">'
            "no finite value yet</text></svg>"
        )
    x_range, y_range = _ranges(parts)
    y_ticks = nice_y_ticks(*y_range, unit=unit)
    y_labels = tick_labels(y_ticks, unit)
    left = 12 + _CHARACTER * max(map(len, y_labels), default=0)
    x = Scale(*x_range, left, WIDTH - _RIGHT)
    y = Scale(*y_range, HEIGHT - _BOTTOM, _TOP)
    ticks = (time_ticks if in_seconds else step_ticks)(*x_range)
    labels = (time_labels if in_seconds else tick_labels)(ticks)
    body = [_grid(y, y_ticks, y_labels, left), _x_axis(x, ticks, labels, left, in_seconds)]
    for line, each in drawn:
        body.append(_stroke(line, each, x, y))
    for line, _ in drawn:
        body.append(_non_finite(line, x))
    return f"{opening}{''.join(body)}</svg>"


def nice_y_ticks(low: float, high: float, *, unit: str = "") -> list[float]:
    """Return ticks that are round in the unit they are labelled with."""
    factor, _ = scale_of(max(abs(low), abs(high)), unit)
    return [tick * factor for tick in nice_ticks(low / factor, high / factor)]


def describe(title: str, lines: Sequence[Line], *, unit: str = "", in_seconds: bool = False) -> str:
    """Return the chart in a sentence, for those who cannot see it."""
    steps = [point.step for line in lines for point in line.points]
    if not steps:
        return f"{title}: no points"
    axis = "seconds" if in_seconds else "steps"
    lasts = ", ".join(
        f"{line.name} last {format_value(line.points[-1].value, unit)}"
        for line in lines[:SLOTS]
        if line.points
    )
    return f"{title}: {axis} {min(steps):,} to {max(steps):,}; {lasts}"


def swatch(slot: int) -> str:
    """Return the small line that stands before a name in a legend."""
    return (
        '<svg class="swatch" viewBox="0 0 24 8" aria-hidden="true">'
        f'<path class="line {slot_class(slot)}" d="M2 4H22"/></svg>'
    )


def _ranges(parts: Sequence[Sequence[Point]]) -> tuple[tuple[float, float], tuple[float, float]]:
    steps = [point.step for part in parts for point in (part[0], part[-1])]
    values = [point.value for part in parts for point in part]
    x_low, x_high = float(min(steps)), float(max(steps))
    if x_low == x_high:
        x_low, x_high = x_low - 1, x_high + 1
    if x_low == x_high:  # beyond 2**53 one step more is the same float
        x_low, x_high = x_low * 0.999, x_high * 1.001
    return (x_low, x_high), _padded(min(values), max(values))


def _padded(low: float, high: float) -> tuple[float, float]:
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        return max(low - pad, -sys.float_info.max), min(high + pad, sys.float_info.max)
    pad = high * 0.05 - low * 0.05
    # A curve that touches zero from above stands on it: below zero there is nothing to show.
    below = low - pad if low < 0 or low > pad else 0.0
    padded = max(below, -sys.float_info.max), min(high + pad, sys.float_info.max)
    return padded if padded[0] < padded[1] else (low - abs(low) * 0.1 - 5e-324, high)


def _grid(y: Scale, ticks: Sequence[float], labels: Sequence[str], left: float) -> str:
    pieces = []
    for tick, label in zip(ticks, labels, strict=True):
        at = y(tick)
        pieces.append(f'<path class="grid" d="M{left:.1f} {at:.1f}H{WIDTH - _RIGHT}"/>')
        pieces.append(
            f'<text class="tick y" x="{left - 6:.1f}" y="{at + 4:.1f}">{_text(label)}</text>'
        )
    return "".join(pieces)


def _x_axis(
    x: Scale, ticks: Sequence[float], labels: Sequence[str], left: float, in_seconds: bool
) -> str:
    bottom = HEIGHT - _BOTTOM
    pieces = [f'<path class="axis" d="M{left:.1f} {bottom}H{WIDTH - _RIGHT}"/>']
    for tick, label in zip(ticks, labels, strict=True):
        at = x(tick)
        half = _CHARACTER * len(label) / 2
        middle = min(max(at, half), WIDTH - half)
        pieces.append(f'<path class="axis" d="M{at:.1f} {bottom}v4"/>')
        pieces.append(
            f'<text class="tick x" x="{middle:.1f}" y="{bottom + 17}">{_text(label)}</text>'
        )
    name = "time since start" if in_seconds else "step"
    centre = (left + WIDTH - _RIGHT) / 2
    pieces.append(f'<text class="name" x="{centre:.1f}" y="{HEIGHT - 5}">{name}</text>')
    return "".join(pieces)


def _stroke(line: Line, parts: list[list[Point]], x: Scale, y: Scale) -> str:
    if not parts:
        return ""
    classes = slot_class(line.slot)
    last = parts[-1][-1]
    # A few points far apart: the line between them was not measured, so they are shown.
    few = sum(map(len, parts)) <= FEW_POINTS
    dots = "".join(
        f'<circle class="dot {classes}" cx="{x(point.step):.1f}" cy="{y(point.value):.1f}" r="2"/>'
        for part in parts
        for point in part
        if few
    )
    return dots + (
        f'<path class="line {classes}" d="{path_data(parts, x, y)}"/>'
        f'<circle class="last {classes}" cx="{x(last.step):.1f}" cy="{y(last.value):.1f}" r="3">'
        f"<title>{_text(line.name)} {format_value(last.value)} at {last.step:,}</title></circle>"
    )


def _non_finite(line: Line, x: Scale) -> str:
    """Mark where the line has no place: infinity at the top, NaN and the rest at the bottom."""
    found: dict[tuple[int, bool], Point] = {}
    for point in line.points:
        if not math.isfinite(point.value) and x.low <= point.step <= x.high:
            # One mark for each column of pixels.
            found.setdefault((round(x(point.step)), point.value == math.inf), point)
    marks = []
    for (at, above), point in found.items():
        start, direction = (_TOP, 7) if above else (HEIGHT - _BOTTOM, -7)
        words = f"{line.name} {format_value(point.value)} at {point.step:,}"
        marks.append(
            f'<path class="bad {slot_class(line.slot)}" d="M{at} {start}l-4 {direction}h8z">'
            f"<title>{_text(words)}</title></path>"
        )
    return "".join(marks)


def _text(text: str) -> str:
    return escape(shown(text))
