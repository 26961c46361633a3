"""What differs between two runs: what went in, what came out, and where the curves first part."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.platform import open_regular
from guildlite.runs.reader import RunReader
from guildlite.runs.run import Run
from guildlite.series import Point, Summary, is_system_key

#: Attributes that are different in any two runs, or stand in a section of their own.
_OWN = frozenset(
    ["id", "uid", "argv", "command", "command_line", "created", "started", "stopped", "duration",
     "exit_code", "exit_signal", "last_seen", "source_digest", "directory", "packages",
     "environment", "model", "operation", "project"]
)  # fmt: skip
#: The state of the working tree, kept beside the sources; no source itself.
_GIT_DIFF = "git.diff"
#: Larger source files are only said to differ.
MOST_SOURCE_BYTES = 1024 * 1024


class Change(NamedTuple):
    """Something that is not the same in both runs; None where a run has it not."""

    name: str
    one: str | None
    other: str | None


class Parting(NamedTuple):
    """The first step at which two curves have different values. NaN is equal to NaN."""

    step: int
    one: float
    other: float


class Outcome(NamedTuple):
    """A series of the script that ended or went differently; values are the last ones.

    `parting` is None where the curves agree in every step they share.
    """

    key: str
    one: float | None
    other: float | None
    parting: Parting | None


class SourceChange(NamedTuple):
    """A source file that differs. `kind` is changed, removed, added, or binary for no text.

    `lines` are those of a unified diff, without line ends.
    """

    path: str
    kind: str
    lines: list[str]


class RunDifference(NamedTuple):
    """Everything that differs. `machine` is what remains of the attributes: host, hardware, gl.

    `first` is the series that parts first. `trouble` says which run.db cannot be read, `unread`
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
    sources: list[SourceChange]
    trouble: list[str]
    unread: list[str]


def compare_two(one: Run, other: Run, *, most_points: int | None = None) -> RunDifference:
    """Return what differs between two runs; what cannot be read of them is left out and said.

    `most_points` bounds the points read for where curves part, some 100,000 a second; short series
    come first.
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
    outcomes = [] if trouble else [*_outcomes(one, other, most_points, unread)]
    parted = [each for each in outcomes if each.parting is not None]
    first = min(parted, key=lambda each: (_step(each), each.key), default=None)
    git = [_git(run, held) for run, held in zip((one, other), attrs, strict=True)]
    return RunDifference(
        facts=changes(_facts(one), _facts(other)),
        flags=changes(one.flags, other.flags),
        outcomes=outcomes,
        first=first,
        git=changes(*git),
        packages=changes(*(_packages(held.get("packages")) for held in attrs)),
        environment=changes(*(_mapping(held.get("environment")) for held in attrs)),
        machine=changes(*(_machine(held) for held in attrs)),
        sources=[*source_changes(one.paths.sources, other.paths.sources)],
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
    data = _read(run.paths.sources / _GIT_DIFF)
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
    one: Run, other: Run, most_points: int | None, unread: list[str]
) -> Iterator[Outcome]:
    with one.read() as left, other.read() as right:
        held = [{each.key: each for each in reader.summaries()} for reader in (left, right)]
        unread += _too_long(held[0], held[1], most_points)
        for key in dict.fromkeys(key for summaries in held for key in summaries):
            if is_system_key(key):
                continue
            a, b = (summaries.get(key) for summaries in held)
            parting = _parting(left, right, key) if a and b and key not in unread else None
            if parting is not None or not _ended_alike(a, b):
                yield Outcome(key, a.last if a else None, b.last if b else None, parting)


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


def _parting(left: RunReader, right: RunReader, key: str) -> Parting | None:
    return first_parting(left.series(key), right.series(key))


def first_parting(one: Iterable[Point], other: Iterable[Point]) -> Parting | None:
    """Return where two curves first have different values at a step both have, or None.

    Of a step that was written again, as after a restart, the last value counts.
    """
    left = {point.step: point.value for point in one}
    right = {point.step: point.value for point in other}
    for step in sorted(left.keys() & right.keys()):
        a, b = left[step], right[step]
        if a != b and not (math.isnan(a) and math.isnan(b)):
            return Parting(step, a, b)
    return None


# Sources ------------------------------------------------------------------------------------------


def source_changes(one: Path, other: Path) -> Iterator[SourceChange]:
    """Yield the files of two snapshots that differ, by path."""
    left, right = set(_files(one)), set(_files(other))
    for path in sorted(left | right):
        before = _read(one / path) if path in left else None
        after = _read(other / path) if path in right else None
        if before == after:
            continue
        kind = "added" if path not in left else "removed" if path not in right else "changed"
        texts = [_text(data) for data in (before, after)]
        if None in texts:
            yield SourceChange(path, "binary" if kind == "changed" else kind, [])
        else:
            yield SourceChange(path, kind, _unified(path, texts[0] or [], texts[1] or [], kind))


def _unified(path: str, before: list[str], after: list[str], kind: str) -> list[str]:
    from difflib import unified_diff  # 5 ms, and most runs have the same sources

    source = "/dev/null" if kind == "added" else f"a/{path}"
    target = "/dev/null" if kind == "removed" else f"b/{path}"
    return list(unified_diff(before, after, source, target, lineterm=""))


def _files(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root)
            if path != _GIT_DIFF:
                yield path


def _read(path: Path) -> bytes | None:
    try:
        # Not a link or FIFO somebody left there.
        with open_regular(path) as file:
            return file.read() or b""
    except (OSError, ValueError):
        return None


def _text(data: bytes | None) -> list[str] | None:
    """Return the lines of a source file, of one that is not there none; None for no text."""
    if data is None:
        return []
    if len(data) > MOST_SOURCE_BYTES or b"\0" in data:
        return None
    return data.decode("utf-8", "replace").splitlines()
