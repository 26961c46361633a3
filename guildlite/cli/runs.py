"""`gl runs` and `gl show`: the list of runs, and one run as a page."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import (
    Cell,
    Column,
    aligned,
    coloured,
    coloured_status,
    for_terminal,
    status_colour,
    status_of,
    status_text,
    table,
    terminal_width,
)
from guildlite.cli.words import command
from guildlite.errors import GuildliteError, UsageError
from guildlite.runs.compare import differing_flags
from guildlite.runs.find import mentions
from guildlite.runs.run import LaterOperation, Status
from guildlite.series import is_system_key
from guildlite.wording import (
    format_ago,
    format_count,
    format_duration,
    format_moment,
    format_number,
    format_size,
    iso_utc,
)

if TYPE_CHECKING:
    from guildlite.project import Metric
    from guildlite.runs import Run
    from guildlite.series import Summary

#: Columns of flags and metrics, together, beyond which a table is no longer read.
_MOST_FLAGS = 6
_MOST_METRICS = 3


# gl runs ------------------------------------------------------------------------------------------


@command("runs")
@click.argument("words", nargs=-1, metavar="[FILTER]...")
@click.option("--status", "statuses", multiple=True, help="Only this status",
              type=click.Choice([each.value for each in Status]))  # fmt: skip
@click.option("--model", metavar="NAME", help="Only runs of this model")
@click.option("--since", metavar="WHEN", help="Only runs started since: 30m, 2h, 3d, 2026-11-20")
@click.option("--trash", is_flag=True, help="List what is in the trash")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="At most N  [20]")
@click.option("--all", "everything", is_flag=True, help="However many there are")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, of all runs unless -n")
@click.pass_obj
def runs(
    context: Context,
    words: tuple[str, ...],
    statuses: tuple[str, ...],
    model: str | None,
    since: str | None,
    trash: bool,
    limit: int | None,
    everything: bool,
    as_json: bool,
) -> None:
    """List runs, newest first.

    FILTER words are looked for in name, label and model; a run has to have them all. The table
    shows the flags in which the listed runs differ, and the metrics of the project file.

    \b
    Examples:
      gl runs expert --since 2d
      gl runs --status failed --json
    """
    _refuse_expressions(words)
    earliest = parse_since(since, time.time()) if since else None
    from guildlite.execute.catchup import settle

    store = context.store()
    numbered = list(enumerate(store.trashed() if trash else store.list(), 1))
    chosen = [
        (number, run)
        for number, run in numbered
        if (not statuses or status_of(run) in statuses)
        and (model is None or run.model == model)
        and (earliest is None or (_began(run) or 0) >= earliest)
        and mentions(run, words)
    ]
    most = limit or (None if everything or as_json else 20)
    listed = chosen[:most]
    # Filters look at facts alone; only what is printed has to be read to its end.
    settle([run for _, run in listed])
    if as_json:
        context.write_json([run_object(run) for _, run in listed])
        return
    for line in _run_table(listed, list(_metrics_of(context)), trash):
        context.write(line)
    _comment(context, len(listed), len(chosen), len(numbered), trash)


def _refuse_expressions(words: Sequence[str]) -> None:
    for word in words:
        if re.search(r"[=<>!~()]", word) or word.lower() in ("and", "or", "not", "in", "contains"):
            raise UsageError(
                f"`{' '.join(words)}` is an expression, and this version filters by words only",
                hint="words are looked for in name, label and model; see also --status, --model",
            )


def parse_since(text: str, now: float) -> float:
    """Return the moment that `2h`, `30m`, `3d`, `1w` or a local date (and time) means.

    Raises UsageError for anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)(?:\s*ago)?", text.strip())
    if match:
        return (
            now - float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]]
        )
    for pattern in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"):
        try:
            return time.mktime(time.strptime(text.strip(), pattern))
        except (ValueError, OverflowError):
            continue
    raise UsageError(
        f"`{text}` is not a time", hint="write 30m, 2h, 3d, 2026-11-20 or 2026-11-20T17:45"
    )


