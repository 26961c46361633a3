"""What run.db holds, the way export and verification take it: by series, segment and source file.

A `StoredRun` is a `RunReader` that also tells from which file each point came. Memory is bounded by
a block of points, however long a series is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.runs import Run, RunReader

#: Points fetched at once: a few MB.
_BLOCK = 20_000
EVENTS = "tfevents"


class StoredPoint(NamedTuple):
    """A row of `series`: `time` in ms or None, `value` None for NaN."""

    step: int
    time: int | None
    value: float | None
    segment: int


class Origin(NamedTuple):
    """The file a segment was read from; `kind` is empty for what guildlite measured itself."""

    source: int | None
    path: str
    kind: str

    @property
    def directory(self) -> str:
        """The sub-directory of the run that the file lies in; empty for the run itself."""
        return self.path.rpartition("/")[0]


@dataclass(slots=True)
class Exported:
    """What was written of one run.

    `media` counts values that are no scalars. `lost` are sentences about values whose event file
    does not hold them any more, `left_out` maps kinds to the number of values that this form has no
    place for.
    """

    run: str
    path: Path
    series: int = 0
    points: int = 0
    media: int = 0
    lost: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


class StoredRun(RunReader):
    """One run.db, open for reading; raises RunUnreadable."""

    def __init__(self, run: Run) -> None:
        try:
            super().__init__(run.paths.db)
        except OSError as error:
            raise RunUnreadable(f"{run.paths.db} cannot be read: {error.strerror}") from error
        self._ids: dict[str, int] | None = None

    def __enter__(self) -> StoredRun:
        return self

    def scalar_keys(self) -> list[str]:
        """Return the keys of the scalar series that have points, in order."""
        return sorted(self._key_ids())

    def points(self, key: str) -> Iterator[StoredPoint]:
        """Yield the points of a scalar series in the order written."""
        number, seq = self._key_ids()[key], -1
        query = (
            "SELECT step, time, value, segment, seq FROM series"
            " WHERE key_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        )
        while rows := list(self._rows(query, number, seq, _BLOCK)):
            yield from (StoredPoint(*row[:4]) for row in rows)
            seq = rows[-1][4]

    def origins(self, key: str) -> dict[int, Origin]:
        """Return where each segment of a series comes from."""
        rows = self._rows(
            "SELECT segment.segment, source.id, source.path, source.kind"
            " FROM segment LEFT JOIN source ON source.id = segment.source_id"
            " WHERE key_id = ? ORDER BY segment.segment",
            self._key_ids()[key],
        )
        return {
            segment: Origin(source, path or "", kind or "") for segment, source, path, kind in rows
        }

    @property
    def has_media(self) -> bool:
        """Whether run.db is of a version that has values that are no scalars."""
        return self._has_media()

    def media_counts(self) -> dict[int, dict[str, tuple[str, int]]]:
        """Return kind and number of the values that are no scalars, by source and key."""
        found: dict[int, dict[str, tuple[str, int]]] = {}
        if self.has_media:
            for source, key, kind, count in self._rows(
                "SELECT source_id, key, kind, count(*) FROM media"
                " JOIN series_key ON series_key.id = media.key_id GROUP BY 1, 2, 3"
            ):
                found.setdefault(source, {})[key] = (kind, count)
        return found

    def _key_ids(self) -> dict[str, int]:
        if self._ids is None:
            rows = self._rows("SELECT key, id FROM series_key WHERE kind = 'scalar' AND count > 0")
            self._ids = dict(rows)
        return self._ids
