"""Starting: prepare, train, evaluate, run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.ending import print_end
from guildlite.cli.preview import print_preview, print_start, shown_command
from guildlite.cli.words import FlagWordsCommand
from guildlite.command import CommandNotFound
from guildlite.errors import GuildliteError, UsageError, did_you_mean
from guildlite.execute.prepare import (
    Plan,
    Words,
    check_requirements,
    check_without_run,
    create_operation,
    create_run,
    launch_environment,
    plan_evaluation,
    plan_operation,
    plan_script,
    snapshot,
)

if TYPE_CHECKING:
    from guildlite.project import Operation, Project
    from guildlite.runs.run import OperationRecord, Run


# Options that several commands share ----------------------------------------------------------


def _flag_words(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    from guildlite.cli.commands import summary

    return click.command(name, cls=FlagWordsCommand, short_help=summary(name), **settings)


def _said(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--preview", is_flag=True, help="Print the exact command; run nothing"),
        click.option("-F", "--flag", "free", multiple=True, metavar="NAME=VALUE",
                     help="Pass a flag unchecked; may be repeated"),
        click.option("-p", "--profile", "profiles", multiple=True, metavar="P",
                     help="Use a profile; may be repeated, later ones win"),
    ):  # fmt: skip
        function = option(function)
    return function


def _run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--tty", is_flag=True, help="Give the script the terminal"),
        click.option("--needed", is_flag=True, help="Only if no equal run is completed"),
        click.option("-d", "--detach", is_flag=True, help="Print the run directory and leave"),
        click.option("--note", default="", metavar="TEXT", help="Write a note on the run"),
        click.option("--label", default="", metavar="TEXT", help="Label the run"),
    ):
        function = option(function)
    return _said(function)


def _read_words(
    words: Sequence[str], free: Sequence[str], profiles: Sequence[str]
) -> tuple[list[str], Words]:
    """Part the words of a command into names and flag assignments."""
    from guildlite.flags import parse_assignment

    names = [word for word in words if not _assigns(word)]
    assignments = [parse_assignment(word) for word in words if _assigns(word)]
    pairs = [parse_assignment(word, bare_is_true=True) for word in free]
    return names, Words(tuple(profiles), assignments, pairs)


def _assigns(word: str) -> bool:
    """Return whether a word gives a flag: not `import os; x = 1` after `python -c`."""
    name, equals, _ = word.partition("=")
    return bool(equals) and len(name.split()) <= 1


def _only_name(names: Sequence[str], what: str) -> str | None:
    if len(names) > 1:
        raise UsageError(
            f"one {what} at most, got {' '.join(names)}", hint="flags are words like `lr=0.1`"
        )
    return names[0] if names else None


# Commands -------------------------------------------------------------------------------------


@_flag_words("prepare")
@click.argument("words", nargs=-1, metavar="[MODEL] [NAME=VALUE]...")
@_said
@click.pass_obj
def prepare(
    context: Context,
    words: Sequence[str],
    profiles: Sequence[str],
    free: Sequence[str],
    preview: bool,
) -> int:
    """Prepare what a model needs, such as its data.

    Runs the prepare command of a model or a resource in the project directory. It makes no run.

    \b
    Examples:
      gl prepare
      gl prepare samples
    """
    names, said = _read_words(words, free, profiles)
    project = context.project()
    operation = _find_prepare(project, _only_name(names, "MODEL"))
    plan = plan_operation(project, operation, said, os.environ)
    check_without_run(plan)
    if preview:
        return print_preview(context, plan, run_dir=None)
    from guildlite.execute.direct import run_here

    context.say(f"preparing `{plan.model}`: {shown_command(plan, None)}")
    return run_here(plan)


def _find_prepare(project: Project, name: str | None) -> Operation:
    if name is not None and name not in project.models and name in project.resources:
        return project.resource(name).prepare
    if name is not None and name not in project.models:
        raise UsageError(
            f"`{name}` is neither a model nor a resource of this project",
            hint=did_you_mean(name, [*project.models, *project.resources]),
        )
    return project.operation(project.model(name), "prepare")


@_flag_words("train")
@click.argument("words", nargs=-1, metavar="[MODEL] [NAME=VALUE]...")
@_run_options
@click.pass_obj
def train(context: Context, /, words: Sequence[str], **options: Any) -> int:
    """Train a model in a new run.

    Without MODEL it is the only one of the project, else the one marked `default: true`.

    \b
    Examples:
      gl train
      gl train expert --profile quick lr=0.05
      gl train --label baseline -d
    """
    names, said = _read_words(words, options["free"], options["profiles"])
    project = context.project()
    operation = project.operation(project.model(_only_name(names, "MODEL")), "train")
    return _launch(context, project, operation, said, options)


@_flag_words(
    "run", when_bare=("`gl run` needs a script or MODEL:OPERATION", "`gl runs` lists runs")
)
@click.argument("words", nargs=-1, metavar="SCRIPT|MODEL:OPERATION [NAME=VALUE]...")
@_run_options
@click.pass_obj
def run(context: Context, /, words: Sequence[str], **options: Any) -> int:
    """Run any operation or script.

    A script needs no project file: its flags are read from its source, and it runs in a run
    directory like any other.

    \b
    Examples:
      gl run train.py lr=0.1
      gl run expert:export
    """
    names, said = _read_words(words, options["free"], options["profiles"])
    if not names:
        raise UsageError("no script or MODEL:OPERATION was named", hint="gl run train.py lr=0.1")
    project = context.find_project()
    model, colon, name = names[0].partition(":")
    if project is not None and colon and not Path(names[0]).exists():
        _only_name(names, "MODEL:OPERATION")
        operation = project.operation(project.model(model or None), name)
        return _launch(context, project, operation, said, options)
    try:
        plan = plan_script(
            _command_line(names, context.directory), context.directory, said, os.environ
        )
    except CommandNotFound as error:
        if project is not None and names[0] in project.models:
            error.hint = f"`{names[0]}` is a model: `gl run {names[0]}:OPERATION`"
        raise
    return _launch_plan(context, plan, options)


def _command_line(names: Sequence[str], directory: Path) -> list[str]:
    """Return the words of a command, one given in quotes (`gl run "sh job.sh"`) taken apart."""
    first = names[0]
    if not any(character.isspace() for character in first) or (directory / first).exists():
        return list(names)
    from shlex import split

    try:
        return [*split(first), *names[1:]]
    except ValueError as error:
        raise UsageError(f"`{first}` is no command line: {str(error).lower()}") from error


@_flag_words("evaluate")
@click.argument("words", nargs=-1, metavar="[RUN] [NAME=VALUE]...")
@click.option("--latest-run", is_flag=True, help="Evaluate the latest run that trained")
@_said
@click.pass_obj
def evaluate(
    context: Context,
    words: Sequence[str],
    latest_run: bool,
    profiles: Sequence[str],
    free: Sequence[str],
    preview: bool,
) -> int:
    """Evaluate an existing run.

    Runs the evaluate operation of the run's model with the flags the run recorded; what it
    writes and prints becomes part of the run. While the run still trains, the script finds
    EVAL_RUN_ONCE=0 and may go on looking until the training ends.

    \b
    Examples:
      gl evaluate
      gl evaluate 2 batch_size=500
    """
    names, said = _read_words(words, free, profiles)
    ref = _only_name(names, "RUN")
    if ref is not None and latest_run:
        raise UsageError("give a RUN or `--latest-run`, not both")
    project = context.project()
    found = context.get_run(ref) if ref is not None else _latest_trained(context, project)
    if found.error is not None:
        raise GuildliteError(f"{found.id} cannot be read: {found.error}")
    if ref is None:
        context.say(f"evaluating {found.id}")
    plan = plan_evaluation(project, found, said, os.environ)
    if preview:
        return print_preview(context, plan, run_dir=str(found.path))
    record = create_operation(plan, found)
    return _follow_new(context, plan, found, record, tty=False)


def _latest_trained(context: Context, project: Project) -> Run:
    for found in context.store().list():
        if found.error is None and found.operation == "train" and found.model in project.models:
            return found
    raise GuildliteError("there is no run to evaluate", hint="`gl train` makes one")


# Launching ------------------------------------------------------------------------------------


def _launch(
    context: Context, project: Project, operation: Operation, said: Words, options: dict[str, Any]
) -> int:
    plan = plan_operation(project, operation, said, os.environ)
    if not options["preview"]:
        check_requirements(plan, operation)
    return _launch_plan(context, plan, options)


def _launch_plan(context: Context, plan: Plan, options: dict[str, Any]) -> int:
    if options["preview"]:
        return print_preview(context, plan, run_dir="$RUNDIR")
    if options["detach"] and os.getpid() == 1:
        raise UsageError(
            "`-d` as process 1 would end the container and the run with it",
            hint="run without `-d`, or use `docker run -d`",
        )
    if options["detach"] and options["tty"]:
        raise UsageError("`-d` leaves and `--tty` needs the terminal; give one of them")
    if options["needed"]:
        equal = _equal_run(context, plan)
        if equal is not None:
            context.say(f"not needed: {equal.id} is completed with equal flags and source")
            context.write(str(equal.path))
            return 0
    made = create_run(plan, context.store(), label=options["label"], note=options["note"])
    if options["detach"]:
        return _detach(context, plan, made)
    return _follow_new(context, plan, made, made, tty=options["tty"])


def _equal_run(context: Context, plan: Plan) -> Run | None:
    store = context.store()
    digest, _ = snapshot(plan, None, store.root)
    flags = plan.values.recorded()
    for found in store.list():
        same = (found.model, found.operation) == (plan.model, plan.operation)
        same = same and found.manifest.get("source_digest") == digest
        if same and found.flags == flags and found.status == "completed":
            return found
    return None


def _detach(context: Context, plan: Plan, made: Run) -> int:
    from guildlite.execute.executor import LocalExecutor

    environ = launch_environment(plan, made, "")
    job = LocalExecutor().submit(made, made, plan.argv(str(made.path)), environ)
    job.wait_started()
    job.close()
    context.write(str(made.path))
    return 0


def _follow_new(
    context: Context, plan: Plan, made: Run, record: OperationRecord, *, tty: bool
) -> int:
    from guildlite.execute.catchup import settle
    from guildlite.execute.executor import LocalExecutor
    from guildlite.execute.frontend import FrontEnd, exit_status, hold_signals

    terminal = None
    if tty:
        from guildlite.execute.terminal import Terminal

        terminal = Terminal()
    print_start(context, plan, made, new=record is made)
    environ = launch_environment(plan, made, record.paths.name)
    executor = LocalExecutor(terminal.slave if terminal else -1)
    with hold_signals():
        job = executor.submit(made, record, plan.argv(str(made.path)), environ)
        if terminal is not None:
            terminal.attach(record.paths.stdout)
        streams = (sys.stdout.buffer, sys.stderr.buffer)
        front = FrontEnd(made, record, job, streams, _say_interrupt(context), terminal)
        try:
            front.follow()
        finally:
            if terminal is not None:
                terminal.close()
    ended = made.fresh()
    settle([ended])
    print_end(context, ended, None if record is made else record.fresh())
    return exit_status(record, front.interrupts)


def _say_interrupt(context: Context) -> Callable[[int], None]:
    from guildlite.execute.frontend import grace_after

    grace = f"{grace_after(signal.SIGINT):g} s"
    texts = {
        signal.SIGINT: f"\nstopping: the script has {grace} to end; Ctrl-C again sends SIGTERM",
        signal.SIGTERM: "\nSIGTERM sent; Ctrl-C again kills",
        signal.SIGKILL: "\nkilled",
    }
    return lambda number: context.say(texts[signal.Signals(number)])