def _began(run: Run) -> float | None:
    return run.started_at or run.created_at  # each is a look into a file


def _metrics_of(context: Context) -> Iterable[Metric]:
    project = context.readable_project()
    return project.metrics.values() if project else ()


def _comment(context: Context, listed: int, chosen: int, total: int, trash: bool) -> None:
    if listed < chosen:
        context.say(f"{listed} of {format_count(chosen, 'run')}; `gl runs --all` lists them all")
    elif listed == 0 and total:
        context.say(f"none of {format_count(total, 'run')} matches")
    elif listed == 0:
        context.say("the trash is empty" if trash else "no runs yet; `gl train` starts one")


# The table ----------------------------------------------------------------------------------------


def _run_table(
    listed: Sequence[tuple[int, Run]], metrics: Sequence[Metric], trash: bool
) -> list[str]:
    if not listed:
        return []
    given = [run.flags for _, run in listed]
    flags = differing_flags([run.flags for _, run in listed if not run.error])[:_MOST_FLAGS]
    named = [metric.key for metric in metrics if metric.primary] or [m.key for m in metrics]
    summaries = [_summaries(run, named[:_MOST_METRICS]) for _, run in listed]
    keys = named[:_MOST_METRICS] or _first_series(summaries)
    patterns = {metric.key: metric.format for metric in metrics}
    now = time.time()
    columns = [
        Column("#", ">"),
        # A name is what brings a run back after the numbers have changed.
        Column("run", rank=7),
        Column("status", least=11),
        Column("model", least=8),
        Column("operation", rank=4),
        Column("started", rank=5),
        Column("time", ">", rank=6),
        Column("label", least=8, rank=3),
        *(Column(for_terminal(name), ">", rank=20 + index) for index, name in enumerate(flags)),
        *(Column(for_terminal(key), ">", rank=10 + index) for index, key in enumerate(keys)),
    ]
    rows = []
    for (number, run), values, found in zip(listed, given, summaries, strict=True):
        row = _fixed_cells(number, run, now, run.id if trash else "")
        row += [Cell(for_terminal(values.get(name, ""))) for name in flags]
        row += [Cell(_last(found.get(key), patterns.get(key))) for key in keys]
        rows.append(row)
    return table(columns, rows, terminal_width())


def _fixed_cells(number: int, run: Run, now: float, name: str) -> list[Cell]:
    status = status_of(run)
    note = f", {for_terminal(run.status_note)}" if run.status_note else ""
    label = ("★ " if run.marked else "") + for_terminal(run.error or run.label)
    operation = run.operation if run.operation != "train" else ""
    return [
        Cell(str(number)),
        Cell(for_terminal(name)),
        Cell(status_text(status) + note, status_colour(status)),
        Cell(for_terminal(run.model or run.id)),
        Cell(for_terminal(operation)),
        Cell(format_ago(_began(run), now)),
        Cell(format_duration(run.duration_s)),
        Cell(label),
    ]


def _summaries(run: Run, keys: Sequence[str] = ()) -> dict[str, Summary]:
    """Return the summaries of a run's scalars by key: of `keys`, or of all where none is named.

    Of a run that cannot be read there are none.
    """
    if run.error:
        return {}
    try:
        with run.read() as reader:
            # Asking for two of hundreds of series is what keeps long lists fast.
            found = [reader.summary(key) for key in keys] if keys else reader.summaries()
            return {each.key: each for each in found if each and each.kind == "scalar"}
    except GuildliteError:
        return {}


def _first_series(summaries: Sequence[Mapping[str, Summary]]) -> list[str]:
    """Return the two series to show where the project names none."""
    return list(dict.fromkeys(key for found in summaries for key in own_series(found)))[:2]


def own_series(keys: Iterable[str]) -> Iterator[str]:
    """Return the keys that come from the script rather than from watching the machine."""
    return (key for key in keys if not is_system_key(key))


