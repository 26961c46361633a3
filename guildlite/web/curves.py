"""Small curves for rows of tables, kept while the run.db they come from does not change."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from guildlite.errors import RunUnreadable
from guildlite.runs import Run
from guildlite.series import Point

#: Points of one curve: it is 96 pixels wide.
_POINTS = 80
_KEPT = 20_000


class Curves:
    """Reads curves; shared by all requests."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], list[Point]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, run: Run, key: str) -> list[Point]:
        """Return the points of a series of numbers, none where there is no such series."""
        place, points = self._look(run, key)
        if points is not None:
            return points
        points = _read(run, key)
        if place[-1]:
            with self._lock:
                self._kept[place] = points
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return points

    def peek(self, run: Run, key: str) -> list[Point] | None:
        """Return the points where they are at hand, else None: a curve takes 2 ms to read."""
        return self._look(run, key)[1]

    def _look(self, run: Run, key: str) -> tuple[tuple[object, ...], list[Point] | None]:
        place = (str(run.path), key, _stamp(run))
        with self._lock:
            points = self._kept.get(place)
            if points is not None:
                self._kept.move_to_end(place)
        return place, points


def _read(run: Run, key: str) -> list[Point]:
    try:
        with run.read() as reader:
            summary = reader.summary(key)
            if summary is None or summary.kind != "scalar":
                return []
            return reader.chart(key, _POINTS)
    except RunUnreadable:
        return []


def _stamp(run: Run) -> tuple[int, ...]:
    """Return what changes whenever something is committed to the run's run.db."""
    stamp: list[int] = []
    for path in (str(run.paths.db), f"{run.paths.db}-wal"):
        try:
            facts = os.stat(path)
        except OSError:
            continue
        stamp += [facts.st_mtime_ns, facts.st_size, facts.st_ino]
    return tuple(stamp)
