"""Starting operations from Python: what `gl train -d` and `gl run -d` do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guildlite.api.handle import Run
from guildlite.api.place import AnyPath, current_project, working_directory
from guildlite.defaults import RUNS_DIR
from guildlite.errors import FlagError, UsageError
from guildlite.flags import Value, format_value, shown, sweep_refusal
from guildlite.project import Operation, Project
from guildlite.runs import RunStore

if TYPE_CHECKING:
    from guildlite.execute.prepare import Plan, Words


def launch(
    model: str | None = None,
    /,
    *,
    profile: str | Sequence[str] = (),
    label: str = "",
    note: str = "",
    flags: Mapping[str, object] | None = None,
    project: AnyPath | None = None,
    **more_flags: object,
) -> Run:
    """Start an operation and return its run once the script was started; it goes on by itself.

    `model` is `expert` (its `train`), `expert:export` (another operation), or a script as in
    `train.py`; None is the project's only or default model. Flags are keywords; one that is no
    Python name, or is called like a keyword here, goes into `flags`. Values are checked as on the
    command line; None takes a default away. `profile` is one name or several, later ones win.
    `project` is a project's directory or file, without it that of the working directory.

    Raises what `gl` would print: FlagError for a flag, UsageError for other words, CommandNotFound
    for a script that is not there, LaunchError when gl fails before the script starts. A script
    that fails is no error: look at the run's `status`.
    """
    from guildlite.execute.executor import LocalExecutor
    from guildlite.execute.prepare import Words, create_run, launch_environment

    profiles = [profile] if isinstance(profile, str) else list(profile)
    words = Words(profiles, assignments({**(flags or {}), **more_flags}))
    found = current_project(project)
    plan = _plan(found, model, words)
    root = found.runs_root if found is not None else working_directory() / RUNS_DIR
    made = create_run(plan, RunStore(root), label=label, note=note)
    environ = _without_notebook(launch_environment(plan, made, ""))
    job = LocalExecutor().submit(made, made, plan.argv(str(made.path)), environ)
    try:
        job.wait_started()
    finally:
        job.close()
    return Run(made.path)


def _plan(project: Project | None, model: str | None, words: Words) -> Plan:
    from guildlite.execute.prepare import check_requirements, plan_operation, plan_script

    if model is not None and _is_script(project, model):
        return plan_script([model], working_directory(), words, os.environ)
    if project is None:
        raise UsageError(
            f"there is no project.yml in `{working_directory()}` or above it",
            hint='`gl init` writes one; a script needs none: `gl.launch("train.py")`',
        )
    operation = find_operation(project, model)
    plan = plan_operation(project, operation, words, os.environ)
    check_requirements(plan, operation)
    return plan


def find_operation(project: Project, model: str | None) -> Operation:
    """Return the operation that `expert` or `expert:export` names. Raises UsageError."""
    name, _, operation = (model or "").partition(":")
    return project.operation(project.model(name or None), operation or "train")


def _without_notebook(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the kernel's matplotlib backend, which draws into its cells.

    A script has no cells, and its interpreter may not have that backend.
    """
    backend = environ.get("MPLBACKEND", "")
    drop = backend.startswith("module://") and backend == os.environ.get("MPLBACKEND")
    return {name: value for name, value in environ.items() if not drop or name != "MPLBACKEND"}


def _is_script(project: Project | None, model: str) -> bool:
    if project is not None and model.partition(":")[0] in project.models:
        return False
    return model.endswith(".py") or Path(model).is_file()


def assignments(flags: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return flags as `name=value` words would give them. Raises FlagError for what is no value."""
    return [(str(name), _text(str(name), value)) for name, value in flags.items()]


def _text(name: str, value: object) -> str:
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return format_value(_plain(value))
    if isinstance(value, (list, tuple, range, set)):
        raise sweep_refusal(name)
    # Numbers of NumPy, PyTorch and the like.
    item = getattr(value, "item", None)
    plain = item() if callable(item) and getattr(value, "shape", None) == () else None
    if isinstance(plain, (bool, int, float, str)):
        return format_value(plain)
    raise FlagError(
        f"flag {shown(name)} cannot hold a value of type {shown(type(value).__name__)}",
        hint="flags are bool, int, float, str, a path or None",
    )


def _plain(value: Value) -> Value:
    # Subclasses, such as np.float64 or an enum of str, print themselves in their own way.
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value) if kind is not str else str.__str__(value)
    return value