def _last(found: Summary | None, pattern: str | None) -> str:
    return format_number(found.last, pattern) if found is not None else ""


# JSON ---------------------------------------------------------------------------------------------


def run_object(run: Run, summaries: dict[str, Summary] | None = None) -> dict[str, Any]:
    """Return a run as `--json` prints it.

    `started` and `stopped` are ISO 8601 in UTC, `duration` seconds, `metrics` the last values of
    the script's own series; `error` stands only in runs that cannot be read.
    """
    found = _summaries(run) if summaries is None else summaries
    data: dict[str, Any] = {
        "id": run.id,
        "uid": run.uid,
        "status": status_of(run),
        "status_note": run.status_note,
        "model": run.model,
        "operation": run.operation,
        "started": iso_utc(run.started_at),
        "stopped": iso_utc(run.stopped_at),
        "duration": run.duration_s,
        "label": run.label,
        "note": run.note,
        "marked": run.marked,
        "flags": run.flags,
        "metrics": {key: found[key].last for key in own_series(found)},
        "dir": str(run.path),
    }
    if run.error:
        data["error"] = run.error
    return data


# gl show ------------------------------------------------------------------------------------------


@command("show")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object")
@click.pass_obj
def show(context: Context, run: str | None, as_json: bool) -> None:
    """Show a run: command, flags, metrics, files.

    Without RUN the latest.

    \b
    Examples:
      gl show
      gl show 3 --json
    """
    from guildlite.execute.catchup import settle

    found = context.get_run(run)
    settle([found])
    if found.error:
        raise GuildliteError(
            f"run `{found.id}` cannot be read: {found.error}", hint=f"its files are in {found.path}"
        )
    page = _Page(found, list(_metrics_of(context)))
    if as_json:
        context.write_json(page.as_object())
    else:
        for line in page.lines():
            context.write(line)


