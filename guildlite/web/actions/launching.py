"""Processes from the viewer: start a run, evaluate one, stop one.

What runs is a supervisor executed afresh, as with `gl train -d`; it outlives the viewer.
"""

from __future__ import annotations

import signal
import threading
import time
from functools import partial

from guildlite.errors import GuildliteError, UsageError
from guildlite.execute.executor import LocalExecutor
from guildlite.execute.prepare import (
    Plan,
    Words,
    create_operation,
    create_run,
    launch_environment,
    plan_evaluation,
)
from guildlite.execute.stop import GRACE_S, Processes, request_stop, stop
from guildlite.http import RequestError
from guildlite.platform import ProcessIdentity
from guildlite.runs import Run
from guildlite.runs.run import OperationRecord
from guildlite.web.actions.form import StartForm, current_project, launch_environ
from guildlite.web.state import TOKEN_VARIABLE
from guildlite.web.workspace import Workspace

#: Each stronger than the one before; what a second and third Ctrl-C send.
STRENGTHS = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "kill": 9}
#: How long an answer waits for a script that was told to end; most do at once.
_PATIENCE_S = 0.5
_LOOK_S = 0.02
#: What stop.json says of who asked.
_REASON = "the viewer"


def start_run(workspace: Workspace, form: StartForm) -> Run:
    """Start what a form says, in a new run; returns once its script runs or could not be started.

    Raises RequestError with the form's first fault, LaunchError when gl itself fails.
    """
    fault = form.fault()
    if fault is not None or form.plan is None:
        error, name = fault or (UsageError("this form cannot be started"), None)
        raise RequestError(error.message, status=422, hint=error.hint, field=name)
    run = create_run(form.plan, workspace.store, label=form.said.label, note=form.said.note)
    _launch(form.plan, run, run)
    return run


def evaluate_run(workspace: Workspace, run: Run) -> OperationRecord:
    """Evaluate a run with the flags it recorded; returns the new operation on it.

    Raises GuildliteError where that is not possible.
    """
    project = current_project(workspace)
    if project is None:
        raise UsageError("evaluating needs a project file", hint="`gl init` writes one")
    _refuse_unreadable(run)
    plan = plan_evaluation(project, run, Words(), launch_environ())
    record = create_operation(plan, run)
    _launch(plan, run, record)
    return record


def can_evaluate(workspace: Workspace, run: Run) -> bool:
    """Say whether the run's model has an `evaluate` operation."""
    model = workspace.project.models.get(run.model) if workspace.project else None
    return model is not None and "evaluate" in model.operations


def _launch(plan: Plan, run: Run, record: OperationRecord) -> None:
    name = "" if record is run else record.paths.name
    environ = launch_environment(plan, run, name)
    environ.pop(TOKEN_VARIABLE, None)
    job = LocalExecutor().submit(run, record, plan.argv(str(run.path)), environ)
    try:
        job.wait_started()
    finally:
        job.close()


def next_strength(run: Run) -> str:
    """Return how a run would be stopped next: politely at first, then by SIGTERM."""
    asked = any(one.paths.stop.exists() for one in busy_operations(run))
    return "terminate" if asked else "interrupt"


def busy_operations(run: Run) -> list[OperationRecord]:
    """Return the run's own and later operations that have not ended."""
    return [one for one in (run, *run.later_operations()) if not one.status.ended]


def stop_run(run: Run, strength: str = "") -> None:
    """Ask a run to end: SIGINT, and SIGKILL to what is left after the grace.

    strength: `interrupt`, `terminate` or `kill`; without one, `interrupt` and when it was asked
        before `terminate`.
    Raises GuildliteError for a run that is not running or runs elsewhere.
    """
    _refuse_unreadable(run)
    if strength and strength not in STRENGTHS:
        raise RequestError(
            "there is no such way to stop",
            status=422,
            field="strength",
            expected=", ".join(STRENGTHS),
        )
    busy = busy_operations(run)
    if not busy:
        raise RequestError(f"{run.id} is not running: it is {run.status}", status=409)
    for one in busy:
        if not _local(one):
            raise RequestError(f"{run.id} runs elsewhere: {one.status_note}", status=409)
    number = STRENGTHS[strength or next_strength(run)]
    for one in busy:
        _stop_operation(one, run.uid, int(number))
    deadline = time.monotonic() + _PATIENCE_S
    while run.fresh().busy() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)


def _stop_operation(record: OperationRecord, uid: str, number: int) -> None:
    processes = Processes(record, uid)
    if processes.supervised():
        request_stop(record, processes, number, reason=_REASON)
        return
    # Nobody else would enforce the grace, and no browser waits that long.
    ended = partial(_has_ended, record)
    settings = {"number": number, "grace_s": GRACE_S, "reason": _REASON, "ended": ended}
    threading.Thread(target=stop, args=(record, uid), kwargs=settings, daemon=True).start()


def _has_ended(record: OperationRecord) -> bool:
    return record.fresh().status.ended


def _local(record: OperationRecord) -> bool:
    process = ProcessIdentity.from_json((record.started_fact() or {}).get("training"))
    return process is None or process.reachable()


def _refuse_unreadable(run: Run) -> None:
    if run.error is not None:
        raise GuildliteError(f"{run.id} cannot be read: {run.error}")
