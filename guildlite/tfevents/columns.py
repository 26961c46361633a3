"""Scalars of one tag as columns, and what reading a stretch of records gave."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from guildlite.tfevents.record import BadFraming


class Columns:
    """The scalars of one tag in the order written, as three arrays of one length.

    `steps` are signed 64-bit integers, `wall_times` (seconds since the epoch, as written) and
    `values` are doubles. NaN and infinities are kept. The arrays are `array.array`, so that NumPy
    takes them without a copy and nobody needs NumPy to use them. Iterating gives
    (step, wall time, value).
    """

    __slots__ = ("steps", "values", "wall_times")

    def __init__(
        self,
        steps: array[int] | None = None,
        wall_times: array[float] | None = None,
        values: array[float] | None = None,
    ) -> None:
        self.steps = array("q") if steps is None else steps
        self.wall_times = array("d") if wall_times is None else wall_times
        self.values = array("d") if values is None else values

    def append(self, step: int, wall_time: float, value: float) -> None:
        """Add one scalar at the end."""
        self.steps.append(step)
        self.wall_times.append(wall_time)
        self.values.append(value)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, float, float]]:
        return zip(self.steps, self.wall_times, self.values, strict=True)

    def __repr__(self) -> str:
        return f"Columns({list(self)!r})"


class Reference(NamedTuple):
    """Where a value lies in its event file.

    `offset` is the first byte of its record, `length` and `checksum` are those of the record's
    payload, `nth` says which value of the record it is, from 0.
    """

    offset: int
    length: int
    checksum: int
    nth: int


class StoredValue(NamedTuple):
    """A value that is not a scalar, by reference: see `contents.read_content`.

    `metadata` is where the tag's plugin data was first stated, if that is another place. `stated`
    is as in `event.OtherValue`.
    """

    tag: str
    plugin: str
    kind: str
    step: int
    wall_time: float
    reference: Reference
    states: bool = False
    metadata: Reference | None = None
    stated: bytes = b""


class Batch:
    """What a stretch of records gave.

    `columns` maps tag to its scalars, in order of the tags' first appearance. `others` are the
    values that are not scalars, in file order. `skipped` counts the damaged records, `damage` is
    the place of the first and what is wrong with it. `framing` is the damage that ended the file.
    `restart` is the step at which a session began before the first of the values, if one did.
    """

    __slots__ = ("columns", "damage", "framing", "others", "points", "restart", "skipped")

    def __init__(self) -> None:
        self.columns: dict[str, Columns] = {}
        self.others: list[StoredValue] = []
        self.points = 0
        self.skipped = 0
        self.damage: tuple[int, str] | None = None
        self.framing: BadFraming | None = None
        self.restart: int | None = None

    def restart_at(self, step: int) -> None:
        """Note that a session begins at `step`, before the first value."""
        self.restart = step if self.restart is None else min(step, self.restart)

    def skip(self, offset: int, reason: str) -> None:
        """Count a damaged record that begins at `offset`."""
        self.skipped += 1
        if self.damage is None:
            self.damage = (offset, reason)
