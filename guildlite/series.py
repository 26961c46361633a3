"""Points, series and what is said of them: the vocabulary between collectors, run.db and readers.

A collector gives `Reading`s; `runs.db.RunDb` commits each one whole or not at all, together with
the `Cursor` that says how far its source has been read. Readers get `Point`s and `Summary`s back.
Nothing here touches the disk.

Units: `time` is milliseconds since the epoch, or None when nobody saw the moment. `value` is a
float; NaN is allowed here and becomes NULL in run.db, infinities are kept. `step` is a signed
64-bit integer.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

MIN_STEP, MAX_STEP = -(2**63), 2**63 - 1

#: What a series holds. Only `scalar` series have rows in the `series` table.
KINDS = (
    "scalar", "image", "audio", "text", "histogram", "pr_curve",
    "mesh", "graph", "embedding", "hparams", "layout", "other",
)  # fmt: skip

STDOUT, STDERR = 1, 2

#: Keys of what guildlite itself measures: the operation it belongs to (a later one's name, or
#: None), the key without it, and its family. A script's own `model/op/x` is none.
SYSTEM_KEY = re.compile(
    r"(?:([^/]+)/)?((sys|op|gpu)(?:"
    r"(?<=sys)/(?:cpu\d*|mem|swap|disk|net)/\w+"
    r"|(?<=op)/(?:cpu/util|mem/\w+|threads|io/\w+)"
    r"|(?<=gpu)\d+/(?:mig\d+/)?(?:mem/)?\w+))"
)


class Point(NamedTuple):
    """One value of a series. Collectors may hand over plain tuples of the same shape."""

    step: int
    time: int | None
    value: float


class PointColumns(NamedTuple):
    """Many points of a series as three lists of one length, in the order written."""

    steps: list[int]
    times: list[int | None]
    values: list[float]


class Item(NamedTuple):
    """One value of a series that is no scalar, by reference: it lies in the reading's source.

    `offset` is where its record begins there, `length` and `checksum` are the payload's, `nth` is
    the value's place in the record.
    """

    step: int
    time: int | None
    offset: int
    length: int
    checksum: int
    nth: int


class SeriesMetadata(NamedTuple):
    """What the first value of a series stated of all; `content` is the plugin's own bytes."""

    display_name: str = ""
    description: str = ""
    content: bytes = b""


class Items(NamedTuple):
    """Values of one series that are no scalars, in the order written; `kind` is one of `KINDS`.

    `plugin` is the plugin that its writer named, or empty.
    """

    key: str
    kind: str
    plugin: str
    items: list[Item]
    metadata: SeriesMetadata | None = None


class Session(NamedTuple):
    """What an event file says of hparams: the start of a session, its end, or both.

    `session` is the file's directory in the run, empty for the run itself. None is what was not
    said. `values` maps name to (text, type), the type float, str or bool. Moments in ms.
    """

    session: str
    group: str | None = None
    status: str | None = None
    started: int | None = None
    ended: int | None = None
    values: dict[str, tuple[str, str]] | None = None


class Experiment(NamedTuple):
    """What an experiment varies and judges, as the hparams plugin states it in `directory`.

    `hparams` maps name to a list of values, to an interval {"min", "max"}, or to None; `metrics`
    are [group, tag] pairs.
    """

    directory: str
    name: str
    description: str
    hparams: dict[str, object]
    metrics: list[list[str]]


class FileSeen(NamedTuple):
    """A file of the run as it was when last looked at; `modified` in ms."""

    path: str
    size: int
    modified: int


class EmbeddingSeen(NamedTuple):
    """An embedding as a projector configuration lists it, with the files that are there."""

    key: str
    name: str
    tensor: FileSeen | None
    metadata: FileSeen | None
    sprite: FileSeen | None
    bookmarks: FileSeen | None
    shape: tuple[int, ...] = ()
    sprite_size: tuple[int, ...] = ()
    time: int | None = None


class OutputLine(NamedTuple):
    """One line the script printed, without its line end; of a redrawn line the last state.

    `stream` is STDOUT or STDERR. `op` is empty for the run's own operation, else the name of the
    later operation's folder, as in `2-evaluate`.
    """

    time: int | None
    stream: int
    text: str
    op: str = ""


class Cursor:
    """How far one source file of a run has been read.

    `path` is relative to the run directory with `/` between parts. `digest` names the file's first
    record, so that a copied run continues and a replaced file starts again; it is empty while
    the file is. `offset` is the byte after the last thing taken. `state` is what else the reader
    must remember to go on, as JSON-able values that nobody changes any more. `error` names damage
    that ended the file.
    """

    # Written by hand, like `Reading`: dataclasses would cost every start of gl 5 ms.
    __slots__ = ("digest", "error", "kind", "offset", "path", "state")

    def __init__(
        self,
        path: str,
        kind: str,
        digest: str = "",
        offset: int = 0,
        state: dict[str, object] | None = None,
        error: str | None = None,
    ) -> None:
        self.path, self.kind, self.digest, self.offset = path, kind, digest, offset
        self.state: dict[str, object] = {} if state is None else state
        self.error = error

    def _values(self) -> tuple[object, ...]:
        return self.path, self.kind, self.digest, self.offset, self.state, self.error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cursor) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Cursor{self._values()!r}"


