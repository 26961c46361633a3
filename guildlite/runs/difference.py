"""What differs between two runs: what went in, what came out, and where the curves first part."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.runs.reader import RunReader
from guildlite.runs.run import Run
from guildlite.runs.sourcediff import FileDiff, diff_sources, kept_sources, read_file
from guildlite.series import Summary, is_system_key

#: Attributes that are different in any two runs, or stand in a section of their own.
_OWN = frozenset(
    ["id", "uid", "argv", "command", "command_line", "created", "started", "stopped", "duration",
     "exit_code", "exit_signal", "last_seen", "source_digest", "directory", "packages",
     "environment", "model", "operation", "project"]
)  # fmt: skip
#: Relative difference of two values below which their curves may be said to run together: what
#: another order of summation or another GPU does to a loss within an epoch stays below.
TOLERANCE = 0.01
#: Larger is no diff of source that `git apply` would be given.
_MOST_GIT_DIFF_BYTES = 8 * 1024 * 1024


class Change(NamedTuple):
    """Something that is not the same in both runs; None where a run has it not."""

    name: str
    one: str | None
    other: str | None


class Parting(NamedTuple):
    """A step at which two curves have different values. NaN is equal to NaN."""

    step: int
    one: float
    other: float


class Outcome(NamedTuple):
    """A series of the script that ended or went differently.

    `one` and `other` are the last values, None where a run has no such series; the steps are those
    of the last values. `parting` is the first step at which the values are not the same, `beyond`
    the first at which they differ by more than the tolerance; None where the curves agree, so far,
    in every step they share.
    """

    key: str
    one: float | None
    other: float | None
    one_step: int | None
    other_step: int | None
    parting: Parting | None
    beyond: Parting | None


class RunDifference(NamedTuple):
    """Everything that differs. `machine` is what remains of the attributes: host, hardware, gl.

    `first` is the series that parts first. `without_source` are the runs that kept no source; where
    one did not, sources are not compared. `trouble` says which run.db cannot be read, `unread`
    which curves were too long to look for where they part.
    """

    facts: list[Change]
    flags: list[Change]
    outcomes: list[Outcome]
    first: Outcome | None
    git: list[Change]
    packages: list[Change]
    environment: list[Change]
    machine: list[Change]
    sources: list[FileDiff]
    without_source: tuple[str, ...]
    trouble: list[str]
    unread: list[str]

    def inputs_differ(self) -> bool:
        """Return whether anything differs of what could make the runs go differently."""
        return any((self.flags, self.git, self.packages, self.environment, self.machine,
                    self.sources))  # fmt: skip


def compare_two(
    one: Run,
    other: Run,
    *,
    tolerance: float = TOLERANCE,
    curves: bool = True,
    most_points: int | None = None,
) -> RunDifference:
    """Return what differs between two runs; what cannot be read of them is left out and said.

    `tolerance` is that of `Outcome.beyond`, relative to the larger value. Without `curves` only
    what went in is compared, and the series are not read. `most_points` bounds the points read for
    where curves part, some 100,000 a second; short series come first.
    """
    trouble: list[str] = []
    attrs: list[dict[str, str]] = []
    for run in (one, other):
        try:
            with run.read() as reader:
                attrs.append(reader.attrs())
        except RunUnreadable as error:
            trouble.append(f"{run.id}: {error.message}")
            attrs.append({})
    unread: list[str] = []
    compared = curves and not trouble
    outcomes = [*_outcomes(one, other, tolerance, most_points, unread)] if compared else []
    parted = [each for each in outcomes if each.parting is not None]
    first = min(parted, key=lambda each: (_step(each), each.key), default=None)
    git = [_git(run, held) for run, held in zip((one, other), attrs, strict=True)]
    trees = [kept_sources(run) for run in (one, other)]
    pairs = zip((one, other), trees, strict=True)
    without = tuple(dict.fromkeys(run.id for run, tree in pairs if not tree.files))
    return RunDifference(
        facts=changes(_facts(one), _facts(other)),
        flags=changes(one.flags, other.flags),
        outcomes=outcomes,
        first=first,
        git=changes(*git),
        packages=changes(*(_packages(held.get("packages")) for held in attrs)),
        environment=changes(
            *(_environment(run, held) for run, held in zip((one, other), attrs, strict=True))
        ),
        machine=changes(*(_machine(held) for held in attrs)),
        sources=[] if without else [*diff_sources(*trees)],
        without_source=without,
        trouble=trouble,
        unread=unread,
    )


def changes(one: Mapping[str, str], other: Mapping[str, str]) -> list[Change]:
    """Return what differs between two mappings, in the order of the first, then of the second."""
    names = dict.fromkeys([*one, *other])
    return [
        Change(name, one.get(name), other.get(name))
        for name in names
        if one.get(name) != other.get(name)
    ]


def _facts(run: Run) -> dict[str, str]:
    if run.error:
        return {"status": "unreadable"}
    facts = {"status": run.status.value, "project": run.project, "model": run.model}
    facts |= {"operation": run.operation, "label": run.label, "ending": run.ending}
    return {name: text for name, text in facts.items() if text}


def _git(run: Run, attrs: Mapping[str, str]) -> dict[str, str]:
    found = {
        name.removeprefix("git."): value
        for name, value in attrs.items()
        if name.startswith("git.") and value
    }
    data = read_file(run.paths.git_diff, _MOST_GIT_DIFF_BYTES)
    if data is not None:
        lines = data.splitlines()
        added = sum(line.startswith(b"+") and not line.startswith(b"+++") for line in lines)
        removed = sum(line.startswith(b"-") and not line.startswith(b"---") for line in lines)
        found["uncommitted"] = f"+{added} -{removed} lines"
    return found


def _machine(attrs: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in attrs.items()
        if value and name not in _OWN and not name.startswith("git.")
    }


def _packages(text: str | None) -> dict[str, str]:
    """Return version by name of a JSON list of `name==version`."""
    found = _json(text)
    words = [str(each) for each in found] if isinstance(found, list) else []
    return {name: version for name, _, version in (word.partition("==") for word in sorted(words))}


#: Variables of a run's own directory and of gl itself.
_OWN_VARIABLES = frozenset(["RUNDIR", "GL_OPERATION", "PROJECT", "PYTHONUNBUFFERED"])


def _environment(run: Run, attrs: Mapping[str, str]) -> dict[str, str]:
    """Return the program that ran and its variables: those recorded, and those given to it."""
    program = {"program": run.command[0]} if run.command else {}
    found = _mapping(attrs.get("environment"))
    given = run.manifest.get("env")
    if isinstance(given, dict):
        for name, value in given.items():
            if name not in _OWN_VARIABLES:
                found[str(name)] = str(value).replace(str(run.path), "$RUNDIR")
    return {**program, **found}


def _mapping(text: str | None) -> dict[str, str]:
    found = _json(text)
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _json(text: str | None) -> object:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


# Curves -------------------------------------------------------------------------------------------


def _step(outcome: Outcome) -> int:
    assert outcome.parting is not None
    return outcome.parting.step


def _outcomes(
    one: Run, other: Run, tolerance: float, most_points: int | None, unread: list[str]
) -> Iterator[Outcome]:
    with one.read() as left, other.read() as right:
        held = [{each.key: each for each in reader.summaries()} for reader in (left, right)]
        unread += _too_long(held[0], held[1], most_points)
        for key in dict.fromkeys(key for summaries in held for key in summaries):
            if is_system_key(key):
                continue
            a, b = (summaries.get(key) for summaries in held)
            parting = beyond = None
            if a and b and key not in unread:
                parting, beyond = first_partings(_points(left, key), _points(right, key), tolerance)
            if parting is not None or not _ended_alike(a, b):
                ends = [each.last_step if each else None for each in (a, b)]
                yield Outcome(key, _last(a), _last(b), ends[0], ends[1], parting, beyond)


def _last(summary: Summary | None) -> float | None:
    if summary is None:
        return None
    return math.nan if summary.last is None else summary.last


def _too_long(
    one: Mapping[str, Summary], other: Mapping[str, Summary], most_points: int | None
) -> Iterator[str]:
    """Yield the series in both that are beyond the bound when the shortest are read first."""
    if most_points is None:
        return
    shared = [key for key in one if key in other and not is_system_key(key)]
    read = 0
    for key in sorted(shared, key=lambda key: one[key].count + other[key].count):
        read += one[key].count + other[key].count
        if read > most_points:
            yield key


def _ended_alike(one: Summary | None, other: Summary | None) -> bool:
    if one is None or other is None:
        return False
    return one.last == other.last and one.last_step == other.last_step


def _points(reader: RunReader, key: str) -> Iterator[tuple[int, float]]:
    columns = reader.columns_from(key, 0)
    return zip(columns.steps, columns.values, strict=True)


def first_partings(
    one: Iterable[tuple[int, float]], other: Iterable[tuple[int, float]], tolerance: float
) -> tuple[Parting | None, Parting | None]:
    """Return the first step where two curves of (step, value) differ, and where they do beyond
    `tolerance`, a share of the larger value.

    Steps that only one has do not count. Of a step that was written again, as after a restart, the
    last value does.
    """
    left, right = dict(one), dict(other)
    first = None
    for step in sorted(left.keys() & right.keys()):
        a, b = left[step], right[step]
        if a == b or (a != a and b != b):
            continue
        first = first or Parting(step, a, b)
        # Also where one of the two is NaN or infinite.
        if not abs(a - b) <= tolerance * max(abs(a), abs(b)) or math.isinf(a) or math.isinf(b):
            return first, Parting(step, a, b)
    return first, None
