"""The "New run" form as plain data: typed controls, what differs, the exact command.

A form and the command line mean the same: what is typed is checked by `flags`, becomes the words of
a `gl` command and is planned by `execute.prepare`. Nothing here makes a file or starts anything,
and no secret value leaves this module in anything but a `Plan`.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import FlagError, GuildliteError, RunNotFound, UsageError
from guildlite.execute.prepare import (
    SYMBOLIC_RUN_DIR,
    Plan,
    Words,
    check_requirements,
    plan_operation,
    plan_script,
)
from guildlite.flags import (
    SECRET_MARK,
    Flag,
    Value,
    check_value,
    expand,
    expectation,
    format_value,
    is_secret,
    missing_variables,
    parse_assignment,
)
from guildlite.project import Operation, Project, load_project
from guildlite.runs import Run
from guildlite.web.state import TOKEN_VARIABLE
from guildlite.web.workspace import Workspace, natural

#: Choices that are all shown at once; more become a list to choose from.
MOST_RADIOS = 4
#: Scripts offered where there is no project file.
_MOST_SCRIPTS = 100


class Said(NamedTuple):
    """What a form or request says of a start; texts as typed, empty ones not said.

    op: `MODEL:OPERATION`, or a script where no project file declares it.
    cleared: flags whose default is taken away, as `name=` does on the command line.
    free: one `name=value` a line, passed unchecked as with `-F`.
    """

    op: str = ""
    profiles: tuple[str, ...] = ()
    flags: Mapping[str, str] = {}
    cleared: frozenset[str] = frozenset()
    free: str = ""
    label: str = ""
    note: str = ""


@dataclass(slots=True)
class Control:
    """One flag in the form.

    kind: `number`, `choice`, `switch`, `path`, `text` or `secret`.
    text: what was typed or prefilled, never of a secret; empty where the base value holds.
    base: the text of the value that holds when nothing is typed, `from_profile` where one set it.
    expects: in the words of an error, as in `a number of at least 0`.
    found: only the script's source knows this flag; it is passed only when set.
    """

    name: str
    kind: str
    text: str
    base: str
    from_profile: str | None
    help: str | None
    expects: str
    scale: str | None
    low: str
    high: str
    step: str
    choices: list[str]
    required: bool
    found: bool
    cleared: bool
    changed: bool = False
    place: str | None = None
    error: str | None = None
    hint: str | None = None

    @property
    def shown(self) -> str:
        """The value the control stands at: what is typed, else the base value."""
        return self.text or ("" if self.cleared else self.base)

    @property
    def radios(self) -> bool:
        """Whether all choices are shown at once."""
        return len(self.choices) <= MOST_RADIOS


class Change(NamedTuple):
    """A flag that does not have its default, as texts; `origin` as in `profile quick`."""

    name: str
    default: str
    value: str
    origin: str


@dataclass(slots=True)
class StartForm:
    """The whole form. `plan` is what a start would execute, None while something is wrong.

    `problem` is what is wrong with the whole, `missing` a path that must be there before a start.
    `seen` changes with everything that the form shows of project file and script.
    """

    said: Said
    title: str = ""
    description: str | None = None
    can_prepare: str | None = None
    controls: list[Control] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    command: str = ""
    executed: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = ""
    seen: str = ""
    problem: GuildliteError | None = None
    missing: GuildliteError | None = None
    plan: Plan | None = None

    @property
    def wrong(self) -> list[Control]:
        """The controls with an error."""
        return [control for control in self.controls if control.error]

    def fault(self) -> tuple[GuildliteError, str | None] | None:
        """Return the first thing that keeps this from being started, with the flag's name."""
        for control in self.wrong:
            return FlagError(control.error or "", hint=control.hint), control.name
        problem = self.problem or self.missing
        return (problem, None) if problem else None


