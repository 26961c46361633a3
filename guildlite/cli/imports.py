"""Bringing in what other tools wrote: `gl import`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import fit, terminal_width
from guildlite.cli.words import command
from guildlite.errors import GuildliteError, UsageError
from guildlite.wording import format_count

if TYPE_CHECKING:
    from guildlite.transfer.imports import Outcome, Report

_BAR = 24
_REDRAWN_S = 0.05


@command("import")
@click.argument("logdirs", nargs=-1, required=True, metavar="LOGDIR...")
@click.option("--copy", is_flag=True, help="Copy the event files into the run directories")
@click.option("--run-per-dir", is_flag=True, help="Make each directory a run, as TensorBoard does")
@click.option("--model", default="", metavar="NAME", help="Say what the runs are runs of")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON")
@click.pass_obj
def import_(
    context: Context,
    logdirs: tuple[str, ...],
    copy: bool,
    run_per_dir: bool,
    model: str,
    as_json: bool,
) -> int:
    """Make runs of TensorBoard log directories.

    The event files stay where they are. Asked again, it takes what is new since.

    \b
    Examples:
      gl import logs
      gl import ~/old/lightning_logs --copy --model resnet
    """
    from guildlite.transfer.imports import Importer

    paths = log_directories(logdirs)
    root = context.store().root
    progress = _Progress()
    try:
        report = Importer(root, copy=copy, run_per_dir=run_per_dir, model=model).look(
            paths, progress.show
        )
    finally:
        progress.clear()
    notices = report.all_notices()
    for notice in notices:
        context.say(notice)
    if as_json:
        context.write_json([_as_json(outcome) for outcome in report.outcomes])
    if not report.outcomes and not report.empty:
        raise nothing_found(logdirs, report.runs)
    _say_summary(context, report, root)
    return 1 if notices else 0


def log_directories(words: Sequence[str]) -> list[Path]:
    """Return the directories that LOGDIR words name; raises UsageError for what is none."""
    for word in words:
        if not os.path.exists(word):
            raise UsageError(f"there is no directory `{word}`")
        if not os.path.isdir(word):
            raise UsageError(
                f"`{word}` is a file, not a log directory",
                hint=f"give the directory it is in: `{os.path.dirname(word) or '.'}`",
            )
        if not os.access(word, os.R_OK | os.X_OK):
            raise UsageError(f"`{word}` cannot be read", hint="check its permissions")
    return [Path(os.path.realpath(word)) for word in words]


def nothing_found(words: Sequence[str], runs: int) -> GuildliteError:
    """Return the error for log directories in which there is nothing to import."""
    where = " or ".join(f"`{word}`" for word in words)
    if runs:
        return GuildliteError(
            f"there are no event files below {where} but those of"
            f" {format_count(runs, 'run')} of gl",
            hint="`gl -C PROJECT runs` lists them",
        )
    return GuildliteError(
        f"there are no event files below {where}",
        hint="the name of an event file contains `tfevents`",
    )


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.path.name if outcome.path else None,
        "dir": str(outcome.path) if outcome.path else None,
        "source": outcome.source,
        "state": outcome.state,
        "points": outcome.points,
        "others": outcome.others,
        "notices": outcome.notices,
    }


def _say_summary(context: Context, report: Report, root: Path) -> None:
    """Say how many runs came to what."""
    counts: dict[str, int] = {}
    for outcome in report.outcomes:
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
    points = sum(outcome.points for outcome in report.outcomes)
    others = sum(outcome.others for outcome in report.outcomes)
    new, grown = counts.get("new", 0), counts.get("grown", 0)
    if new or grown:
        runs = " and ".join(
            part
            for part in (
                f"{format_count(new, 'new run')}" if new else "",
                f"what is new in {format_count(grown, 'run')}" if grown else "",
            )
            if part
        )
        values = f"{points:,} points" + (f" and {others:,} other values" if others else "")
        context.say(f"imported {runs} into {_relative(root)}: {values}")
    else:
        context.say("nothing new")
    for state, text in (
        ("unchanged", "without anything new"),
        ("trashed", "in the trash, where they stay; `gl restore` brings one back"),
        ("failed", "not imported"),
    ):
        if counts.get(state) and (state != "unchanged" or new or grown):
            context.say(f"{format_count(counts[state], 'run')} {text}")
    if report.empty:
        noun = "directory has" if report.empty == 1 else "directories have"
        context.say(f"{report.empty} {noun} no values so far")
    if report.runs:
        context.say(f"left out {format_count(report.runs, 'run')} of gl itself")


def _relative(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


class _Progress:
    """A line on stderr that is written over and over, where stderr is a terminal."""

    def __init__(self) -> None:
        self._shown = False
        self._next_at = 0.0
        self._on = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def show(self, done: int, total: int) -> None:
        """Show how many of `total` runs are done."""
        now = time.monotonic()
        if not self._on or total < 2 or now < self._next_at:
            return
        self._next_at = now + _REDRAWN_S
        full = _BAR * done // total
        bar = "#" * full + "." * (_BAR - full)
        line = fit(f"importing [{bar}] {done:,} of {total:,} runs", (terminal_width() or 80) - 1)
        sys.stderr.write(f"\r{line}")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


# A command is the attribute of its own name, and this one's is a keyword.
globals()["import"] = import_
