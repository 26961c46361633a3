"""`gl export`: runs as files that other programs read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guildlite.cli.context import Context
from guildlite.cli.words import command
from guildlite.wording import format_count

if TYPE_CHECKING:
    from guildlite.transfer.stored import Exported

#: Of `transfer.exports.FORMS`, not imported to print the help.
_FORMS = ("tensorboard", "csv", "jsonl")
#: Lost values that are named.
_MOST_LOST = 10


@command("export")
@click.argument("refs", nargs=-1, required=True, metavar="RUN...")
@click.option("--to", required=True, metavar="DIR", help="The directory to make and write into")
@click.option(
    "--as",
    "form",
    type=click.Choice(_FORMS),
    default="tensorboard",
    show_default=True,
    help="What to write",
)
@click.option("--series", metavar="REGEX", help="Only series in whose key this is found")
@click.pass_obj
def export(context: Context, refs: tuple[str, ...], to: str, form: str, series: str | None) -> int:
    """Write runs as event files, CSV or JSON lines.

    DIR must be new or empty; several runs get a directory each in it. Event files hold scalars,
    images and all the rest under the runs and tags they came from, flags as hparams. CSV and JSON
    lines are long tables, one for each kind of value.

    \b
    Examples:
      gl export latest --to shared/expert
      gl export 1-5 --to tables --as csv --series "loss|accuracy"
    """
    from guildlite.execute.catchup import settle
    from guildlite.transfer.exports import export_runs

    runs = context.select_runs(refs)
    settle(runs)
    lost = False
    for exported in export_runs(runs, Path(to), form, series=series):
        for line in _lines(exported):
            context.say(line)
        context.write(str(exported.path))
        lost |= bool(exported.lost)
    return 1 if lost else 0


def _lines(exported: Exported) -> Iterator[str]:
    media = f" and {format_count(exported.media, 'other value')}" if exported.media else ""
    count = format_count(exported.points, "point")
    yield f"exported {exported.run}: {count}{media} of {exported.series} series"
    for kind, number in exported.left_out.items():
        yield f"  left out {number} of kind {kind}, which only event files hold"
    for sentence in exported.lost[:_MOST_LOST]:
        yield f"  lost: {sentence}"
    if len(exported.lost) > _MOST_LOST:
        yield f"  and {len(exported.lost) - _MOST_LOST} more"
