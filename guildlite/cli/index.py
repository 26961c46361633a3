"""`gl index`: the cache over all runs, which looks after itself."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from guildlite.cli.context import Context
from guildlite.cli.output import aligned
from guildlite.cli.words import command
from guildlite.errors import UsageError
from guildlite.wording import format_count, format_duration, format_size

if TYPE_CHECKING:
    from guildlite.index import Index


@command("index")
@click.option("--check", is_flag=True, help="Compare it with every run directory")
@click.option("--rebuild", is_flag=True, help="Build it anew from the run directories")
@click.pass_obj
def index(context: Context, check: bool, rebuild: bool) -> int:
    """Check or rebuild the cache over all runs.

    Without an option it says where the index is. Commands keep it up to date by themselves, and
    it may be deleted at any time. With --check the exit status is 1 when something differs.

    \b
    Examples:
      gl index --check
      gl index --rebuild
    """
    if check and rebuild:
        raise UsageError("`--check` and `--rebuild` exclude each other")
    from guildlite.index import Index

    with Index(context.store().root) as found:
        if rebuild:
            began = time.monotonic()
            count = found.rebuild(progress=_progress())
            took = format_duration(time.monotonic() - began)
            context.say(f"indexed {format_count(count, 'run')} in {took}")
            return 0
        found.refresh()
        if check:
            return _check(context, found)
        for line in aligned(_facts(found), indent=""):
            context.write(line)
    return 0


def _check(context: Context, found: Index) -> int:
    differences = found.check(progress=_progress())
    for each in differences:
        context.write(f"{each.run}  {each.what}" if each.run else each.what)
    if differences:
        context.say(
            f"{format_count(len(differences), 'difference')}; `gl index --rebuild` makes it right"
        )
        return 1
    context.say("the index says what the run directories say")
    return 0


def _facts(found: Index) -> list[tuple[str, str]]:
    runs, open_runs = found.ask(
        lambda connection: connection.execute(
            "SELECT count(*), coalesce(sum(sealed = 0), 0) FROM run"
        ).fetchone()
    )
    if found.path is None:
        return [("index", "in memory: its directory cannot be written"), ("runs", f"{runs:,}")]
    return [
        ("index", str(found.path)),
        ("runs", f"{runs:,}, of which {open_runs:,} may still change"),
        ("size", format_size(os.path.getsize(found.path))),
    ]


class _Progress:
    """A line on a terminal that says how far it is; nothing elsewhere."""

    def __init__(self) -> None:
        self._shown_at = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total:
            sys.stderr.write("\r\x1b[K")
        elif now - self._shown_at > 0.2:
            self._shown_at = now
            sys.stderr.write(f"\r{done:,} of {total:,} runs")
        sys.stderr.flush()


def _progress() -> _Progress | None:
    return _Progress() if sys.stderr.isatty() else None