class Reading:
    """What one look at one source gave.

    `cursor` is where the source stands after this reading, None for live measurements (psutil,
    NVML) that cannot be read twice. `points` maps series key to points in the order written, and
    so does `columns` for series with many at once; a key is in one of them only. `attrs` are facts
    learnt on the way. `notices` go to the run's errors.log, once each.

    `media` are values that are no scalars, `sessions` and `experiments` what hparams say.
    `embeddings`, when not None, are all that the source lists by now. `restart` is a step at which
    the source began anew, before what this reading gives.
    """

    __slots__ = (
        "attrs", "columns", "cursor", "embeddings", "experiments", "lines", "media", "notices",
        "points", "restart", "sessions",
    )  # fmt: skip

    def __init__(
        self,
        cursor: Cursor | None = None,
        points: dict[str, list[Point]] | None = None,
        lines: list[OutputLine] | None = None,
        attrs: dict[str, str] | None = None,
        notices: list[str] | None = None,
        columns: dict[str, PointColumns] | None = None,
        media: list[Items] | None = None,
        sessions: list[Session] | None = None,
        experiments: list[Experiment] | None = None,
        embeddings: list[EmbeddingSeen] | None = None,
        restart: int | None = None,
    ) -> None:
        self.cursor = cursor
        self.points: dict[str, list[Point]] = {} if points is None else points
        self.lines: list[OutputLine] = [] if lines is None else lines
        self.attrs: dict[str, str] = {} if attrs is None else attrs
        self.notices: list[str] = [] if notices is None else notices
        self.columns: dict[str, PointColumns] = {} if columns is None else columns
        self.media: list[Items] = [] if media is None else media
        self.sessions: list[Session] = [] if sessions is None else sessions
        self.experiments: list[Experiment] = [] if experiments is None else experiments
        self.embeddings = embeddings
        self.restart = restart

    def _values(self) -> tuple[object, ...]:
        return (
            self.cursor, self.points, self.lines, self.attrs, self.notices, self.columns,
            self.media, self.sessions, self.experiments, self.embeddings, self.restart,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reading) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Reading{self._values()!r}"

    def __bool__(self) -> bool:
        return any(value not in (None, [], {}) for value in self._values())


class Summary(NamedTuple):
    """What the `series_key` row says of a series.

    `count` counts every point; `nan` and `infinite` those that are not finite. `first` and `last`
    are values as written (None for NaN); `min`, `max` and `mean` are over the finite values and
    None when there are none. Times in ms, None where unknown.
    """

    key: str
    kind: str
    count: int  # type: ignore[assignment]  # the tuple method of that name is not missed
    first: float | None
    last: float | None
    min: float | None
    max: float | None
    mean: float | None
    first_step: int | None
    last_step: int | None
    min_step: int | None
    max_step: int | None
    first_time: int | None
    last_time: int | None
    nan: int = 0
    infinite: int = 0
    segments: int = 1


def is_system_key(key: str) -> bool:
    """Return whether a series was measured by guildlite rather than written by the script."""
    return SYSTEM_KEY.fullmatch(key) is not None


def downsample(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most `most` points that draw the same line: the ends, and each bucket's extremes.

    Points keep their order. Every bucket of neighbours gives its smallest and largest value and
    the first and last point are always kept, so no spike is lost (min/max decimation). NaN points
    are kept out; `most` must be at least 4.
    """
    if most < 4:
        raise ValueError("most must be at least 4")
    finite = [point for point in points if point.value == point.value]
    if len(finite) <= most:
        return finite
    buckets = (most - 2) // 2
    inner = finite[1:-1]
    kept = [finite[0]]
    for index in range(buckets):
        low = index * len(inner) // buckets
        high = (index + 1) * len(inner) // buckets
        chunk = range(low, high)
        lowest = min(chunk, key=lambda i: inner[i].value)
        highest = max(chunk, key=lambda i: inner[i].value)
        kept.extend(inner[i] for i in sorted({lowest, highest}))
    kept.append(finite[-1])
    return kept


def last_time(points: Iterable[Point]) -> int | None:
    """Return the latest known time among points, in ms."""
    return max((point.time for point in points if point.time is not None), default=None)


def group_scalars(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the series that `add_scalars` spread over sub-directories, by their main tag.

    PyTorch writes `add_scalars("losses", {"a": 1, "b": 2})` as the tag `losses` in directories
    `losses_a` and `losses_b`, tensorboardX in `losses/a` and `losses/b`; both give
    `{"losses": {"a": KEY, "b": KEY}}`, main tags and names in order. Of a main tag such as
    `train/loss` PyTorch's directories begin with `train_loss_`. A directory that also holds other
    series was not made by `add_scalars`.
    """
    keys = sorted(set(keys))
    groups: dict[str, dict[str, str]] = {}
    for key in keys:
        for directory, main, name in _spread(key):
            if _count_below(keys, f"{directory}/") == 1:
                groups.setdefault(main, {})[name] = key
                break
    return {main: dict(sorted(group.items())) for main, group in sorted(groups.items())}


#: Directories above a series that are looked at: no collector goes deeper.
_MOST_DIRECTORIES = 9


def _spread(key: str) -> Iterator[tuple[str, str, str]]:
    """Yield the ways in which `add_scalars` may have come to a key: directory, main tag, name."""
    parts = key.split("/")
    for at in range(1, min(len(parts), _MOST_DIRECTORIES + 1)):
        tag = "/".join(parts[at:])
        for start in range(at):
            written = "/".join(parts[start:at])
            for prefix in (tag.replace("/", "_") + "_", tag + "/"):
                if written.startswith(prefix) and written != prefix:
                    main = "/".join([*parts[:start], tag])
                    yield "/".join(parts[:at]), main, written[len(prefix) :]


def _count_below(keys: Sequence[str], prefix: str) -> int:
    """Return how many of sorted keys begin with `prefix`, counted up to two."""
    at = bisect_left(keys, prefix)
    return sum(key.startswith(prefix) for key in keys[at : at + 2])
