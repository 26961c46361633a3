"""One run, as Python sees it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from guildlite.api.markup import run_card, summary_table
from guildlite.api.reading import (
    Columns,
    find_key,
    look,
    moment,
    open_reader,
    read_columns,
    read_summaries,
)
from guildlite.api.series import Series, not_found
from guildlite.errors import GuildliteError, UsageError
from guildlite.flags import Value, parse_scalar
from guildlite.runs import Run as Directory
from guildlite.runs import RunReader, StoredLine
from guildlite.runs.paths import OWN_DIR, TRASH_DIR
from guildlite.runs.printed import said_again
from guildlite.series import STDERR, STDOUT, Summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from guildlite.api.plots import Curve

_STREAMS = {"stdout": STDOUT, "stderr": STDERR}
_LOOK_S = 0.1


class WaitTimeout(GuildliteError, TimeoutError):
    """The run went on for longer than was to be waited."""

    def __str__(self) -> str:
        return self.message


class Run:
    """One run. Every property is read from its directory when it is asked for.

    So all of them are right while the run goes on and when it is moved to the trash, and any number
    of threads may ask. What needs
    run.db raises RunUnreadable when that is damaged; a run that has only just started has no series
    and no output yet. Made by `gl.run`, `gl.runs` and `gl.launch`, or of a run directory's path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(os.path.abspath(path))

    def __repr__(self) -> str:
        return f"Run({self.id!r}, {self.status})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self._path == other._path

    def __hash__(self) -> int:
        return hash(self._path)

    def __fspath__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        found = self._read()
        try:
            summaries: Mapping[str, Summary] = read_summaries(found, system=False)
        except GuildliteError:
            summaries = {}
        again = said_again(summaries.values())
        shown = {key: each for key, each in summaries.items() if key not in again}
        return run_card(found, found.flags, shown)

    def _read(self) -> Directory:
        found = Directory(self._path)
        if found.error is not None and not self._path.exists():
            # Who moved it to the trash elsewhere may still want to know what it said.
            trashed = self._path.parent / TRASH_DIR / self._path.name
            if trashed.is_dir():
                return Directory(trashed)
        return found

    # What it is -----------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The run directory, absolute, also in the trash; what the script wrote is in it."""
        return self._read().path

    @property
    def id(self) -> str:
        """The directory's name, as in `20261120T174501Z-expert`."""
        return self._path.name

    @property
    def project(self) -> str:
        """The project's name."""
        return self._read().project

    @property
    def model(self) -> str:
        """The model's name, or the script's."""
        return self._read().model

    @property
    def operation(self) -> str:
        """The operation's name, as in `train`."""
        return self._read().operation

    @property
    def status(self) -> str:
        """`pending`, `running`, `completed`, `failed`, `stopped` or `lost`, at this moment.

        `unreadable` when `error` says why the run cannot be read.
        """
        found = self._read()
        return found.status.value if found.error is None else "unreadable"

    @property
    def status_note(self) -> str | None:
        """What a status needs said, as in `on tower, unseen since ...`; mostly None."""
        return self._read().status_note

    @property
    def ended(self) -> bool:
        """Whether the status is one that stays."""
        return self._read().status.ended

    @property
    def ending(self) -> str:
        """How the script ended: `exit status 1`, `died of SIGKILL`; "" while nobody knows."""
        return self._read().ending

    @property
    def exit_code(self) -> int | None:
        """The script's exit status; None while it runs and when it died of a signal."""
        return self._read().exit_code

    @property
    def error(self) -> str | None:
        """Why the run cannot be read, or None."""
        return self._read().error

    @property
    def created(self) -> datetime | None:
        """When it was asked for, UTC."""
        return moment(self._read().created_at)

    @property
    def started(self) -> datetime | None:
        """When the script started, UTC; None before, and when nobody saw it."""
        return moment(self._read().started_at)

    @property
    def stopped(self) -> datetime | None:
        """When the script ended, UTC; None before, and when nobody saw it."""
        return moment(self._read().stopped_at)

    @property
    def duration(self) -> float | None:
        """Seconds from start to end, so far while it runs; None when nobody knows."""
        return self._read().duration_s

    @property
    def command(self) -> list[str]:
        """The exact words that were executed; secret values are a mark."""
        return self._read().command

    @property
    def manifest(self) -> Mapping[str, object]:
        """What was asked, as the run keeps it; see docs/reference/run-directory.md."""
        return MappingProxyType(dict(self._read().manifest))

    @property
    def flags(self) -> dict[str, Value]:
        """Flags in project order: bool, int, float, str or None, by the rules of YAML 1.2.

        The text `007` is 7 here; `manifest["flags"]` has texts as they were written. A secret value
        is a mark.
        """
        return {name: parse_scalar(text) for name, text in self._read().flags.items()}

    @property
    def attributes(self) -> dict[str, str]:
        """Facts that are no numbers over time, by name: host, git commit, GPUs and so on."""
        return look(self._read(), RunReader.attrs, {})

    # Words that may be changed --------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The label, one line; set it to change it, to "" to remove it. Raises GuildliteError."""
        return self._read().label

    @label.setter
    def label(self, text: str) -> None:
        self._change("label", text)

    @property
    def note(self) -> str:
        """The note; set it to change it, to "" to remove it. Raises GuildliteError."""
        return self._read().note

    @note.setter
    def note(self, text: str) -> None:
        self._change("note", text)

    @property
    def marked(self) -> bool:
        """Whether the run has a star; set it to change it. Raises GuildliteError."""
        return self._read().marked

    @marked.setter
    def marked(self, marked: bool) -> None:
        self._change("mark", bool(marked))

    def _change(self, what: str, value: str | bool) -> None:
        found = self._read()
        if found.error is not None:
            raise GuildliteError(f"{self.id} cannot be read: {found.error}")
        try:
            if what == "mark":
                found.set_mark(bool(value))
            elif what == "label":
                found.set_label(str(value))
            else:
                found.set_note(str(value))
        except OSError as error:
            raise GuildliteError(
                f"the {what} of {self.id} cannot be written: {error.strerror}"
            ) from error

    # Numbers --------------------------------------------------------------------------------------

    @property
    def summary(self) -> Summaries:
        """Summaries of the script's own series by key, as they are now; reads no points.

        `run.summary["loss"].last`; also `first`, `min`, `max`, `mean`, `count`, `nan`, `min_step`
        and so on, times in ms since the epoch.
        """
        found = self._read()
        return Summaries(found, read_summaries(found, system=False))

    def series(self, key: str) -> Series:
        """Return a series of the run, its points not read yet. Raises nothing; reading may.

        As in a filter, `loss` will do for `train/loss` while no other series ends so.
        """
        return Series(self._read(), key)

    @property
    def system(self) -> System:
        """What gl measured of the host, the script's processes and GPUs: series by key."""
        return System(self._read())

    def to_frame(self, *, wide: bool = True) -> pd.DataFrame:
        """Return all points of the script's own series.

        `wide` has a column for each series, indexed by `step`; of a step that was written twice
        (a resumed training) the last value stays. Without `wide` every point is a row: `series`,
        `step`, `time` (UTC), `value`.
        """
        from guildlite.api.frames import long_frame, wide_frame

        found = self._read()
        columns = _read_all(found, read_summaries(found, system=False))
        return wide_frame(columns, "step") if wide else long_frame(columns)

    def plot(
        self, *keys: str, smooth: float = 0.0, x: str = "step", ax: Axes | None = None
    ) -> Axes:
        """Draw series with matplotlib and return the axes; without keys, all the script's own.

        `smooth` from 0 to below 1 draws the exponential moving average over the curves, `x="time"`
        counts seconds since the start of the run, `ax` are axes to draw on. Raises SeriesNotFound,
        UsageError for other values, MissingExtra without matplotlib.
        """
        from guildlite.api.plots import draw

        return draw(self._curves(keys), smooth=smooth, x=x, ax=ax)

    def _curves(self, keys: Sequence[str]) -> list[Curve]:
        from guildlite.api.plots import Curve

        found = self._read()
        began = None if found.started_at is None else found.started_at * 1000
        columns = _read_all(found, keys or read_summaries(found, system=False))
        return [Curve(key, each, began) for key, each in columns.items()]

    # Text and files -------------------------------------------------------------------------------

    def output(
        self, *, last: int | None = None, stream: str | None = None, operation: str | None = None
    ) -> pd.DataFrame:
        """Return what was printed: `time` (UTC), `stream`, `text` and `operation`, a row a line.

        `last` is how many lines at most, `stream` is `stdout` or `stderr`, `operation` is `""` for
        the run's own and as in `2-evaluate` for a later one; None means all. A line that was
        redrawn (a progress bar) is there once, as it stood last.
        """
        from guildlite.api.frames import output_frame

        return output_frame(self._lines(last, stream, operation))

    def logs(
        self, *, last: int | None = None, stream: str | None = None, operation: str | None = ""
    ) -> str:
        """Return what was printed as text; arguments as of `output`, here the run's own alone."""
        return "".join(f"{line.text}\n" for line in self._lines(last, stream, operation))

    def _lines(
        self, last: int | None, stream: str | None, operation: str | None
    ) -> list[StoredLine]:
        if stream is not None and stream not in _STREAMS:
            raise UsageError(f"`stream` is `{stream}`, expected one of `stdout`, `stderr`")
        if last is not None and last < 0:
            raise UsageError(f"`last` is {last}, expected at least 0")
        number = None if stream is None else _STREAMS[stream]
        with open_reader(self._read()) as reader:
            if reader is None:
                return []
            if last is not None and number is None:
                return reader.last_output(last, operation)
            lines = [line for line in reader.output(op=operation) if number in (None, line.stream)]
        return lines if last is None else lines[len(lines) - min(last, len(lines)) :]

    @property
    def files(self) -> list[Path]:
        """The files that the script left in the run directory, absolute, sorted; links too."""
        found = []
        for directory, names, files in os.walk(self._path):
            here = Path(directory)
            if here == self._path and OWN_DIR in names:
                names.remove(OWN_DIR)
            found += [here / name for name in files]
        return sorted(found)

    # While it goes on -----------------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None) -> Run:
        """Wait until the run has ended and all of it is in run.db; return the run.

        However it ended: look at `status`. Raises WaitTimeout after `timeout_s`; the run goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.ended:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{self.id} was still {self.status} after {timeout_s:g} s",
                    hint="`run.stop()` ends it",
                )
            time.sleep(_LOOK_S)
        self._wait_for_seal()
        return self

    def _wait_for_seal(self) -> None:
        """Wait, for a bounded time, while its supervisor takes in the last of it."""
        from guildlite.execute.catchup import settle
        from guildlite.execute.frontend import SEAL_TIMEOUT_S
        from guildlite.platform import ProcessIdentity

        found = self._read()
        process = ProcessIdentity.from_json((found.started_fact() or {}).get("supervisor"))
        deadline = time.monotonic() + SEAL_TIMEOUT_S
        while found.paths.heartbeat.exists() and process is not None and process.alive():
            if time.monotonic() > deadline:
                return
            time.sleep(_LOOK_S)
        settle([self._read()])

    def stop(self, grace_s: float = 10.0) -> Run:
        """Stop the run, with later operations on it, as `gl stop` does; return the run.

        SIGINT to the script and its children, SIGKILL to what is left after `grace_s`. Raises
        GuildliteError when it is not running, runs elsewhere or would not go.
        """
        from guildlite.execute.stop import stop as stop_operation
        from guildlite.platform import ProcessIdentity

        if not 0 <= grace_s <= 86400:
            raise UsageError(f"`grace_s` is {grace_s:g}, expected 0 to 86400 seconds")
        found = self._read()
        busy = [one for one in (found, *found.later_operations()) if not one.status.ended]
        if not busy:
            raise GuildliteError(f"{self.id} is not running: it is {found.status}")
        for one in busy:
            process = ProcessIdentity.from_json((one.started_fact() or {}).get("training"))
            if process is not None and not process.reachable():
                raise GuildliteError(f"{self.id} runs elsewhere: {one.status_note}")
            record = one
            if not stop_operation(
                record,
                found.uid,
                number=signal.SIGINT,
                grace_s=grace_s,
                reason="Run.stop() in Python",
                ended=lambda record=record: record.fresh().status.ended,  # type: ignore[misc]
            ):
                raise GuildliteError(f"{self.id} has processes that could not be stopped")
        self._wait_for_seal()
        return self


class Summaries(Mapping[str, Summary]):
    """Summaries of series by key, read at one moment; a table in a notebook.

    As in a filter, the last part of a key will do while it is the only one: `loss` for
    `train/loss`. An unknown key raises SeriesNotFound, which is a KeyError.
    """

    def __init__(self, run: Directory, found: Mapping[str, Summary]) -> None:
        self._run, self._found = run, found

    def __getitem__(self, key: str) -> Summary:
        found = find_key(self._found, key)
        if found is None:
            raise not_found(self._run.fresh(), key)
        return self._found[found]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and find_key(self._found, key) is not None

    def __repr__(self) -> str:
        return f"Summaries({dict(self._found)!r})"

    def _repr_html_(self) -> str:
        return summary_table(self._run, self._found)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each series, indexed by `key`; times in ms since the epoch."""
        from guildlite.api.frames import summaries_frame

        return summaries_frame(self._found.values(), Summary._fields)


