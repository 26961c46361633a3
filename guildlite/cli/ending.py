"""How an operation ended, as the command that followed it says in the end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from guildlite.cli.context import Context
from guildlite.cli.output import coloured_status, relative
from guildlite.errors import GuildliteError
from guildlite.runs.logs import read_tail
from guildlite.wording import format_duration, format_number

if TYPE_CHECKING:
    from guildlite.runs.run import OperationRecord, Run

_INDENT = " " * 9


def print_end(context: Context, run: Run, later: OperationRecord | None = None) -> None:
    """Say how a run, or a later operation on it, ended, why, with what, and what to do next."""
    ended: OperationRecord = later or run
    status = str(ended.status)
    text = coloured_status(status, sys.stderr)
    what = f"{later.operation} of {run.id}" if later else run.id
    duration = format_duration(ended.duration_s)
    # Not through `say`, which would escape the colour.
    print(f"{text}  {what}{f'  {duration}' if duration else ''}", file=sys.stderr)
    for line in (*_reasons(run, ended), *_metric_lines(context, run, later)):
        context.say(line)
    context.say(_next_line(context, run, ended))


#: Causes that the last words of a script do not say, or not plainly.
_TOLD = ("memory", "gpu memory", "disk")


def _reasons(run: Run, ended: OperationRecord) -> list[str]:
    lines = []
    gone = ended.paths.missing()
    if gone is not None:
        # How the script ended was to be written there.
        lines.append(f"{_INDENT}{relative(gone)} was deleted while it ran")
    if ended.exit_code != 0 and ended.ending:
        lines.append(_INDENT + ended.ending)
        if gone is None and str(ended.status) == "failed":
            from guildlite.explain import explain_operation

            causes = explain_operation(run, ended, lines=0).causes
            lines += [
                f"{_INDENT}{'' if each.sure or 'likely' in each.text else 'likely: '}{each.text}"
                for each in causes
                if each.kind in _TOLD
            ]
    if ended.exit_code and b"EOFError" in read_tail(ended.paths.stderr, 4096):
        lines.append("hint: the script read from its input; `--tty` gives it the terminal")
    return lines


def _metric_lines(context: Context, run: Run, later: OperationRecord | None) -> list[str]:
    """Return the project's metrics that the operation brought, the primary one first."""
    project = context.readable_project()
    if project is None or not project.metrics:
        return []
    metrics = sorted(project.metrics.values(), key=lambda metric: not metric.primary)
    try:
        with run.read() as reader:
            known = {summary.key: summary for summary in reader.summaries()}
    except GuildliteError:
        return []
    since_ms = (later.started_at or 0) * 1000 if later else 0
    return [
        f"{_INDENT}{metric.key} {format_number(known[metric.key].last, metric.format)}"
        for metric in metrics
        if metric.key in known and (known[metric.key].last_time or since_ms) >= since_ms
    ]


def _next_line(context: Context, run: Run, ended: OperationRecord) -> str:
    status = str(ended.status)
    if not run.path.exists():
        return "next     gl runs"
    if status in ("failed", "lost"):
        return "next     gl why"
    project = context.readable_project()
    model = project.models.get(run.model) if project is not None else None
    can_evaluate = model is not None and "evaluate" in model.operations
    if status == "completed" and ended.operation == "train" and can_evaluate:
        return "next     gl evaluate --latest-run"
    return f"next     gl show {run.id}"
