"""`gl show`: one run as a page."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.metrictable import metric_table
from guildlite.cli.output import (
    aligned,
    coloured,
    coloured_status,
    for_terminal,
    status_text,
    terminal_width,
)
from guildlite.cli.runs import metrics_of, own_series, run_object
from guildlite.cli.words import command
from guildlite.errors import GuildliteError
from guildlite.runs.printed import said_again
from guildlite.runs.run import LaterOperation
from guildlite.wording import (
    format_ago,
    format_count,
    format_duration,
    format_moment,
    format_size,
    iso_utc,
)

if TYPE_CHECKING:
    from guildlite.project import Metric, Project
    from guildlite.runs import Run, RunReader
    from guildlite.runs.media import MediaSeries
    from guildlite.series import Point, Summary

#: Series that get a curve, points that it is drawn from, lines of a failed run that are shown.
_CURVES, _POINTS, _LINES = 60, 80, 4
#: Fewer samples than these say little of a run.
_SAMPLES = 3


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
    page = _Page(found, metrics_of(context))
    if as_json:
        context.write_json(page.as_object())
    else:
        for line in page.lines():
            context.write(line)
        context.say(f"next     {page.next_command(context.readable_project())}")


class _Page:
    """Everything `gl show` says of one run, read once."""

    def __init__(self, run: Run, metrics: Sequence[Metric]) -> None:
        from guildlite.runs.logs import read_notices

        self.run = run
        self.patterns = {metric.key: metric.format for metric in metrics}
        self.attrs: dict[str, str] = {}
        self.summaries: dict[str, Summary] = {}
        self.again: set[str] = set()
        self.charts: dict[str, list[Point]] = {}
        self.media: list[MediaSeries] = []
        self.tail: list[str] = []
        self.trouble = ""
        try:
            with run.read() as reader:
                self._take(reader)
        except GuildliteError as error:
            self.trouble = error.message
        self.files = list(_own_files(run))
        self.notices = read_notices(run.paths)
        self.operations = run.later_operations()

    def _take(self, reader: RunReader) -> None:
        self.attrs = reader.attrs()
        self.summaries = {each.key: each for each in reader.summaries()}
        self.again = said_again(self.summaries.values())
        for key in [*own_series(self.summaries)][:_CURVES]:
            self.charts[key] = reader.chart(key, _POINTS)
        self.media = reader.media()
        if self.run.status.value in ("failed", "lost"):
            self.tail = [line.text for line in reader.last_output(_LINES, "")]

    def next_command(self, project: Project | None) -> str:
        """Return the command that leads on from here."""
        status = self.run.status.value
        word = shlex.quote(self.run.id)
        if status in ("pending", "running") and not self.run.imported:
            return f"gl attach {word}"
        if status in ("failed", "lost"):
            return f"gl why {word}"
        model = project.models.get(self.run.model) if project is not None else None
        evaluated = any(each.operation == "evaluate" for each in self.operations)
        can_evaluate = model is not None and "evaluate" in model.operations
        if self.run.operation == "train" and can_evaluate and not evaluated:
            return f"gl evaluate {word}"
        return "gl view"

    def as_object(self) -> dict[str, Any]:
        """Return the page for `--json`: the object of `gl runs --json` and what a page adds."""
        from guildlite.index.record import read_record

        return {
            **run_object(read_record(self.run), str(self.run.path)),
            "exit_code": self.run.exit_code,
            "exit_signal": self.run.exit_signal,
            "command": self.run.command,
            "attributes": self.attrs,
            "series": [_series_object(each) for each in self.summaries.values()],
            "media": [
                {"key": each.key, "kind": each.kind, "count": each.count} for each in self.media
            ],
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
        yield from _section("Media", self._media_pairs())
        yield from _section("Later operations", [self._operation(each) for each in self.operations])
        yield from _section("Files", self._file_pairs())
        yield from _lines("Notices", self.notices)
        yield from _lines("Last lines", self.tail)

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
        yield "started", self._started()
        yield "time", format_duration(run.duration_s)
        yield "directory", for_terminal(os.path.relpath(run.path))
        yield "git", for_terminal(self._git())
        yield "files in", for_terminal(self.attrs.get("logdir", ""))
        yield "host", for_terminal(self.attrs.get("host", ""))
        yield "used", for_terminal(self._used())
        yield "trouble", for_terminal(self.trouble)

    def _ending(self) -> str:
        note = for_terminal(self.run.status_note or "")
        if not note and self.run.status.value == "failed":
            note = for_terminal(self.run.ending)
        return f", {note}" if note else ""

    def _started(self) -> str:
        started = self.run.started_at
        ago = format_ago(started, time.time())
        return f"{format_moment(started)}{f', {ago}' if ago else ''}" if started else ""

    def _used(self) -> str:
        """Return what the script took of the machine: cores on average, most memory, GPUs."""
        words = []
        cores, memory = self.summaries.get("op/cpu/util"), self.summaries.get("op/mem/rss")
        if memory is None or memory.count < _SAMPLES:
            return ""
        if cores is not None and cores.mean is not None and cores.mean >= 0.05:
            words.append(f"{cores.mean:.1f} cores")
        if memory.max is not None:
            words.append(f"{format_size(memory.max)} of memory at most")
        for key, each in self.summaries.items():
            gpu, _, what = key.partition("/")
            if gpu.startswith("gpu") and what == "util" and each.mean is not None:
                words.append(f"{each.mean:.0%} of {gpu}")
        return ", ".join(words)

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
        listed = [each for each in scalars if each.key not in self.again]
        yield ""
        yield "Metrics"
        width = terminal_width()
        lines = metric_table(listed, self.charts, self.patterns, width - 2 if width else None)
        yield from (f"  {line}" for line in lines)
        if self.again:
            printed = format_count(len(self.again), "printed number")
            yield f"  and {printed} that {'is' if len(self.again) == 1 else 'are'} above as well"

    def _media_pairs(self) -> list[tuple[str, str]]:
        """Return for each kind how many values there are and in which series."""
        kinds: dict[str, list[MediaSeries]] = {}
        for each in self.media:
            kinds.setdefault(each.kind, []).append(each)
        pairs = []
        for kind, found in kinds.items():
            names = ", ".join(for_terminal(each.key) for each in found[:3])
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            values = format_count(sum(each.count for each in found), "value")
            pairs.append((kind.replace("_", " "), f"{values} of {names}{more}"))
        return pairs

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


def _lines(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {for_terminal(line)}" for line in lines)


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