class System(Mapping[str, Series]):
    """What gl measured while a run went on: series by key, as in `gpu0/util` or `sys/mem/used`.

    Keys and units are in docs/reference/series.md; those of a later operation have its name before.
    """

    def __init__(self, run: Directory) -> None:
        self._run = run

    def _summaries(self) -> dict[str, Summary]:
        return read_summaries(self._run.fresh(), system=True)

    def __getitem__(self, key: str) -> Series:
        if key not in self._summaries():
            raise not_found(self._run.fresh(), key)
        return Series(self._run, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._summaries())

    def __len__(self) -> int:
        return len(self._summaries())

    def __repr__(self) -> str:
        return f"System({self._run.id!r}, {len(self)} series)"

    def _repr_html_(self) -> str:
        return summary_table(self._run, self._summaries())

    def to_frame(self) -> pd.DataFrame:
        """Return a column for each series, indexed by `time` (UTC)."""
        from guildlite.api.frames import wide_frame

        run = self._run.fresh()
        return wide_frame(_read_all(run, self._summaries()), "time")


def _read_all(run: Directory, keys: Sequence[str] | Mapping[str, object]) -> dict[str, Columns]:
    found = {}
    for key in keys:
        columns = read_columns(run, key)
        if columns is None:
            raise not_found(run, key)
        found[key] = columns
    return found