class _Page:
    """Everything `gl show` says of one run, read once."""

    def __init__(self, run: Run, metrics: Sequence[Metric]) -> None:
        from guildlite.runs.logs import read_notices

        self.run = run
        self.patterns = {metric.key: metric.format for metric in metrics}
        self.attrs: dict[str, str] = {}
        self.summaries: dict[str, Summary] = {}
        self.trouble = ""
        try:
            with run.read() as reader:
                self.attrs = reader.attrs()
                self.summaries = {each.key: each for each in reader.summaries()}
        except GuildliteError as error:
            self.trouble = error.message
        self.files = list(_own_files(run))
        self.notices = read_notices(run.paths)
        self.operations = run.later_operations()

    def as_object(self) -> dict[str, Any]:
        """Return the page for `--json`: the object of `gl runs --json` and what a page adds."""
        scalars = {key: each for key, each in self.summaries.items() if each.kind == "scalar"}
        return {
            **run_object(self.run, scalars),
            "exit_code": self.run.exit_code,
            "exit_signal": self.run.exit_signal,
            "command": self.run.command,
            "attributes": self.attrs,
            "series": [_series_object(each) for each in self.summaries.values()],
            "operations": [
                {
                    "name": each.name,
                    "operation": each.operation,
                    "status": each.status.value,
                    "started": iso_utc(each.started_at),
                    "duration": each.duration_s,
                    "exit_code": each.exit_code,
                }
                for each in self.operations
            ],
            "files": [{"path": path, "size": size} for path, size in self.files],
            "notices": self.notices,
        }

    def lines(self) -> Iterator[str]:
        """Return the page for people."""
        yield from self._head()
        yield from _section("Flags", [(n, for_terminal(v)) for n, v in self.run.flags.items()])
        yield from self._metrics()
        yield from _section("Later operations", [self._operation(each) for each in self.operations])
        yield from _section("Files", self._file_pairs())
        if self.notices:
            yield ""
            yield "Notices"
            yield from (f"  {for_terminal(line)}" for line in self.notices)

    def _head(self) -> Iterator[str]:
        run = self.run
        star = "★ " if run.marked else ""
        yield coloured(star + for_terminal(run.id), "bold")
        yield from aligned((name, value) for name, value in self._facts() if value)

    def _facts(self) -> Iterator[tuple[str, str]]:
        run = self.run
        status = coloured_status(run.status.value)
        yield "status", status + self._ending()
        yield "label", for_terminal(run.label)
        yield "note", for_terminal(run.note)
        operation = f"{run.model}:{run.operation}" if run.model else run.operation
        yield "operation", for_terminal(operation)
        yield "command", for_terminal(shlex.join(run.command))
        yield "started", format_moment(run.started_at)
        yield "time", format_duration(run.duration_s)
        yield "directory", for_terminal(os.path.relpath(run.path))
        yield "git", for_terminal(self._git())
        yield "host", for_terminal(self.attrs.get("host", ""))
        yield "trouble", for_terminal(self.trouble)

    def _ending(self) -> str:
        note = for_terminal(self.run.status_note or "")
        if not note and self.run.status.value == "failed":
            note = for_terminal(self.run.ending)
        return f", {note}" if note else ""

    def _git(self) -> str:
        commit = self.attrs.get("git.commit", "")
        branch = self.attrs.get("git.branch", "")
        changed = self.attrs.get("git.dirty", "").lower() in ("true", "1", "yes")
        words = [commit[:12], f"on {branch}" if branch else "", "with changes" if changed else ""]
        return " ".join(word for word in words if word) if commit else ""

    def _metrics(self) -> Iterator[str]:
        own = [each for key in own_series(self.summaries) if (each := self.summaries[key])]
        scalars = [each for each in own if each.kind == "scalar"]
        if not scalars:
            return
        heads = [Column("metric", least=12), *(Column(h, ">") for h in ("last", "step", "min"))]
        heads += [Column("step", ">", rank=2), Column("max", ">"), Column("step", ">", rank=1)]
        heads.append(Column("points", ">", rank=3))
        yield ""
        yield "Metrics"
        width = terminal_width()
        rows = [self._metric_row(each) for each in scalars]
        for line in table(heads, rows, width - 2 if width else None):
            yield f"  {line}"

    def _metric_row(self, each: Summary) -> list[Cell]:
        pattern = self.patterns.get(each.key)
        cells = [for_terminal(each.key)]
        for value, step in (
            (each.last, each.last_step),
            (each.min, each.min_step),
            (each.max, each.max_step),
        ):
            cells += [format_number(value, pattern), "" if step is None else f"{step:,}"]
        return [Cell(text) for text in (*cells, f"{each.count:,}")]

    def _operation(self, each: LaterOperation) -> tuple[str, str]:
        words = [status_text(each.status.value), format_moment(each.started_at)]
        words.append(format_duration(each.duration_s))
        return for_terminal(each.name), "  ".join(word for word in words if word)

    def _file_pairs(self) -> list[tuple[str, str]]:
        largest = sorted(self.files, key=lambda file: -file[1])[:10]
        pairs = [(for_terminal(path), format_size(size)) for path, size in sorted(largest)]
        if len(self.files) > len(largest):
            total = format_size(sum(size for _, size in self.files))
            pairs.append((f"{len(self.files)} files in all", total))
        return pairs


def _section(title: str, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    if pairs:
        yield ""
        yield title
        yield from aligned((for_terminal(name), value) for name, value in pairs)


def _series_object(each: Summary) -> dict[str, Any]:
    return {name: getattr(each, name) for name in type(each).__annotations__}


def _own_files(run: Run) -> Iterator[tuple[str, int]]:
    """Yield the script's files in the run directory: path with `/`, size in bytes."""
    from guildlite.runs.paths import OWN_DIR

    root = os.fspath(run.path)
    for folder, folders, names in os.walk(root):
        if folder == root and OWN_DIR in folders:
            folders.remove(OWN_DIR)
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            try:
                yield os.path.relpath(path, root), os.lstat(path).st_size
            except OSError:
                continue
