"""Runs, a run and a series as HTML for a notebook. Pure functions: values in, markup out.

Every text is escaped, and what cannot be seen is written as an escape. Colours are those of the
page (`currentColor`), so that light and dark themes both fit; there are no scripts, no links and
nothing is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from guildlite.runs import Run as Directory
from guildlite.runs import RunReader
from guildlite.series import Point, Summary, downsample
from guildlite.wording import format_duration, format_number, visible

_WIDTH, _HEIGHT = 120, 24
#: Two points for each column of pixels: its extremes.
_MOST_POINTS = 2 * _WIDTH
_MOST_ROWS = 12


def text(value: object) -> str:
    """Return a value as text of a page."""
    return escape(visible(str(value)))


def number(value: float | None) -> str:
    """Return a number as text of a page; nothing for None."""
    return "" if value is None else text(format_number(value))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; `head` is text, the cells of `rows` are markup."""
    style = ' style="text-align:left"'
    heads = "".join(f"<th{style}>{text(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td{style}>{cell}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def sparkline(points: Sequence[Point], label: str) -> str:
    """Return a curve without axes, "" for fewer than two finite points.

    The line has a gap where the step goes back (a resumed training) or a value is not finite.
    """
    finite = [point for point in points if math.isfinite(point.value)]
    if len(finite) < 2:
        return ""
    xs, ys = [point.step for point in finite], [point.value for point in finite]
    x = _scale(min(xs), max(xs), 2, _WIDTH - 2)
    y = _scale(min(ys), max(ys), _HEIGHT - 3, 3)
    pieces = [
        "M" + "L".join(f"{x(point.step):.1f} {y(point.value):.1f}" for point in stroke)
        for stroke in _strokes(points)
    ]
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f"<title>{text(label)}</title>"
        f'<path d="{"".join(pieces)}" fill="none" stroke="currentColor" stroke-width="1.5"'
        ' stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )


class _scale:
    """Maps `low`..`high` to `start`..`end`; where both are equal, to the middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        # Halved first: the span of two finite floats may be infinite.
        self._low, self._span = low / 2, high / 2 - low / 2
        self._start, self._length = start, end - start

    def __call__(self, value: float) -> float:
        share = (value / 2 - self._low) / self._span if self._span else 0.5
        return self._start + share * self._length


def _strokes(points: Sequence[Point]) -> Iterator[list[Point]]:
    stroke: list[Point] = []
    for point in points:
        if stroke and not (math.isfinite(point.value) and point.step >= stroke[-1].step):
            yield stroke
            stroke = []
        if math.isfinite(point.value):
            stroke.append(point)
    if stroke:
        yield stroke


def spark_of(reader: RunReader, key: str) -> str:
    """Return the sparkline of a series of an open run.db."""
    return sparkline(_few(reader.chart(key, _MOST_POINTS)), key)


def _few(points: Sequence[Point]) -> Sequence[Point]:
    # The end of a long series comes from buckets, which are many for a line of 120 pixels.
    return points if len(points) <= 2 * _MOST_POINTS else downsample(points, _MOST_POINTS)


# Cards --------------------------------------------------------------------------------------------


def run_card(run: Directory, flags: Mapping[str, str], summaries: Mapping[str, Summary]) -> str:
    """Return what a notebook shows of a run: a line, its flags, its series."""
    status = text("unreadable" if run.error is not None else run.status)
    if run.status_note:
        status += f" ({text(run.status_note)})"
    parts = [
        f"<b>{text(run.id)}</b>",
        status,
        text(" ".join(part for part in (run.model, run.operation) if part)),
        text(format_duration(run.duration_s)),
        text(run.label),
    ]
    lines = [f"<div>{' &middot; '.join(part for part in parts if part)}</div>"]
    if run.error is not None:
        lines.append(f"<div>{text(run.error)}</div>")
    if flags:
        words = " ".join(f"{text(name)}={text(value)}" for name, value in flags.items())
        lines.append(f"<div><code>{words}</code></div>")
    if summaries:
        lines.append(summary_table(run, summaries))
    return f"<div>{''.join(lines)}</div>"


def summary_table(run: Directory, summaries: Mapping[str, Summary]) -> str:
    """Return a table of series with their curves, the first dozen."""
    shown = [*summaries.values()][:_MOST_ROWS]
    sparks = sparks_of(run, [each.key for each in shown])
    rows = [
        [text(each.key), number(each.last), number(each.min), number(each.max), str(each.count),
         spark]
        for each, spark in zip(shown, sparks, strict=True)
    ]  # fmt: skip
    left = len(summaries) - len(shown)
    more = f"<div>and {left} more series</div>" if left else ""
    return table(["series", "last", "min", "max", "points", ""], rows) + more


def series_card(run: Directory, summary: Summary) -> str:
    """Return what a notebook shows of a series."""
    return f"<div>{text(run.id)}</div>{summary_table(run, {summary.key: summary})}"


def sparks_of(run: Directory, keys: Sequence[str]) -> list[str]:
    """Return the sparkline of each key, "" for all where run.db cannot be read."""
    from guildlite.errors import RunUnreadable

    try:
        with run.read() as reader:
            return [spark_of(reader, key) for key in keys]
    except RunUnreadable:
        return [""] * len(keys)
