"""How far a running run is and when it may end, and what that is concluded from.

Nobody tells: a script has a flag that says how many steps or epochs it will make, and its series or
what it prints say how many are done. Where these do not fit together there is no answer.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from guildlite.runs import RunReader, StoredLine
from guildlite.series import Point, Summary
from guildlite.web.ansi import strip_ansi

_STEP_FLAGS = re.compile(
    r"(?:max|num|n|total|train|training)_(?:train_|training_)?(?:steps|iters|iterations|updates)"
    r"|steps|iters|iterations|updates"
)
_EPOCH_FLAGS = re.compile(r"(?:(?:max|num|n|total|train)_)?(?:train_)?epochs")
_EPOCH_SERIES = re.compile(r"(?:.*[/.])?epochs?")
# "epoch 3 of 10", "Epoch [3/10]", "step 1,200/2,000".
_PRINTED = re.compile(
    r"\b(epoch|step|iter|iteration|update)s?\b[\s:=\[(#]{1,3}(\d[\d,_]{0,15})\s*(?:/|of)\s*(\d[\d,_]{0,15})",
    re.IGNORECASE,
)
#: What the pace is taken from: points at the end of a series, lines at the end of the output.
_LAST_POINTS, _LAST_LINES = 500, 400
_LINE_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `goal` units (`step` or `epoch`), and what says so, in words.

    ends_at: epoch seconds at which it ends at the pace of late; None where no pace is known.
    """

    done: int
    goal: int
    unit: str
    basis: str
    ends_at: float | None


#: When how much was done: (epoch seconds, units), as time goes on.
_Marks = Sequence[tuple[float, float]]


def read_progress(
    reader: RunReader,
    flags: Mapping[str, str],
    series: Sequence[Summary],
    now: float | None = None,
) -> Progress | None:
    """Return how far a run is, None where that cannot be said. `now` is in epoch seconds."""
    now = time.time() if now is None else now
    steps, epochs = _goal(flags, _STEP_FLAGS), _goal(flags, _EPOCH_FLAGS)
    longest = max(series, key=lambda each: each.last_step or 0, default=None)
    if steps and longest:
        marks = _step_marks(reader, longest)
        found = _progress(marks, steps[1], "step", f"the flag `{steps[0]}`", now)
        if found:
            return found
    printed = _printed(reader)
    if epochs:
        flag = f"the flag `{epochs[0]}`"
        own = next((each for each in series if _EPOCH_SERIES.fullmatch(each.key)), None)
        if own is not None:
            basis = f"{flag} and the series `{own.key}`"
            return _progress(_value_marks(reader, own), epochs[1], "epoch", basis, now)
        if printed and printed[0] == "epoch" and printed[2] == epochs[1]:
            basis = f"{flag} and what the script prints"
            return _progress(printed[1], epochs[1], "epoch", basis, now)
        if longest and 0 < (longest.last_step or 0) <= epochs[1] and not steps:
            basis = f"{flag}, if each step is an epoch"
            return _progress(_step_marks(reader, longest), epochs[1], "epoch", basis, now)
    if printed:
        return _progress(printed[1], printed[2], printed[0], "what the script prints", now)
    return None


def _goal(flags: Mapping[str, str], names: re.Pattern[str]) -> tuple[str, int] | None:
    """Return the flag that says how much there is to do, with its number."""
    for name, text in flags.items():
        plain = name.lower().replace("-", "_").rpartition(".")[2]
        if not names.fullmatch(plain):
            continue
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number) and number >= 1 and number == int(number):
            return name, int(number)
    return None


def _step_marks(reader: RunReader, series: Summary) -> _Marks:
    """Return when which step was, counted so that a first step 0 is one done."""
    shift = 1 if series.first_step == 0 else 0
    points = _last_points(reader, series)
    return [(at / 1000, step + shift) for step, at, _ in points if at is not None]


def _value_marks(reader: RunReader, series: Summary) -> _Marks:
    shift = 1 if series.first == 0 else 0
    points = _last_points(reader, series)
    return [
        (at / 1000, value + shift)
        for _, at, value in points
        if at is not None and value is not None and math.isfinite(value)
    ]


def _last_points(reader: RunReader, series: Summary) -> list[Point]:
    return reader.series_from(series.key, max(0, series.count - _LAST_POINTS))


def _printed(reader: RunReader) -> tuple[str, _Marks, int] | None:
    """Return the unit, the marks and the goal that the last lines speak of."""
    found = list(_spoken(reader.last_output(_LAST_LINES)))
    if not found:
        return None
    # Steps count within an epoch, so epochs say more about the whole.
    epochs = [each for each in found if each[0] == "epoch"]
    unit, _, _, goal = (epochs or found)[-1]
    marks = [(at, done) for word, at, done, of in found if (word, of) == (unit, goal)]
    return unit, marks, goal


def _spoken(lines: Sequence[StoredLine]) -> Iterator[tuple[str, float, int, int]]:
    for line in lines:
        match = _PRINTED.search(strip_ansi(line.text[:_LINE_CHARACTERS]))
        if match is None or line.time is None or line.op:
            continue
        done, goal = (int(re.sub("[,_]", "", text)) for text in (match[2], match[3]))
        unit = "epoch" if match[1].lower() == "epoch" else "step"
        if 0 <= done <= goal and goal > 0:
            yield unit, line.time / 1000, done, goal


def _progress(marks: _Marks, goal: int, unit: str, basis: str, now: float) -> Progress | None:
    """Return the progress at the last mark; None past the goal, which then means something else."""
    if not marks or not 0 <= marks[-1][1] <= goal:
        return None
    at, done = marks[-1]
    pace_s = _pace(marks)
    if pace_s is None:
        return Progress(int(done), goal, unit, basis, None)
    # A unit that takes longer than those before it puts the end off.
    return Progress(int(done), goal, unit, basis, max(at, now - pace_s) + (goal - done) * pace_s)


def _pace(marks: _Marks) -> float | None:
    """Return seconds for one unit, over the marks since a count began anew."""
    begin = len(marks) - 1
    while begin > 0 and marks[begin - 1][1] <= marks[begin][1]:
        begin -= 1
    (first_at, first), (last_at, last) = marks[begin], marks[-1]
    return (last_at - first_at) / (last - first) if last > first and last_at > first_at else None
