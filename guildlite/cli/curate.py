"""Words on runs, the star, and the trash: of the runs named, or of all that pass a filter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
    """Add `--where`, `--yes` and `--json` to a command."""
    where = click.option("--where", metavar="FILTER", help="All runs that pass, after asking")
    yes = click.option("--yes", is_flag=True, help="Do not ask")
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print a JSON list of the runs and what failed"
    )
    return where(yes(as_json(function)))


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
            raise _needs_run(name)
        return context.select_runs(refs, trashed=trashed)
    if refs:
        raise UsageError("RUN and `--where` exclude each other")
    if not where.strip():
        raise UsageError("`--where` needs a condition", hint="as in `--where 'status = failed'`")
    from guildlite.cli.picking import Choice, pick_runs

    return pick_runs(context, Choice(where, trash=trashed)).runs()


def _needs_run(name: str) -> UsageError:
    return UsageError(f"`gl {name}` needs RUN", hint=f"`gl {name} --help` shows how it is used")


def _agreed(
    context: Context,
    name: str,
    chosen: Sequence[Run],
    where: str | None,
    yes: bool,
    what: str,
    as_json: bool,
) -> bool:
    """Return whether it may be done: at once to runs that were named, after asking to a filter's.

    `what` is the question, with `{}` for how many runs.
    """
    if where is None or not chosen:
        if not chosen:
            context.say(f"no run passes `{where}`")
            if as_json:
                context.write_json([])
        return bool(chosen)
    if yes or _confirmed(context, chosen, what.format(format_count(len(chosen), "run")), name):
        return True
    context.say("nothing done")
    return False


class _Outcome(NamedTuple):
    """What became of a run: where it lies now, and why nothing was done where that is so."""

    run: Run
    path: Path
    error: str


def _do(chosen: Sequence[Run], action: Callable[[Run], Path | None]) -> list[_Outcome]:
    """Do something to each run, to the others also where one fails; `action` says where it went."""
    outcomes = []
    for run in chosen:
        try:
            outcomes.append(_Outcome(run, action(run) or run.path, ""))
        except (GuildliteError, OSError) as error:
            outcomes.append(_Outcome(run, run.path, _reason(error)))
    return outcomes


def _report(
    context: Context,
    outcomes: Sequence[_Outcome],
    as_json: bool,
    one: Callable[[str], str] | None,
    failed: str,
) -> int:
    """Say what was done, a line for each run or one for many, and return the exit status.

    `one` makes the line of a run's name, or of `12 runs`, and None says nothing of those; `failed`
    is what is said of the others.
    """
    done = [each for each in outcomes if not each.error]
    if as_json:
        context.write_json([_outcome_object(each) for each in outcomes])
    elif one is None:
        pass
    elif len(done) > _SHOWN:
        context.say(one(format_count(len(done), "run")))
    else:
        for each in done:
            context.say(one(each.run.id))
    for each in outcomes:
        if each.error:
            context.say(f"error: {each.run.id} {failed}: {each.error}")
    return 0 if len(done) == len(outcomes) else 1


def _outcome_object(each: _Outcome) -> dict[str, object]:
    data: dict[str, object] = {"id": each.run.id, "dir": str(each.path)}
    if each.error:
        return {**data, "error": each.error}
    now = type(each.run)(each.path)
    return {**data, "label": now.label, "note": now.note, "marked": now.marked}


@command("label")
@click.argument("run", required=False, metavar="RUN")
@click.argument("text", required=False, metavar="TEXT")
@click.option("--clear", is_flag=True, help="Take the label off")
@_in_bulk
@click.pass_obj
def label(
    context: Context,
    run: str | None,
    text: str | None,
    clear: bool,
    where: str | None,
    yes: bool,
    as_json: bool,
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
    refs, text = _run_and_text("label", run, text, where)
    words = _one_of(text, clear, "label")
    chosen = _select(context, "label", refs, where)
    question = f"label {{}} `{_braced(words)}`?" if words else "take the label off {}?"
    if not _agreed(context, "label", chosen, where, yes, question, as_json):
        return 1 if chosen else 0
    outcomes = _do(chosen, lambda found: found.set_label(words))
    return _report(
        context, outcomes, as_json,
        lambda name: f"labelled {name} `{words}`" if words else f"took the label off {name}",
        "keeps its label",
    )  # fmt: skip


def _run_and_text(
    name: str, run: str | None, text: str | None, where: str | None
) -> tuple[tuple[str, ...], str | None]:
    """Return RUN and TEXT of a command that has no RUN with `--where`. Raises UsageError."""
    if where is None:
        if run is None:
            raise _needs_run(name)
        return (run,), text
    if run is not None and text is not None:
        raise UsageError("RUN and `--where` exclude each other")
    return (), run


def _braced(text: str) -> str:
    """Return text for a format in which its braces are nothing but braces."""
    return text.replace("{", "{{").replace("}", "}}")


@command("note")
@click.argument("run", required=False, metavar="RUN")
@click.argument("text", required=False, metavar="TEXT")
@click.option("--clear", is_flag=True, help="Take the note off")
@_in_bulk
@click.pass_obj
def note(
    context: Context,
    run: str | None,
    text: str | None,
    clear: bool,
    where: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Write a note on a run.

    It replaces the note that was there; `gl show` prints it. TEXT `-` reads it from stdin. With
    --where there is no RUN, only TEXT.

    \b
    Examples:
      gl note latest "diverged after the warm-up"
      gl note 3 --clear
    """
    refs, text = _run_and_text("note", run, text, where)
    words = _one_of(text, clear, "note")
    chosen = _select(context, "note", refs, where)
    if words == "-":
        if where is not None and not yes:
            raise UsageError("stdin is the note, so nobody can be asked", hint="add `--yes`")
        words = sys.stdin.read().rstrip("\n")
    question = "write the note on {}?" if words else "take the note off {}?"
    if not _agreed(context, "note", chosen, where, yes, question, as_json):
        return 1 if chosen else 0
    outcomes = _do(chosen, lambda found: found.set_note(words))
    return _report(
        context, outcomes, as_json,
        lambda name: f"noted on {name}" if words else f"took the note off {name}",
        "keeps its note",
    )  # fmt: skip


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
def mark(
    context: Context,
    refs: tuple[str, ...],
    clear: bool,
    where: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Mark runs with a star.

    \b
    Examples:
      gl mark latest
      gl mark 2-5 --clear
      gl mark --where 'loss < 0.1'
    """
    chosen = _select(context, "mark", refs, where)
    question = "take the star off {}?" if clear else "mark {} with a star?"
    if not _agreed(context, "mark", chosen, where, yes, question, as_json):
        return 1 if chosen else 0
    outcomes = _do(chosen, lambda run: run.set_mark(not clear))
    word = "unmarked" if clear else "marked"
    return _report(context, outcomes, as_json, lambda name: f"{word} {name}", "stays as it is")


@command("rm")
@click.argument("refs", nargs=-1, metavar="RUN...")
@_in_bulk
@click.pass_obj
def rm(context: Context, refs: tuple[str, ...], where: str | None, yes: bool, as_json: bool) -> int:
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
    if not _agreed(context, "rm", chosen, where, yes, "move {} to the trash?", as_json):
        return 1 if chosen else 0
    outcomes = _do(chosen, context.store().trash)
    moved = [each.run.id for each in outcomes if not each.error]
    status = _report(context, outcomes, as_json, None, "stays where it is")
    if moved and not as_json:
        context.say(f"moved {format_count(len(moved), 'run')} to the trash; bring back with:")
        context.say(f"  gl restore {' '.join(_word(name) for name in moved)}")
    return status


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
def restore(
    context: Context, refs: tuple[str, ...], where: str | None, yes: bool, as_json: bool
) -> int:
    """Bring runs back from the trash.

    Numbers are those of `gl runs --trash`.

    \b
    Examples:
      gl restore 1
      gl restore 20261120T174501Z-expert
      gl restore --where 'label contains baseline'
    """
    chosen = _select(context, "restore", refs, where, trashed=True)
    question = "bring {} back from the trash?"
    if not _agreed(context, "restore", chosen, where, yes, question, as_json):
        return 1 if chosen else 0
    outcomes = _do(chosen, context.store().restore)
    return _report(
        context, outcomes, as_json, lambda name: f"restored {name}", "stays in the trash"
    )


@command("purge")
@click.argument("refs", nargs=-1, metavar="[RUN]...")
@_in_bulk
@click.pass_obj
def purge(
    context: Context, refs: tuple[str, ...], where: str | None, yes: bool, as_json: bool
) -> int:
    """Delete trashed runs for good.

    Only what is in the trash can be deleted; without RUN and `--where` that is everything in it.
    It always asks, unless `--yes` is given. Numbers are those of `gl runs --trash`.

    \b
    Examples:
      gl purge
      gl purge 3- --yes
      gl purge --where 'status = failed'
    """
    store = context.store()
    everything = where is None and not refs
    chosen = store.trashed() if everything else _select(context, "purge", refs, where, trashed=True)
    if not chosen:
        context.say("the trash is empty" if everything else f"no run in the trash passes `{where}`")
        if as_json:
            context.write_json([])
        return 0
    question = f"delete {format_count(len(chosen), 'run')} for good?"
    if not yes and not _confirmed(context, chosen, question, "purge"):
        context.say("nothing deleted")
        return 1
    outcomes = _do(chosen, store.purge)
    if as_json:
        context.write_json([_deleted_object(each) for each in outcomes])
    failed = [each for each in outcomes if each.error]
    for each in failed:
        context.say(f"error: {each.run.id} stays in the trash: {each.error}")
    context.say(f"deleted {format_count(len(chosen) - len(failed), 'run')} for good")
    return 1 if failed else 0


def _deleted_object(each: _Outcome) -> dict[str, object]:
    data: dict[str, object] = {"id": each.run.id, "dir": str(each.path)}
    return {**data, "error": each.error} if each.error else data


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
