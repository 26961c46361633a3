"""`gl why`: what the files of a run say about how it ended, and nothing they do not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from guildlite.cli.context import Context
from guildlite.cli.output import aligned, coloured, coloured_status, for_terminal
from guildlite.cli.words import command
from guildlite.series import STDERR
from guildlite.wording import format_count, format_duration, format_moment, visible

if TYPE_CHECKING:
    from guildlite.explain import Explanation, Since
    from guildlite.explain.causes import Cause
    from guildlite.explain.traces import Trace
    from guildlite.runs.difference import Change
    from guildlite.runs.reader import StoredLine
    from guildlite.runs.sourcediff import FileDiff

#: Changes of one kind that are named; `gl diff` has all.
_MOST_CHANGES = 6


@command("why")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=10, metavar="N",
              show_default=True, help="Last lines of its output")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object")
@click.pass_obj
def why(context: Context, run: str | None, lines: int, as_json: bool) -> None:
    """Say why a run ended the way it did.

    Without RUN the latest. Exit status or signal, who stopped it, whether memory, GPU memory or
    disk ran out and what shows it, the traceback, the last lines, use of memory until the end,
    what has changed since the last good run of the same operation, and what to try next.

    \b
    Examples:
      gl why
      gl why 3 --lines 50
    """
    from guildlite.execute.catchup import settle
    from guildlite.explain import explain

    found = context.get_run(run)
    settle([found])
    found = found.fresh()
    explanation = explain(found, context.store().list(), lines=lines)
    if as_json:
        context.write_json(_as_object(explanation))
        return
    for line in _page(explanation):
        context.write(line)


def _page(found: Explanation) -> Iterator[str]:
    took = found.run.duration_s
    after = "" if took is None else f" {'after' if found.run.status.ended else 'for'} "
    status = coloured_status(found.status) + (after + format_duration(took) if after else "")
    moment = format_moment(found.run.stopped_at)
    head = f"{coloured(for_terminal(found.run.id), 'bold')}  {status}"
    yield f"{head}, {moment}" if moment else head
    yield from _causes(found)
    yield from _evidence(found)
    if found.later is not None:
        later = found.later
        yield ""
        name = for_terminal(later.record.paths.name)
        ending = for_terminal(later.record.ending)
        end = f"{later.status}{f', {ending}' if ending else ''}"
        yield f"{coloured(f'later operation {name} {end}', 'bold')}"
        yield from _causes(later)
        yield from _evidence(later)
    if found.notices:
        yield from _title("Notices of gl")
        yield from (f"  {for_terminal(line)}" for line in found.notices)
    if found.since is not None:
        yield from _since(found.since)
    yield from _next(found)


def _title(text: str) -> tuple[str, str]:
    return "", coloured(text, "bold")


def _causes(found: Explanation) -> Iterator[str]:
    record = found.record
    for cause in found.causes:
        guess = not cause.sure and cause.kind not in ("imported", "lost")
        likely = "likely: " if guess and "likely" not in cause.text else ""
        colour = "red" if found.status in ("failed", "lost", "unreadable") else None
        yield f"  {coloured(likely + for_terminal(cause.text), colour)}"
        yield from (f"    {for_terminal(line)}" for line in cause.evidence)
    if record.status_note:
        yield f"  {for_terminal(record.status_note)}"
    if found.status == "failed" and not any(_says_ending(each, found) for each in found.causes):
        yield f"  {for_terminal(record.ending)}"


def _says_ending(cause: Cause, found: Explanation) -> bool:
    number = found.record.exit_signal
    return found.record.ending in cause.text or (number == 9 and "SIGKILL" in cause.text)


def _evidence(found: Explanation) -> Iterator[str]:
    """Yield traceback, last lines and what was measured, of an operation that is no good news."""
    if found.status in ("completed", "unreadable", "pending"):
        return
    if found.trace is not None:
        yield from _traceback(found.trace)
    if found.lines:
        yield from _title("Last lines")
        yield from _lines(found.lines)
    elif found.silent:
        yield "  it printed nothing"
    if found.measured.measures:
        yield from _title("Until the end" if found.record.status.ended else "Now")
        yield from aligned((each.name, each.text()) for each in found.measured.measures)


def _traceback(trace: Trace) -> Iterator[str]:
    yield from _title("Traceback")
    for error in trace.chain:
        yield f"  first {for_terminal(error)}"
    if trace.chain:
        yield "  then"
    for line in trace.lines:
        colour = "red" if line.strip() == trace.error else None
        yield f"  {coloured(visible(line, keep=chr(9)), colour)}"
    if trace.left_out:
        yield coloured(
            f"  {format_count(trace.left_out, 'frame')} left out; `gl logs` has all", "dim"
        )


def _lines(lines: Sequence[StoredLine]) -> Iterator[str]:
    mixed = any(line.stream == STDERR for line in lines)
    for line in lines:
        moment = None if line.time is None else line.time / 1000
        clock = format_moment(moment, "%H:%M:%S") if moment is not None else ""
        mark = " err" if line.stream == STDERR else "    " if mixed else ""
        text = visible(line.text, keep="\t")
        yield f"  {coloured(f'{clock}{mark}', 'dim')}  {text}"


# Since the last good run --------------------------------------------------------------------------


def _since(since: Since) -> Iterator[str]:
    good, found = since.run, since.difference
    yield from _title(f"Since the last good run, {for_terminal(good.id)}")
    if found.trouble:
        yield from (f"  {for_terminal(each)}" for each in found.trouble)
    if not found.inputs_differ():
        yield "  nothing has changed that gl records: flags, source, packages, git, environment"
        if found.without_source:
            yield "  but source was not kept of both"
        return
    parts = {
        "flags": _named(found.flags),
        "source": _files(found.sources),
        "packages": _named(found.packages),
        "git": _named(found.git),
        "environment": _named(found.environment),
        "machine": _named(found.machine),
    }
    if found.without_source:
        parts["source"] = "not compared: it was not kept of both"
    yield from aligned((name, text) for name, text in parts.items() if text)


def _named(changes: Sequence[Change]) -> str:
    shown = [
        f"{for_terminal(each.name)} {_side(each.one)} -> {_side(each.other)}"
        for each in changes[:_MOST_CHANGES]
    ]
    return _listed(shown, len(changes))


def _side(text: str | None) -> str:
    if text is None:
        return "(none)"
    shown = for_terminal(text)
    return f"{shown[:37]}..." if len(shown) > 40 else shown or "''"


def _files(files: Sequence[FileDiff]) -> str:
    shown = []
    for each in files[:_MOST_CHANGES]:
        counts = "" if each.why else f" +{each.added} -{each.removed}"
        kind = "" if each.kind == "changed" else f" {each.kind}"
        shown.append(f"{for_terminal(each.path)}{kind}{counts}")
    return _listed(shown, len(files))


def _listed(shown: Sequence[str], count: int) -> str:
    more = f", and {count - len(shown):,} more" if count > len(shown) else ""
    return ", ".join(shown) + more


# Next ---------------------------------------------------------------------------------------------


def _next(found: Explanation) -> Iterator[str]:
    hints = [*found.advice(), *(found.later.advice() if found.later else ())]
    lines = [for_terminal(text) for text in dict.fromkeys(hints)]
    if found.since is not None and found.since.difference.inputs_differ():
        good, run = found.since.run.id, found.run.id
        lines.append(f"`gl diff {for_terminal(good)} {for_terminal(run)}` shows what has changed")
    elif found.since is not None and found.status in ("failed", "lost"):
        lines.append("the same completed before: look at data, machine and chance")
    told = found.trace is not None or found.silent
    if found.bad and not told and found.status != "unreadable":
        lines.append(f"`gl logs {for_terminal(found.run.id)}` has all it printed")
    if lines:
        yield from _title("Next")
        yield from (f"  {line}" for line in dict.fromkeys(lines))


# JSON ---------------------------------------------------------------------------------------------


def _as_object(found: Explanation) -> dict[str, Any]:
    record, since = found.record, found.since
    return {
        "id": found.run.id,
        "uid": found.run.uid,
        "operation": record.paths.name or record.operation,
        "status": found.status,
        "exit_code": record.exit_code,
        "exit_signal": record.exit_signal,
        "duration": record.duration_s,
        "causes": [
            {
                "kind": each.kind,
                "text": each.text,
                "sure": each.sure,
                "evidence": list(each.evidence),
                "advice": list(each.advice),
            }
            for each in found.causes
        ],
        "traceback": None if found.trace is None else _trace_object(found.trace),
        "lines": [
            {"time": each.time, "stream": each.stream, "text": each.text} for each in found.lines
        ],
        "measured": [
            {**each._asdict(), "unit": "share" if each.share else "bytes"}
            for each in found.measured.measures
        ],
        "notices": list(found.notices),
        "last_good": None if since is None else _since_object(since),
        "later": None if found.later is None else _as_object(found.later),
    }


def _trace_object(trace: Trace) -> dict[str, Any]:
    return {
        "error": trace.error,
        "where": trace.where or None,
        "chain": list(trace.chain),
        "lines": list(trace.lines),
        "frames_left_out": trace.left_out,
    }


def _since_object(since: Since) -> dict[str, Any]:
    found = since.difference
    names = ("flags", "packages", "git", "environment", "machine")
    changed = {
        name: [{"name": each.name, "before": each.one, "now": each.other}
               for each in getattr(found, name)]
        for name in names
    }  # fmt: skip
    source = [
        {"path": each.path, "change": each.kind, "added": each.added, "removed": each.removed}
        for each in found.sources
    ]
    return {
        "id": since.run.id,
        "uid": since.run.uid,
        "changed": {**changed, "source": source},
        "without_source": list(found.without_source),
    }
