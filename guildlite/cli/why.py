"""`gl why`: what the files of a run say about how it ended, and nothing they do not say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guildlite.cli.context import Context
from guildlite.cli.output import coloured, coloured_status, for_terminal, status_of
from guildlite.cli.words import command
from guildlite.errors import RunUnreadable
from guildlite.platform import signal_name
from guildlite.runs.logs import read_notices, read_tail
from guildlite.wording import format_duration, format_moment, format_size

if TYPE_CHECKING:
    from guildlite.runs import Run
    from guildlite.runs.paths import OperationPaths

#: How much of the end of a log is looked at; a traceback of deep recursion is shorter.
_TAIL_BYTES = 64 * 1024
_MOST_TRACEBACK_LINES = 30
_LAST_LINES = 10
#: With less memory free than this the kernel is likely to have chosen a victim.
_FULL = 0.95

_SIGNALS = {
    "SIGKILL": "nothing can catch it: `kill -9`, the out-of-memory killer or a batch system",
    "SIGSEGV": "the script, or a library in it, touched memory that is not its own",
    "SIGBUS": "often a full disk or /dev/shm behind shared memory",
    "SIGABRT": "a library in the script gave up; its words are usually on stderr",
    "SIGILL": "a library was built for another processor",
    "SIGFPE": "a library divided by zero",
    "SIGTERM": "somebody, or a batch system, asked it to end",
    "SIGINT": "somebody pressed Ctrl-C",
    "SIGHUP": "its terminal was closed",
    "SIGPIPE": "it wrote to something that nobody read any more",
    "SIGXCPU": "it used up its CPU time",
}
#: Words on stderr → what to do about it.
_HINTS = {
    "EOFError": "stdin is empty under gl; for input() and breakpoint() use `gl train --tty`",
    "bdb.BdbQuit": "stdin is empty under gl; for input() and breakpoint() use `gl train --tty`",
    "ModuleNotFoundError": "`gl check` says which Python runs the scripts and what it has",
    "No space left on device": "the disk is full; `gl purge` empties the trash",
    "CUDA out of memory": "the GPU's memory was full; a smaller batch needs less",
    "OutOfMemoryError": "the GPU's memory was full; a smaller batch needs less",
    "Permission denied": "a file or directory does not belong to this user",
}


@command("why")
@click.argument("run", required=False, metavar="[RUN]")
@click.pass_obj
def why(context: Context, run: str | None) -> None:
    """Say why a run ended the way it did.

    Without RUN the latest. Exit status or signal, the end of the traceback, what gl had trouble
    with, and what to try next.

    \b
    Examples:
      gl why
      gl why 3
    """
    from guildlite.execute.catchup import settle

    found = context.get_run(run)
    settle([found])
    for line in explain(found):
        context.write(line)


def explain(run: Run) -> Iterator[str]:
    """Yield what the files of `run` say about its end, as lines for people."""
    status = status_of(run)
    took = f" after {format_duration(run.duration_s)}" if run.duration_s is not None else ""
    shown = coloured_status(status)
    yield f"{coloured(for_terminal(run.id), 'bold')}  {shown}{took}"
    yield from (f"  {line}" for line in _cause(run, status))
    evidence: list[str] = []
    if status in ("failed", "stopped", "lost"):
        evidence += _evidence(run.paths)
    failed = [each for each in run.later_operations() if each.status.value == "failed"]
    for each in failed[-1:]:
        evidence.append(f"later operation {each.name} failed, {for_terminal(each.ending)}")
        evidence += _evidence(each.paths)
    notices = read_notices(run.paths, _LAST_LINES)
    if notices:
        evidence += ["gl's own notices:", *(f"  {for_terminal(line)}" for line in notices)]
    yield from evidence
    if failed or status in ("failed", "lost"):
        yield from _hints("\n".join(evidence))


def _hints(evidence: str) -> list[str]:
    """Return what to do about the words in the evidence, each hint once."""
    hints = [f"hint: {hint}" for word, hint in _HINTS.items() if word in evidence]
    return list(dict.fromkeys(hints))


def _cause(run: Run, status: str) -> Iterator[str]:
    if run.error:
        yield for_terminal(run.error)
    if run.status_note:
        yield for_terminal(run.status_note)
    name = signal_name(run.exit_signal) if run.exit_signal else ""
    if run.ending:
        meaning = f": {_SIGNALS[name]}" if name in _SIGNALS else ""
        yield for_terminal(run.ending) + meaning
    if name == "SIGKILL":
        yield from _memory(run)
    if run.exit_code in (126, 127):
        yield "the command could not be executed" if run.exit_code == 126 else "no such command"
    if status == "stopped":
        yield "a stop was asked for (`gl stop`, Ctrl-C or the viewer)"
    if status == "lost":
        yield from _lost(run)
    if status == "running":
        yield "it has not ended; `gl logs -f` follows it"
    if status == "completed":
        yield "the script ended by itself, without an error"


def _lost(run: Run) -> Iterator[str]:
    yield "script and supervisor are gone and neither left an exit status: killed together,"
    yield "or the machine went down; what was written before is in the run"
    seen = _last_sign(run)
    if seen is not None:
        yield f"last sign of life {format_moment(seen)}"


def _last_sign(run: Run) -> float | None:
    """Return when the run last printed or was last measured, in seconds since the epoch."""
    moments = []
    for log in (run.paths.stdout, run.paths.stderr):
        try:
            moments.append(os.stat(log).st_mtime)
        except OSError:
            continue
    try:
        with run.read() as reader:
            times = [each.last_time for each in reader.summaries()]
        moments += [moment / 1000 for moment in times if moment is not None]
    except RunUnreadable:
        pass
    return max(moments, default=None)


def _memory(run: Run) -> Iterator[str]:
    """Yield what was measured of memory; a guess about the killer is made from that alone."""
    try:
        with run.read() as reader:
            used = reader.summary("sys/mem/util")
            rss = reader.summary("op/mem/rss")
    except RunUnreadable:
        return
    if rss is not None and rss.last is not None:
        yield f"the script last used {format_size(rss.last)} of memory"
    if used is not None and used.last is not None:
        percent = f"{used.last:.0%} of the machine's memory was in use at the last look"
        yield f"{percent}, so likely the out-of-memory killer" if used.last > _FULL else percent


def _evidence(paths: OperationPaths) -> list[str]:
    """Return the end of the traceback, or the last lines of what the script printed."""
    stderr = _tail(paths.stderr)
    trace = last_traceback(stderr)
    if trace:
        cut = ["  ..."] if len(trace) > _MOST_TRACEBACK_LINES else []
        shown = trace[-_MOST_TRACEBACK_LINES:]
        return ["traceback:", *cut, *(f"  {for_terminal(line)}" for line in shown)]
    for name, lines in (("stderr", stderr), ("stdout", _tail(paths.stdout))):
        last = [line for line in lines if line.strip()][-_LAST_LINES:]
        if last:
            return [f"last lines of {name}:", *(f"  {for_terminal(line)}" for line in last)]
    return ["  it printed nothing"]


def last_traceback(lines: list[str]) -> list[str]:
    """Return the last Python traceback in `lines` with the message that follows it; maybe empty."""
    starts = [i for i, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    if not starts:
        return []
    trace = [lines[starts[-1]]]
    for line in lines[starts[-1] + 1 :]:
        trace.append(line)
        if line and not line[0].isspace():
            break
    return trace


def _tail(path: Path) -> list[str]:
    """Return the lines at the end of a log; of a line redrawn with `\\r` the last state."""
    text = read_tail(path, _TAIL_BYTES).decode("utf-8", "replace")
    return [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
