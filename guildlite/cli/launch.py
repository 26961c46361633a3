"""Starting, following and stopping: prepare, train, evaluate, run, attach, stop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import (
    coloured,
    format_duration,
    format_number,
    status_colour,
    status_text,
)
from guildlite.cli.words import FlagWordsCommand, command
from guildlite.errors import GuildliteError, UsageError, did_you_mean
from guildlite.execute.prepare import (
    Plan,
    Words,
    check_requirements,
    create_operation,
    create_run,
    launch_environment,
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

    names = [word for word in words if "=" not in word]
    assignments = [parse_assignment(word) for word in words if "=" in word]
    pairs = [parse_assignment(word, bare_is_true=True) for word in free]
    return names, Words(tuple(profiles), assignments, pairs)


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
    if preview:
        return _preview(context, plan, run_dir=None)
    from guildlite.execute.direct import run_here

    context.say(f"preparing `{plan.model}`: {_shown_command(plan, None)}")
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
    plan = plan_script(names, context.directory, said, os.environ)
    return _launch_plan(context, plan, options)


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
    operation = project.operation(project.model(found.model), "evaluate")
    plan = plan_operation(project, operation, said._replace(recorded=found), os.environ)
    training = not found.status.ended
    plan = plan._replace(
        extra_env={"EVAL_RUN_ONCE": "0" if training else "1"}, ends_with_run=training
    )
    if preview:
        return _preview(context, plan, run_dir=str(found.path))
    record = create_operation(plan, found)
    return _follow_new(context, plan, found, record, tty=False)


def _latest_trained(context: Context, project: Project) -> Run:
    for found in context.store().list():
        if found.error is None and found.operation == "train" and found.model in project.models:
            return found
    raise GuildliteError("there is no run to evaluate", hint="`gl train` makes one")


@command("attach")
@click.argument("run", required=False, metavar="[RUN]")
@click.pass_obj
def attach(context: Context, run: str | None) -> int:
    """Follow a run as if it had been started here.

    Shows what it printed so far and what comes. Ctrl-C detaches and leaves the run alone; the
    exit status is the script's own.

    \b
    Examples:
      gl attach
      gl attach 2
    """
    found = context.get_run(run)
    from guildlite.execute.catchup import settle
    from guildlite.execute.frontend import exit_status, watch

    try:
        watch(found, (sys.stdout.buffer, sys.stderr.buffer))
    except KeyboardInterrupt:
        context.say(f"\ndetached; {found.id} goes on")
        return 0
    _wait_for_seal(found)
    settle([found])
    _print_end(context, type(found)(found.path))
    return exit_status(found)


def _wait_for_seal(run: Run) -> None:
    """Wait, for a bounded time, while the supervisor still takes the last of a run that ended."""
    import time

    from guildlite.execute.frontend import SEAL_TIMEOUT_S
    from guildlite.platform import ProcessIdentity

    supervisor = ProcessIdentity.from_json((run.started_fact() or {}).get("supervisor"))
    deadline = time.monotonic() + SEAL_TIMEOUT_S
    while run.paths.heartbeat.exists() and supervisor is not None and supervisor.alive():
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


@command("stop")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--term", "name", flag_value="SIGTERM", help="Begin with SIGTERM")
@click.option("--kill", "name", flag_value="SIGKILL", help="SIGKILL at once")
@click.option("--grace", default=10.0, metavar="SECONDS", show_default=True,
              help="Time to end by itself before SIGKILL")  # fmt: skip
@click.pass_obj
def stop(context: Context, run: str | None, name: str | None, grace: float) -> int:
    """Stop a run.

    Sends SIGINT to the script and all its children, and SIGKILL to whatever is left after the
    grace. Without RUN it is the only one running.

    \b
    Examples:
      gl stop
      gl stop 3 --grace 60
    """
    if not 0 <= grace <= 86400:
        raise UsageError(f"`--grace` is {grace:g}, expected 0 to 86400 seconds")
    found = context.get_run(run) if run is not None else _only_running(context)
    busy = [one for one in (found, *found.later_operations()) if not one.status.ended]
    if not busy:
        raise GuildliteError(f"{found.id} is not running: it is {found.status}")
    from guildlite.execute.stop import stop as stop_operation

    for one in busy:
        paths = one.paths_of_operation
        if not _local(one):
            raise GuildliteError(f"{found.id} runs elsewhere: {one.status_note}")
        context.say(f"stopping {found.id}{f' {paths.name}' if paths.name else ''}")
        gone = stop_operation(
            one, found.uid, number=signal.Signals[name or "SIGINT"], grace_s=grace,
            ended=lambda one=one: type(one)(*_remake(one, found)).status.ended,  # type: ignore[misc]
        )  # fmt: skip
        if not gone:
            raise GuildliteError(f"{found.id} has processes that could not be stopped")
    fresh = type(found)(found.path)
    context.say(f"{fresh.id} {status_text(str(fresh.status))}")
    return 0


def _remake(record: OperationRecord, run: Run) -> tuple[Any, ...]:
    if not record.paths_of_operation.name:
        return (run.path,)
    return record.paths_of_operation, run.path, run.paths.heartbeat


def _local(record: OperationRecord) -> bool:
    from guildlite.platform import ProcessIdentity

    process = ProcessIdentity.from_json((record.started_fact() or {}).get("training"))
    return process is None or process.reachable()


def _only_running(context: Context) -> Run:
    running = [found for found in context.store().list() if found.error is None and found.busy()]
    if not running:
        raise GuildliteError("no run is running", hint="see `gl runs`")
    if len(running) > 1:
        names = ", ".join(found.id for found in running[:5])
        raise UsageError(f"{len(running)} runs are running: {names}", hint="gl stop RUN")
    return running[0]


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
        return _preview(context, plan, run_dir="$RUNDIR")
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
    _print_start(context, plan, made)
    environ = launch_environment(plan, made, record.paths_of_operation.name)
    executor = LocalExecutor(terminal.slave if terminal else -1)
    with hold_signals():
        job = executor.submit(made, record, plan.argv(str(made.path)), environ)
        if terminal is not None:
            terminal.attach(record.paths_of_operation.stdout)
        streams = (sys.stdout.buffer, sys.stderr.buffer)
        front = FrontEnd(made, record, job, streams, _say_interrupt(context), terminal)
        try:
            front.follow()
        finally:
            if terminal is not None:
                terminal.close()
    fresh = type(made)(made.path)
    settle([fresh])
    _print_end(context, fresh, record)
    return exit_status(record, front.interrupts)


def _say_interrupt(context: Context) -> Callable[[int], None]:
    texts = {
        signal.SIGINT: "\nstopping: the script has 10 s to end; Ctrl-C again sends SIGTERM",
        signal.SIGTERM: "\nSIGTERM sent; Ctrl-C again kills",
        signal.SIGKILL: "\nkilled",
    }
    return lambda number: context.say(texts[signal.Signals(number)])


# Printing -------------------------------------------------------------------------------------


def _preview(context: Context, plan: Plan, run_dir: str | None) -> int:
    from shlex import quote

    argv = plan.argv(run_dir, hide_secrets=True)
    fixed = len(plan.command.argv)
    lines = [" ".join(_quote(word) for word in argv[:fixed])]
    rest = argv[fixed:]
    while rest:
        # An option and its value belong on one line.
        pair = 2 if len(rest) > 1 and rest[0].startswith("-") and not rest[1].startswith("-") else 1
        pair = 1 if "=" in rest[0] else pair
        lines.append("  " + " ".join(_quote(word) for word in rest[:pair]))
        rest = rest[pair:]
    context.write(" \\\n".join(lines))
    context.write("")
    for name, value in plan.environment(run_dir, hide_secrets=True).items():
        context.write(f"{name}={_quote(value) if value.startswith('$') else quote(value)}")
    return 0


def _quote(word: str) -> str:
    """Quote a word for a shell, but let `$RUNDIR` stand as what it is."""
    from shlex import quote

    return word if word.startswith("$RUNDIR") and quote(word[1:]) == word[1:] else quote(word)


def _shown_command(plan: Plan, run_dir: str | None) -> str:
    from shlex import join

    return join(plan.argv(run_dir, hide_secrets=True))


def _relative(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("../..") else relative


def _print_start(context: Context, plan: Plan, made: Run) -> None:
    if made.error is None and plan.operation == "evaluate":
        context.say(f"command  {_shown_command(plan, str(made.path))}")
        return
    context.say(f"run      {_relative(made.path)}")
    context.say(f"command  {_shown_command(plan, str(made.path))}")
    context.say("view     gl view")


def _print_end(context: Context, made: Run, record: OperationRecord | None = None) -> None:
    ended: OperationRecord = made
    if record is not None and record.paths_of_operation.name:
        name = record.paths_of_operation.name
        later = [one for one in made.later_operations() if one.paths_of_operation.name == name]
        ended = later[0] if later else record
    status = str(ended.status)
    text = coloured(status_text(status), status_colour(status), sys.stderr)
    duration = format_duration(ended.duration_s)
    what = made.id if ended is made else f"{ended.operation} of {made.id}"
    print(f"{text}  {what}{f'  {duration}' if duration else ''}", file=sys.stderr)
    for line in [
        *_why(ended),
        *_metric_lines(context, made, ended),
        _next_line(context, made, ended),
    ]:
        if line:
            context.say(line)


def _why(ended: OperationRecord) -> list[str]:
    from guildlite.platform import signal_name

    lines = []
    meta = ended.paths_of_operation.meta
    if not meta.exists():
        # How the script ended was to be written there.
        lines.append(f"         {_relative(meta)} was deleted while it ran")
    fact = ended.exit_fact() or {}
    if fact.get("error"):
        lines.append(f"         {fact['error']}")
    elif ended.exit_signal is not None:
        lines.append(f"         died of {signal_name(ended.exit_signal)}")
    elif ended.exit_code:
        lines.append(f"         exit status {ended.exit_code}")
    if ended.exit_code and _says_eof(ended.paths_of_operation.stderr):
        lines.append("hint: the script read from its input; `--tty` gives it the terminal")
    return lines


def _says_eof(log: Path) -> bool:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.stat(log).st_size - 4096))
            return b"EOFError" in file.read()
    except OSError:
        return False


def _metric_lines(context: Context, made: Run, ended: OperationRecord) -> list[str]:
    """Return the project's metrics that the operation brought, the primary one first."""
    project = context.readable_project()
    if project is None or not project.metrics:
        return []
    metrics = sorted(project.metrics.values(), key=lambda metric: not metric.primary)
    try:
        with made.read() as reader:
            known = {summary.key: summary for summary in reader.summaries()}
    except GuildliteError:
        return []
    since_ms = (ended.started_at or 0) * 1000 if ended is not made else 0
    return [
        f"         {metric.key} {format_number(known[metric.key].last, metric.format)}"
        for metric in metrics
        if metric.key in known and (known[metric.key].last_time or since_ms) >= since_ms
    ]


def _next_line(context: Context, made: Run, ended: OperationRecord) -> str:
    status = str(ended.status)
    if status in ("failed", "lost"):
        return "next     gl why"
    project = context.readable_project()
    model = project.models.get(made.model) if project is not None else None
    can_evaluate = model is not None and "evaluate" in model.operations
    if status == "completed" and ended.operation == "train" and can_evaluate:
        return "next     gl evaluate --latest-run"
    return f"next     gl show {made.id}"
