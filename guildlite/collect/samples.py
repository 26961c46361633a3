"""System samples spooled by an operation that does not hold the run's lock.

`SampleSpool` appends them to `samples.jsonl` in the operation's folder, one JSON object a sample;
`Samples` gives them to whoever does hold the lock, like any other file source.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from guildlite.platform import open_regular
from guildlite.runs.paths import RunPaths
from guildlite.series import Cursor, Point, Reading

KIND = "samples"


class SampleSpool:
    """Appends readings without a cursor to a file. OSError passes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, readings: Iterable[Reading]) -> None:
        """Append the points and attributes of readings, each sample a whole line."""
        lines = [
            json.dumps({"points": reading.points, "attrs": reading.attrs}) + "\n"
            for reading in readings
            if reading.points or reading.attrs
        ]
        if lines:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("".join(lines))


class Samples:
    """Collector of the spools of all later operations on a run."""

    name = "samples"

    def __init__(self, paths: RunPaths, cursors: Iterable[Cursor] = ()) -> None:
        self._paths = paths
        self._offsets = {cursor.path: cursor.offset for cursor in cursors if cursor.kind == KIND}

    def probe(self) -> dict[str, str]:
        return {}

    def sample(self, final: bool = False) -> Iterator[Reading]:
        """Yield one reading for each spool that grew."""
        for operation in self._paths.operations():
            path = operation.samples
            name = path.relative_to(self._paths.run_dir).as_posix()
            try:
                with open_regular(path) as file:
                    file.seek(self._offsets.get(name, 0))
                    data = file.read(1024 * 1024)
            except OSError:
                continue
            whole = data[: data.rfind(b"\n") + 1]
            if not whole:
                continue
            self._offsets[name] = self._offsets.get(name, 0) + len(whole)
            yield _reading(name, self._offsets[name], whole)

    def close(self) -> None:
        """Nothing is held open."""


def _reading(name: str, offset: int, data: bytes) -> Reading:
    reading = Reading(cursor=Cursor(name, KIND, digest="samples", offset=offset))
    damaged = 0
    for line in data.splitlines():
        try:
            points, attrs = _parse_sample(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            damaged += 1
            continue
        for key, rows in points.items():
            reading.points.setdefault(key, []).extend(rows)
        reading.attrs.update(attrs)
    if damaged:
        reading.notices.append(f"`{name}` has lines that are no samples; they are passed over")
    return reading


def _parse_sample(line: bytes) -> tuple[dict[str, list[Point]], dict[str, str]]:
    """Return points and attributes of a line; any error of parsing means that it is no sample."""
    sample = json.loads(line)
    points = {
        str(key): [
            Point(int(step), None if at is None else int(at), float(value))
            for step, at, value in rows
        ]
        for key, rows in sample["points"].items()
    }
    return points, {str(name): str(value) for name, value in sample.get("attrs", {}).items()}
