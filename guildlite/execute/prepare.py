"""An operation, its flags and its source become a run directory that is ready to start.

`plan` decides everything and touches nothing; `create_run` and `create_operation` make the
files. What a `Plan` shows (`--preview`) is what is executed.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from guildlite import __version__
from guildlite.command import Command, active_interpreter, resolve_command, site_packages
from guildlite.defaults import INTERVAL_S
from guildlite.errors import LaunchError, UsageError
from guildlite.execute.stop import MARK, operation_mark
from guildlite.flags import (
    Flag,
    FlagValues,
    expand,
    merge_script_flags,
    missing_variables,
    resolve_flags,
)
from guildlite.platform import ProcessIdentity
from guildlite.project import Operation, Project
from guildlite.runs.facts import write_fact
from guildlite.runs.logs import append_notice
from guildlite.runs.paths import OperationPaths
from guildlite.runs.run import LaterOperation, Run
from guildlite.runs.store import RunStore, safe_name

#: Shown for the run directory before there is one.
SYMBOLIC_RUN_DIR = "$RUNDIR"


class Words(NamedTuple):
    """What was said for one launch. `assignments` and `free` (`-F`) are (name, text) pairs.

    `recorded` is the run that a later operation belongs to: its flags stand before what is said.
    """

    profiles: Sequence[str] = ()
    assignments: Sequence[tuple[str, str]] = ()
    free: Sequence[tuple[str, str]] = ()
    recorded: Run | None = None


class Plan(NamedTuple):
    """One launch, decided: command, flags, environment. Nothing has been touched yet."""

    operation: str
    model: str
    command: Command
    written: Sequence[str]
    values: FlagValues
    style: str
    directory: Path
    env: Mapping[str, str]
    gpu_count: int
    project: Project | None = None
    sources: Sequence[str] | None = None
    profiles: Sequence[str] = ()
    #: `EVAL_RUN_ONCE` and its like: what the kind of launch adds.
    extra_env: Mapping[str, str] = MappingProxyType({})
    #: End a looping evaluation with the training it looks at.
    ends_with_run: bool = False

    def variables(self, run_dir: str | None) -> dict[str, str]:
        """Return what `$NAME` stands for; without a run directory RUNDIR is not among them."""
        variables = {"GPU_COUNT": str(self.gpu_count), "PROJECT": str(self.directory)}
        if run_dir is not None:
            variables["RUNDIR"] = run_dir
        return variables

    def argv(self, run_dir: str | None, *, hide_secrets: bool = False) -> list[str]:
        """Return the exact words to execute."""
        variables = self.variables(run_dir)
        fixed = [expand(word, variables) for word in self.command.argv]
        return fixed + self.values.to_argv(self.style, variables, hide_secrets=hide_secrets)

    def environment(self, run_dir: str | None, *, hide_secrets: bool = False) -> dict[str, str]:
        """Return the variables that the script gets besides those it inherits.

        One that refers to the run directory is left out where there is none.
        """
        variables = self.variables(run_dir)
        declared = {
            name: expand(value, variables)
            for name, value in self.env.items()
            if not missing_variables(value, variables)
        }
        passed = self.values.to_env(self.style, variables, hide_secrets=hide_secrets)
        return {**declared, **passed, **self.extra_env, **variables, "PYTHONUNBUFFERED": "1"}


def plan_operation(
    project: Project, operation: Operation, words: Words, environ: Mapping[str, str]
) -> Plan:
    """Decide the launch of an operation of the project.

    Raises UsageError for an unknown profile, FlagError for a flag, CommandNotFound for a script
    that is not there.
    """
    env = {**environ, **operation.env}
    command = resolve_command(operation.command, project.dir, env)
    flags, aliases, _ = _known_flags(command, operation.flags)
    recorded, recorded_freely = _recorded(words, flags)
    values = resolve_flags(
        flags,
        [(name, project.profile(name)) for name in words.profiles],
        recorded + _with_names(words.assignments, aliases, flags),
        [*recorded_freely, *words.free],
        elsewhere=project.flag_names(),
    )
    return Plan(
        operation=operation.name,
        model=operation.model,
        command=command,
        written=operation.command,
        values=values,
        style=operation.flag_style,
        directory=project.dir,
        env=operation.env,
        gpu_count=_count_gpus(env),
        project=project,
        sources=operation.sources,
        profiles=words.profiles,
    )


def plan_evaluation(project: Project, run: Run, words: Words, environ: Mapping[str, str]) -> Plan:
    """Decide the evaluation of a run with the flags it recorded.

    While the run still trains, the script finds EVAL_RUN_ONCE=0 and ends with the training. Raises
    UsageError where the run's model has no `evaluate`, and what `plan_operation` raises.
    """
    operation = project.operation(project.model(run.model), "evaluate")
    plan = plan_operation(project, operation, words._replace(recorded=run), environ)
    training = not run.status.ended
    return plan._replace(
        extra_env={"EVAL_RUN_ONCE": "0" if training else "1"}, ends_with_run=training
    )


def plan_script(
    script: Sequence[str], directory: Path, words: Words, environ: Mapping[str, str]
) -> Plan:
    """Decide the launch of a script that no project file declares.

    Its flags are those its source shows; a script that shows none takes any name.
    """
    if words.profiles:
        raise UsageError(
            f"profile `{words.profiles[0]}` needs a project file", hint="make one with `gl init`"
        )
    command = resolve_command(script, directory, environ)
    flags, aliases, accepts_unknown = _known_flags(command, {})
    values = resolve_flags(
        flags,
        (),
        _with_names(words.assignments, aliases, flags),
        words.free,
        accept_unknown=accepts_unknown or not flags,
    )
    name = Path(script[0]).name
    return Plan(
        operation="run",
        model=safe_name(name[:-3] if name.endswith(".py") else name),
        command=command,
        written=script,
        values=values,
        style="space",
        directory=directory,
        env={},
        gpu_count=_count_gpus(environ),
    )


def _known_flags(
    command: Command, declared: Mapping[str, Flag]
) -> tuple[dict[str, Flag], Mapping[str, str], bool]:
    """Return the flags by name, other spellings of them, and whether the script ignores others."""
    if command.script is None:
        return dict(declared), {}, False
    from guildlite.execute.scriptcache import read_cached_flags

    found = read_cached_flags(command.script, command.arguments)
    return merge_script_flags(declared, found.flags), found.aliases, found.accepts_unknown


def _with_names(
    assignments: Sequence[tuple[str, str]], aliases: Mapping[str, str], flags: Mapping[str, Flag]
) -> list[tuple[str, str]]:
    return [
        (name if name in flags else aliases.get(name, name), text) for name, text in assignments
    ]


def _recorded(
    words: Words, flags: Mapping[str, Flag]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the recorded flags that the operation takes, those of empty text apart.

    What the script's source alone knew was passed only when set, and is so again. A flag whose
    value was taken away (`name=`) is recorded by having been changed and having no value.
    """
    if words.recorded is None:
        return [], []
    changed = words.recorded.manifest.get("changed")
    were_set = changed if isinstance(changed, list) else []
    said = {name for name, _ in words.assignments}
    values = words.recorded.flags
    kept = [
        (name, text)
        for name, text in values.items()
        if name not in said and name in flags and (flags[name].declared or name in were_set)
    ]
    cleared = [
        (name, "") for name in were_set if name in flags and name not in said and name not in values
    ]
    return [pair for pair in kept if pair[1]] + cleared, [pair for pair in kept if not pair[1]]


