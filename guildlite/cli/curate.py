"""Words on runs, the star, and the trash: of the runs named, or of all that pass a filter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from guildlite.cli.context import Context
from guildlite.cli.output import for_terminal
from guildlite.cli.words import command
from guildlite.errors import GuildliteError, UsageError
from guildlite.wording import format_count

if TYPE_CHECKING:
    from guildlite.runs import Run

#: How many runs are listed before a question.
_SHOWN = 10


def _in_bulk(function: Callable[..., object]) -> Callable[..., object]:
    """Add `--where` and `--yes` to a command."""
    where = click.option("--where", metavar="FILTER", help="All runs that pass, after asking")
    yes = click.option("--yes", is_flag=True, help="Do not ask")
    return where(yes(function))


def _select(
    context: Context,
    name: str,
    refs: tuple[str, ...],
    where: str | None,
    *,
    trashed: bool = False,
) -> list[Run]:
    """Return the runs that words or `--where` mean. Raises UsageError for both and for neither."""
    if where is None:
        if not refs:
            raise UsageError(
                f"`gl {name}` needs RUN", hint=f"`gl {name} --help` shows how it is used"
            )
        return context.select_runs(refs, trashed=trashed)
    if refs:
        raise UsageError("RUN and `--where` exclude each other")
    if not where.strip():
        raise UsageError("`--where` needs a condition", hint="as in `--where 'status = failed'`")
    from guildlite.cli.picking import Choice, pick_runs

    return pick_runs(context, Choice(where, trash=trashed)).runs()


def _agreed(
    context: Context, name: str, chosen: Sequence[Run], where: str | None, yes: bool, what: str
) -> bool:
    """Return whether it may be done: at once to runs that were named, after asking to a filter's.

    `what` is the question, with `{}` for how many runs.
    """
    if where is None or not chosen:
        if not chosen:
            context.say(f"no run passes `{where}`")
        return bool(chosen)
    if yes or _confirmed(context, chosen, what.format(format_count(len(chosen), "run")), name):
        return True
    context.say("nothing done")
    return False


@command("label")
@click.argument("run", required=False, metavar="RUN")
@click.argument("text", required=False, metavar="TEXT")
@click.option("--clear", is_flag=True, help="Take the label off")
@_in_bulk
@click.pass_obj
def label(
    context: Context, run: str | None, text: str | None, clear: bool, where: str | None, yes: bool
) -> int:
    """Put a label on a run.

    The label stands in lists and can be used wherever a RUN is asked for. With --where there is
    no RUN, only TEXT.

    \b
    Examples:
      gl label latest baseline
      gl label 3 --clear
      gl label --where 'lr = 0.1 and model = expert' sweep-1
    """
    if where is not None and run is not None:
        if text is not None:
            raise UsageError("RUN and `--where` exclude each other")
        run, text = None, run
    refs = (run,) if run is not None else ()
    if not refs and where is None:
        _select(context, "label", refs, where)  # which says what is missing
    words = _one_of(text, clear, "label")
    chosen = _select(context, "label", refs, where)
    question = f"label {{}} `{_braced(words)}`?" if words else "take the label off {}?"
    if not _agreed(context, "label", chosen, where, yes, question):
        return 1 if chosen else 0
    for found in chosen:
        found.set_label(words)
        context.say(f"labelled {found.id} `{words}`" if words else f"{found.id} has no label now")
    return 0


def _braced(text: str) -> str:
    """Return text for a format in which its braces are nothing but braces."""
    return text.replace("{", "{{").replace("}", "}}")


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
@click.argument("refs", nargs=-1, metavar="RUN...")
@click.option("--clear", is_flag=True, help="Take the star off")
@_in_bulk
@click.pass_obj
def mark(context: Context, refs: tuple[str, ...], clear: bool, where: str | None, yes: bool) -> int:
    """Mark runs with a star.

    \b
    Examples:
      gl mark latest
      gl mark 2-5 --clear
      gl mark --where 'loss < 0.1'
    """
    chosen = _select(context, "mark", refs, where)
    question = "take the star off {}?" if clear else "mark {} with a star?"
    if not _agreed(context, "mark", chosen, where, yes, question):
        return 1 if chosen else 0
    for run in chosen:
        run.set_mark(not clear)
        context.say(f"unmarked {run.id}" if clear else f"marked {run.id}")
    return 0


@command("rm")
@click.argument("refs", nargs=-1, metavar="RUN...")
@_in_bulk
@click.pass_obj
def rm(context: Context, refs: tuple[str, ...], where: str | None, yes: bool) -> int:
    """Move runs to the trash.

    Nothing is deleted: `gl restore` brings them back, `gl purge` deletes them for good.

    \b
    Examples:
      gl rm 3
      gl rm 2-5 7-
      gl rm --where 'status = failed and started < 2w ago'
    """
    chosen = _select(context, "rm", refs, where)
    _refuse_active(chosen)
    if not _agreed(context, "rm", chosen, where, yes, "move {} to the trash?"):
        return 1 if chosen else 0
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
        if run.error or run.status.ended:
            continue
        if run.imported:
            raise GuildliteError(
                f"run `{run.id}` is followed by a viewer", hint="close that viewer first"
            )
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
@click.argument("refs", nargs=-1, metavar="RUN...")
@_in_bulk
@click.pass_obj
def restore(context: Context, refs: tuple[str, ...], where: str | None, yes: bool) -> int:
    """Bring runs back from the trash.

    Numbers are those of `gl runs --trash`.

    \b
    Examples:
      gl restore 1
      gl restore 20261120T174501Z-expert
      gl restore --where 'label contains baseline'
    """
    chosen = _select(context, "restore", refs, where, trashed=True)
    if not _agreed(context, "restore", chosen, where, yes, "bring {} back from the trash?"):
        return 1 if chosen else 0
    failed = False
    for run in chosen:
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
    question = f"delete {format_count(len(chosen), 'run')} for good?"
    if not yes and not _confirmed(context, chosen, question, "purge"):
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


def _confirmed(context: Context, chosen: Sequence[Run], question: str, name: str) -> bool:
    for run in chosen[:_SHOWN]:
        context.say(f"  {run.id}{f'  {run.label}' if run.label else ''}")
    if len(chosen) > _SHOWN:
        context.say(f"  and {len(chosen) - _SHOWN} more")
    # click's own question leaves a space on stdout, which is for data.
    sys.stderr.write(f"{for_terminal(question)} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    if not answer and not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes", hint=f"`gl {name} --yes` does not ask")
    return answer.strip().lower() in ("y", "yes")