class _Target(NamedTuple):
    """What is to be run: an operation of a project, or the words of a script."""

    op: str
    project: Project | None
    operation: Operation | None
    script: tuple[str, ...]
    directory: Path

    def plan(self, words: Words, *, relaxed: bool = False) -> Plan:
        """Decide the launch; `relaxed` lets required flags be without a value."""
        if self.operation is None or self.project is None:
            return plan_script(self.script, self.directory, words, launch_environ())
        operation = self.operation
        if relaxed:
            flags = {n: flag._replace(required=False) for n, flag in operation.flags.items()}
            operation = operation._replace(flags=flags)
        return plan_operation(self.project, operation, words, launch_environ())

    def required(self, name: str) -> bool:
        flag = self.operation.flags.get(name) if self.operation else None
        return flag is not None and flag.required


def launch_environ() -> dict[str, str]:
    """Return the environment for what is started here: the viewer's own secret stays here."""
    return {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}


def current_project(workspace: Workspace) -> Project | None:
    """Return the project as its file says now. Raises ProjectFileError for a bad file."""
    return load_project(workspace.project.file) if workspace.project else None


def read_choices(workspace: Workspace) -> dict[str, list[str]]:
    """Return what can be started by group: operations by model, or the scripts that are there.

    `prepare` makes no run and `evaluate` belongs to one, so they are not among them.
    """
    project = current_project(workspace)
    if project is None:
        names = [path.name for path in workspace.directory.glob("*.py") if path.is_file()]
        return {"scripts": sorted(names, key=natural)[:_MOST_SCRIPTS]} if names else {}
    apart = ("prepare", "evaluate")
    groups = {
        model.name: [f"{model.name}:{name}" for name in model.operations if name not in apart]
        for model in project.models.values()
    }
    return {name: operations for name, operations in groups.items() if operations}


def default_op(workspace: Workspace) -> str:
    """Return what the form shows first; empty where nothing can be started."""
    project = current_project(workspace)
    choices = [op for group in read_choices(workspace).values() for op in group]
    if project is not None and project.models:
        try:
            name = f"{project.model(None).name}:train"
        except UsageError:
            name = ""
        if name in choices:
            return name
    return choices[0] if choices else ""


# The form


def read_form(workspace: Workspace, said: Said) -> StartForm:
    """Return the form for what was said; what is wrong stands in it and is not raised.

    Raises ProjectFileError for a bad project file.
    """
    form = StartForm(said)
    project = current_project(workspace)
    form.profiles = _ordered_profiles(said, project)
    form.directory = str(project.dir if project else workspace.directory)
    form.title = said.op
    try:
        target = _target(workspace, project, said.op)
        form.title = target.op
        _describe(form, target)
        base = target.plan(Words(profiles=said.profiles), relaxed=True)
    except GuildliteError as error:
        form.problem = error
        return form
    form.seen = _digest(target, base)
    flags = base.values.flags
    form.controls = [_control(target, base, flags[name], said) for name in flags]
    _decide(form, target)
    return form


def _describe(form: StartForm, target: _Target) -> None:
    if target.operation is None or target.project is None:
        return
    model = target.project.models[target.operation.model]
    form.description = target.operation.description or model.description
    form.can_prepare = model.name if "prepare" in model.operations else None


def _ordered_profiles(said: Said, project: Project | None) -> list[str]:
    """Return the profiles to choose from; those chosen first, in their order, since later wins."""
    known = project.profiles if project else {}
    return list(dict.fromkeys([name for name in said.profiles if name in known] + [*known]))


def _target(workspace: Workspace, project: Project | None, op: str) -> _Target:
    """Return what `op` names. Raises UsageError for what is not there."""
    if not op:
        raise UsageError(
            "there is nothing to start here",
            hint="`gl init` writes a project file from the scripts it finds",
        )
    name, colon, operation = op.partition(":")
    if project is not None and colon:
        found = project.operation(project.model(name or None), operation)
        return _Target(f"{found.model}:{found.name}", project, found, (), project.dir)
    return _Target(op, None, None, _script(workspace.directory, op), workspace.directory)


