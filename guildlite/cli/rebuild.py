"""Reading a run's own files again."""

from __future__ import annotations

import click

from guildlite.cli.context import Context
from guildlite.cli.words import command
from guildlite.wording import format_count


@command("rebuild")
@click.argument("run", metavar="RUN", default="latest")
@click.option("--force", is_flag=True, help="Also when series come out shorter than they are")
@click.pass_obj
def rebuild(context: Context, run: str, force: bool) -> None:
    """Read a run's files again.

    What its event files and tables hold replaces what run.db has of them. System series, lines
    of output and their moments stay, and so does what came from files that are not there any
    more. Interrupted, it changes nothing.

    \b
    Examples:
      gl rebuild
      gl rebuild 3
    """
    from guildlite.transfer.rebuild import rebuild as rebuild_run

    found = context.get_run(run)
    rebuilt = rebuild_run(found, force=force)
    media = f" and {format_count(rebuilt.media, 'other value')}" if rebuilt.media else ""
    context.say(
        f"read {format_count(rebuilt.files, 'file')} of {found.id} again:"
        f" {format_count(rebuilt.points, 'point')}{media}"
    )
    for path in rebuilt.kept:
        context.say(f"kept what `{path}` gave, which is not there any more as it was")