def _count_gpus(environ: Mapping[str, str]) -> int:
    from guildlite.collect.facts import count_gpus

    return count_gpus(environ)


def check_requirements(plan: Plan, operation: Operation) -> None:
    """Raise UsageError when something the operation needs is missing."""
    for path in operation.requires:
        if not (plan.directory / os.path.expanduser(path)).exists():
            raise UsageError(
                f"`{path}` is missing, which {plan.operation} of `{plan.model}` needs",
                hint=_way_to_prepare(plan),
            )


def _way_to_prepare(plan: Plan) -> str:
    model = plan.project.models.get(plan.model) if plan.project is not None else None
    if model is None or "prepare" in model.operations:
        return f"run `gl prepare {plan.model}` first"
    return f"make it, or give `{plan.model}` a `prepare` command for `gl prepare {plan.model}`"


def check_without_run(plan: Plan) -> None:
    """Raise UsageError when the command itself refers to a run directory there will not be."""
    for word in plan.command.argv:
        if missing_variables(word, plan.variables(None)):
            raise UsageError(
                f"`{word}` in {plan.operation} of `{plan.model}` needs a run directory, "
                f"and `gl prepare` makes none",
                hint="leave it out of the command; a flag that holds it is left out by itself",
            )


# Making files -------------------------------------------------------------------------------