def _script(directory: Path, op: str) -> tuple[str, ...]:
    """Return the words of a script inside the directory: a page starts no other programs."""
    try:
        words = shlex.split(op)
    except ValueError as error:
        raise UsageError(f"`{op}` is no command line: {str(error).lower()}") from error
    inside = os.path.realpath(directory)
    path = os.path.realpath(os.path.join(inside, words[0] if words else ""))
    if not path.startswith(inside + os.sep) or not os.path.isfile(path):
        raise UsageError(
            f"`{op[:200]}` is neither an operation of a model nor a script in `{directory}`",
            hint="`gl run` starts any other program",
        )
    return tuple(words)


def _control(target: _Target, base: Plan, flag: Flag, said: Said) -> Control:
    secret = is_secret(flag)
    text = said.flags.get(flag.name, "")
    origin = base.values.origins[flag.name]
    value = base.values.values[flag.name]
    control = Control(
        name=flag.name,
        kind=_kind(flag),
        text="" if secret else text,
        base="" if secret else format_value(value),
        from_profile=origin.removeprefix("profile ") if origin.startswith("profile ") else None,
        help=flag.help,
        expects=expectation(flag),
        scale=flag.scale,
        low=format_value(flag.min),
        high=format_value(flag.max),
        step=format_value(flag.step),
        choices=[format_value(each) for each in flag.choices or _both(flag)],
        required=target.required(flag.name),
        found=not flag.declared,
        cleared=flag.name in said.cleared and not text,
    )
    try:
        typed = check_value(flag, text) if text else value
        control.changed = control.cleared or (bool(text) and not _same(flag, typed, value))
    except FlagError as error:
        control.error, control.hint = error.message, error.hint
        control.changed = True
    if control.kind == "path":
        control.place = _place(base, control.shown)
    return control


def _kind(flag: Flag) -> str:
    if is_secret(flag):
        return "secret"
    if flag.choices:
        return "choice"
    # A bool without a value has three states, which a switch cannot show.
    if flag.kind == "bool":
        return "switch" if flag.default is not None else "choice"
    return {"int": "number", "float": "number", "path": "path"}.get(flag.kind or "", "text")


def _both(flag: Flag) -> tuple[Value, ...]:
    return (True, False) if flag.kind == "bool" else ()


def _same(flag: Flag, typed: Value, value: Value) -> bool:
    """Whether saying `typed` adds nothing; what only the source knows is passed when it is said."""
    return flag.declared and type(typed) is type(value) and typed == value


def _place(base: Plan, text: str) -> str | None:
    """Say whether a path is there, relative to where the script runs."""
    if not text:
        return None
    if missing_variables(text, base.variables(None)):
        return "made with the run"
    path = base.directory / os.path.expanduser(expand(text, base.variables(None)))
    try:
        if path.is_dir():
            return "a folder that is there"
        return "a file that is there" if path.exists() else "not there yet"
    except (OSError, ValueError):
        return "not there yet"


def _digest(target: _Target, base: Plan) -> str:
    declared = repr((target.op, base.command, base.style, base.values.flags))
    return hashlib.sha256(declared.encode("utf-8", "replace")).hexdigest()[:16]


# From the form to the command


def _decide(form: StartForm, target: _Target) -> None:
    """Fill in what a start would execute, or what is wrong."""
    if form.wrong:
        return
    said = form.said
    assignments = _assignments(form)
    try:
        free = _free(said.free)
        words = Words(said.profiles, assignments, free)
        _mark_required(form, target, words)
        if form.wrong:
            return
        plan = target.plan(words)
        run_dir = SYMBOLIC_RUN_DIR
        form.executed = _shell(plan.argv(run_dir, hide_secrets=True))
        form.environment = plan.environment(run_dir, hide_secrets=True)
    except GuildliteError as error:
        form.problem = error
        return
    form.plan = plan
    form.command = _gl_command(target, said, assignments, free, plan)
    form.changes = _changes(plan)
    if target.operation is not None:
        try:
            check_requirements(plan, target.operation)
        except GuildliteError as error:
            form.missing = error


def _assignments(form: StartForm) -> list[tuple[str, str]]:
    """Return the `name=value` words that the form stands for; unknown names go last."""
    said = form.said
    words = []
    for control in form.controls:
        if control.kind == "secret" and (text := said.flags.get(control.name)):
            words.append((control.name, text))
        elif control.changed:
            words.append((control.name, "" if control.cleared else control.text))
    known = {control.name for control in form.controls}
    return words + [(name, text) for name, text in said.flags.items() if name not in known]


