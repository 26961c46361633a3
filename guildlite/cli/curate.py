"""Words on runs, the star, and the trash."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from guildlite.cli.context import Context
from guildlite.cli.words import command
from guildlite.errors import GuildliteError, UsageError
from guildlite.wording import format_count

if TYPE_CHECKING:
    from guildlite.runs import Run


@command("label")
@click.argument("run", metavar="RUN")
@click.argument("text", required=False, metavar="TEXT")
@click.option("--clear", is_flag=True, help="Take the label off")
@click.pass_obj
def label(context: Context, run: str, text: str | None, clear: bool) -> None:
    """Put a label on a run.

    The label stands in lists and can be used wherever a RUN is asked for.

    \b
    Examples:
      gl label latest baseline
      gl label 3 --clear
    """
    words = _one_of(text, clear, "label")
    found = context.get_run(run)
    found.set_label(words)
    context.say(f"labelled {found.id} `{words}`" if words else f"{found.id} has no label now")


@command("note")
@click.argument("run", metavar="RUN")
@click.argument("text", required=False, metavar="TEXT")
@click.option("--clear", is_flag=True, help="Take the note off")
@click.pass_obj
def note(context: Context, run: str, text: str | None, clear: bool) -> None:
    """Write a note on a run.

    It replaces the note that was there; `gl show` prints it. TEXT `-` reads it from stdin.

    \b
    Examples:
      gl note latest "diverged after the warm-up"
      gl note 3 --clear
    """
    words = _one_of(text, clear, "note")
    found = context.get_run(run)
    found.set_note(sys.stdin.read().rstrip("\n") if words == "-" else words)
    context.say(f"noted on {found.id}" if words else f"{found.id} has no note now")


def _one_of(text: str | None, clear: bool, what: str) -> str:
    if clear and text is not None:
        raise UsageError(f"`--clear` takes the {what} off and needs no TEXT")
    if not clear and text is None:
        raise UsageError(f"`gl {what}` needs TEXT", hint=f"`--clear` takes the {what} off")
    return text or ""


@command("mark")
@click.argument("refs", nargs=-1, required=True, metavar="RUN...")
@click.option("--clear", is_flag=True, help="Take the star off")
@click.pass_obj
def mark(context: Context, refs: tuple[str, ...], clear: bool) -> None:
    """Mark runs with a star.

    \b
    Examples:
      gl mark latest
      gl mark 2-5 --clear
    """
    for run in context.select_runs(refs):
        run.set_mark(not clear)
        context.say(f"unmarked {run.id}" if clear else f"marked {run.id}")


@command("rm")
@click.argument("refs", nargs=-1, required=True, metavar="RUN...")
@click.pass_obj
def rm(context: Context, refs: tuple[str, ...]) -> int:
    """Move runs to the trash.

    Nothing is deleted: `gl restore` brings them back, `gl purge` deletes them for good.

    \b
    Examples:
      gl rm 3
      gl rm 2-5 7-
    """
    chosen = context.select_runs(refs)
    _refuse_active(chosen)
    moved, failed = [], False
    for run in chosen:
        try:
            context.store().trash(run)
            moved.append(run)
        except (GuildliteError, OSError) as error:
            failed = True
            context.say(f"error: {run.id} stays where it is: {_reason(error)}")
    if moved:
        context.say(f"moved {format_count(len(moved), 'run')} to the trash; bring back with:")
        context.say(f"  gl restore {' '.join(_word(run.id) for run in moved)}")
    return 1 if failed else 0


def _refuse_active(chosen: Sequence[Run]) -> None:
    for run in chosen:
        if not run.error and not run.status.ended:
            raise GuildliteError(
                f"run `{run.id}` is {run.status.value}", hint=f"stop it first: `gl stop {run.id}`"
            )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)


def _word(text: str) -> str:
    from shlex import quote

    return quote(text)


@command("restore")
@click.argument("refs", nargs=-1, required=True, metavar="RUN...")
@click.pass_obj
def restore(context: Context, refs: tuple[str, ...]) -> int:
    """Bring runs back from the trash.

    Numbers are those of `gl runs --trash`.

    \b
    Examples:
      gl restore 1
      gl restore 20261120T174501Z-expert
    """
    failed = False
    for run in context.select_runs(refs, trashed=True):
        try:
            context.store().restore(run)
            context.say(f"restored {run.id}")
        except (GuildliteError, OSError) as error:
            failed = True
            context.say(f"error: {run.id} stays in the trash: {_reason(error)}")
    return 1 if failed else 0


@command("purge")
@click.argument("refs", nargs=-1, metavar="[RUN]...")
@click.option("--yes", is_flag=True, help="Do not ask")
@click.pass_obj
def purge(context: Context, refs: tuple[str, ...], yes: bool) -> int:
    """Delete trashed runs for good.

    Only what is in the trash can be deleted; without RUN that is everything in it. Numbers are
    those of `gl runs --trash`.

    \b
    Examples:
      gl purge
      gl purge 3- --yes
    """
    store = context.store()
    chosen = context.select_runs(refs, trashed=True) if refs else store.trashed()
    if not chosen:
        context.say("the trash is empty")
        return 0
    if not yes and not _confirmed(context, chosen):
        context.say("nothing deleted")
        return 1
    failed = 0
    for run in chosen:
        try:
            store.purge(run)
        except (GuildliteError, OSError) as error:
            failed += 1
            context.say(f"error: {run.id} stays in the trash: {_reason(error)}")
    context.say(f"deleted {format_count(len(chosen) - failed, 'run')} for good")
    return 1 if failed else 0


def _confirmed(context: Context, chosen: Sequence[Run]) -> bool:
    for run in chosen[:10]:
        context.say(f"  {run.id}{f'  {run.label}' if run.label else ''}")
    if len(chosen) > 10:
        context.say(f"  and {len(chosen) - 10} more")
    # click's own question leaves a space on stdout, which is for data.
    sys.stderr.write(f"delete {format_count(len(chosen), 'run')} for good? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    if not answer and not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes", hint="`gl purge --yes` does not ask")
    return answer.strip().lower() in ("y", "yes")