def create_run(plan: Plan, store: RunStore, *, label: str = "", note: str = "") -> Run:
    """Make the run directory: manifest, source snapshot, label and note. Raises LaunchError."""
    run = store.create(plan.model)
    try:
        _fill_run(plan, store, run)
        run = Run(run.path)
        if label:
            run.set_label(label)
        if note:
            run.set_note(note)
    except OSError as error:
        import shutil

        # It was made a moment ago by us, and holds nothing but copies.
        shutil.rmtree(run.path, ignore_errors=True)
        raise LaunchError(
            f"cannot write the run directory {run.path}: {error.strerror}",
            hint="check free space and permissions",
        ) from error
    return run


def _fill_run(plan: Plan, store: RunStore, run: Run) -> None:
    digest, notices = snapshot(plan, run.paths.sources, store.root)
    manifest = {"uid": uuid.uuid4().hex, **_manifest(plan, run, digest)}
    write_fact(run.paths.manifest, manifest)
    for notice in notices:
        append_notice(run.paths, notice)


def create_operation(plan: Plan, run: Run) -> LaterOperation:
    """Make the folder of a later operation on a run. Raises LaunchError."""
    try:
        paths = _make_operation(run, plan.operation)
        write_fact(paths.manifest, {"run_uid": run.uid, **_manifest(plan, run, "")})
    except OSError as error:
        raise LaunchError(f"cannot write into {run.path}: {error.strerror}") from error
    return LaterOperation(paths, run.path, run.paths.heartbeat)


def _make_operation(run: Run, operation: str) -> OperationPaths:
    run.paths.ops.mkdir(exist_ok=True)
    # The run's own operation counts as the first.
    number = 2 + len(run.paths.operations())
    while True:
        paths = run.paths.operation(f"{number}-{safe_name(operation)}")
        try:
            if not any(one.name.startswith(f"{number}-") for one in run.paths.operations()):
                paths.root.mkdir()
                paths.meta.mkdir()
                return paths
        except FileExistsError:
            pass
        number += 1


def snapshot(plan: Plan, target: Path | None, runs_root: Path) -> tuple[str, Sequence[str]]:
    """Copy the plan's source files to `target` (None: only look); return digest and notices."""
    from guildlite.execute.sources import copy_sources, snapshot_patterns

    script = plan.command.script
    patterns = snapshot_patterns(plan.project, plan.sources, script.name if script else None)
    taken = copy_sources(plan.directory, target, patterns=patterns, skip=[runs_root])
    return taken.digest, taken.notices


def _manifest(plan: Plan, run: Run, digest: str) -> dict[str, object]:
    from guildlite.collect.facts import read_environment

    run_dir = str(run.path)
    project = plan.project
    interpreter = active_interpreter(os.environ)
    return {
        "attempt": 1,
        "id": run.id,
        "created": time.time(),
        "guildlite": __version__,
        "project": project.name if project else plan.directory.name,
        "operation": plan.operation,
        "model": plan.model,
        "profiles": list(plan.profiles),
        "run": " ".join(plan.written),
        "command": plan.argv(run_dir, hide_secrets=True),
        "directory": str(plan.directory),
        "flags": plan.values.recorded(),
        "changed": sorted(plan.values.changed()),
        "env": plan.environment(run_dir, hide_secrets=True),
        "environment": read_environment(os.environ),
        "source_digest": digest,
        "ends_with_run": plan.ends_with_run,
        "interval": _interval(plan),
        "collect": {name: list(columns) for name, columns in project.collect.items()}
        if project
        else {},
        "site_packages": [str(path) for path in site_packages(interpreter)],
        "launcher": ProcessIdentity.of(os.getpid()).to_json(),
    }


def _interval(plan: Plan) -> float:
    """Return the seconds between two samples: a flag `stats_interval` says, else the project."""
    name = "stats_interval"
    flag, value = plan.values.flags.get(name), plan.values.values.get(name)
    # What a script has as its own default is nothing that anyone asked of gl.
    meant = flag is not None and (flag.declared or name in plan.values.changed())
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if meant and number and 0 < value < float("inf"):  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    return plan.project.interval if plan.project is not None else INTERVAL_S


def launch_environment(plan: Plan, run: Run, operation: str) -> dict[str, str]:
    """Return the whole environment of the script."""
    return {
        **os.environ,
        **plan.environment(str(run.path)),
        MARK: operation_mark(run.uid, operation),
    }