def _free(text: str) -> list[tuple[str, str]]:
    lines = [line.strip() for line in text.splitlines()]
    return [parse_assignment(line, bare_is_true=True) for line in lines if line]


def _mark_required(form: StartForm, target: _Target, words: Words) -> None:
    """Put the error of a missing value at its field."""
    given = {name for name, text in [*words.assignments, *words.free] if text}
    for control in form.controls:
        has = control.name in given or (control.base and not control.cleared)
        if control.required and not has:
            control.error = f"flag needs a value: `{control.name}`"


def _gl_command(
    target: _Target,
    said: Said,
    assignments: Sequence[tuple[str, str]],
    free: Sequence[tuple[str, str]],
    plan: Plan,
) -> str:
    """Return the line that starts the same in a terminal; secret values are a mark."""
    words = ["gl"]
    if target.operation is None:
        words += ["run", *target.script]
    elif target.operation.name == "train":
        words += ["train", target.operation.model]
    else:
        words += ["run", target.op]
    for profile in said.profiles:
        words += ["--profile", profile]
    flags = plan.values.flags

    def pair(name: str, text: str) -> str:
        return f"{name}={SECRET_MARK if text and is_secret(flags.get(name, name)) else text}"

    words += [pair(name, text) for name, text in assignments]
    for name, text in free:
        words += ["-F", pair(name, text)]
    for option, text in (("--label", said.label), ("--note", said.note)):
        words += [option, text] if text else []
    return shlex.join([*words, "-d"])


def _shell(argv: Sequence[str]) -> str:
    """Return words as a shell takes them, `$RUNDIR` standing as what it is."""
    return " ".join(
        word
        if word.startswith(SYMBOLIC_RUN_DIR) and shlex.quote(word[1:]) == word[1:]
        else shlex.quote(word)
        for word in argv
    )


def _changes(plan: Plan) -> list[Change]:
    values = plan.values
    return [
        Change(name, *_shown_pair(values.flags[name], value), values.origins[name])
        for name, value in values.values.items()
        if name in values.changed()
    ]


def _shown_pair(flag: Flag, value: Value) -> tuple[str, str]:
    if is_secret(flag):
        return "", SECRET_MARK
    return format_value(flag.default), format_value(value)


# From a run


def said_of(workspace: Workspace, run: Run) -> Said:
    """Return what starts a run like `run` again, without label and note; secrets are left out.

    Raises GuildliteError when the run cannot be read or its operation is gone.
    """
    if run.error is not None:
        raise RunNotFound(f"{run.id} cannot be read: {run.error}")
    project = current_project(workspace)
    op = _op_of(run, project)
    recorded = run.manifest.get("profiles")
    known = project.profiles if project else {}
    names = [str(name) for name in recorded] if isinstance(recorded, list) else []
    said = Said(op=op, profiles=tuple(name for name in names if name in known))
    target = _target(workspace, project, op)
    base = target.plan(Words(profiles=said.profiles), relaxed=True).values
    changed = run.manifest.get("changed")
    were_set = [str(name) for name in changed] if isinstance(changed, list) else []
    flags, free = {}, []
    for name, text in run.flags.items():
        flag = base.flags.get(name)
        if is_secret(flag or name) or text == SECRET_MARK:
            continue
        if flag is None or not text:
            free += [f"{name}={text}"] if name in were_set else []
        elif text != base.recorded().get(name) if flag.declared else name in were_set:
            flags[name] = text
    cleared = [
        name
        for name in were_set
        if name not in run.flags and name in base.flags and base.values[name] is not None
    ]
    return said._replace(flags=flags, free="\n".join(free), cleared=frozenset(cleared))


def _op_of(run: Run, project: Project | None) -> str:
    model = project.models.get(run.model) if project else None
    if model is not None and run.operation in model.operations:
        return f"{run.model}:{run.operation}"
    written = run.manifest.get("run")
    return written if isinstance(written, str) and run.operation == "run" else run.model
