"""All that is known of one operation's end, gathered from its files, run.db and runs before it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import RunUnreadable
from guildlite.explain.causes import Cause, Clues, find_causes
from guildlite.explain.measured import Measured, read_measured
from guildlite.explain.traces import Trace, bare_line, find_trace
from guildlite.runs.difference import RunDifference, compare_two
from guildlite.runs.facts import read_fact
from guildlite.runs.logs import read_notices, read_tail
from guildlite.runs.reader import StoredLine
from guildlite.runs.run import LaterOperation, OperationRecord, Run, Status
from guildlite.series import STDERR, STDOUT, Summary
from guildlite.wording import without_sequences

#: How much of the end of a log is looked at; a traceback of deep recursion is shorter.
_TAIL_BYTES = 128 * 1024
#: Lines that are shown of the end of the output, and notices of gl.
LAST_LINES = 10
#: Lines of the end in which causes are looked for: further up, an error was survived.
_TELLING_LINES = 60
#: Runs that are looked at for the last good one, newest first.
_MOST_LOOKED_AT = 2000


class Since(NamedTuple):
    """What has changed since the last run of the same operation that completed."""

    run: Run
    difference: RunDifference


class Explanation(NamedTuple):
    """Why an operation on a run ended as it did. `causes` has the most telling first.

    `later` explains the last later operation on the run if that failed. `since` is None where no
    run of the same operation completed before.
    """

    run: Run
    record: OperationRecord
    status: str
    causes: tuple[Cause, ...]
    trace: Trace | None
    lines: tuple[StoredLine, ...]
    measured: Measured
    notices: tuple[str, ...]
    since: Since | None
    later: Explanation | None
    #: Whether it printed nothing at all; `lines` may be empty because none were asked for.
    silent: bool = False

    @property
    def bad(self) -> bool:
        """Whether something went wrong, on the run itself or a later operation on it."""
        return self.status in ("failed", "lost", "unreadable") or self.later is not None

    def advice(self) -> list[str]:
        """Return what to do about the causes, each once."""
        return list(dict.fromkeys(text for cause in self.causes for text in cause.advice))


def explain(run: Run, runs: Iterable[Run] = (), *, lines: int = LAST_LINES) -> Explanation:
    """Return what is known of a run's end. `runs` are those it may be compared with, newest first.

    Of the output the last `lines` are taken. Never raises: what cannot be read is left out.
    """
    if run.error is not None:
        return _unreadable(run)
    found = explain_operation(run, run, lines=lines)
    failed = [each for each in run.later_operations() if each.status in _BAD]
    since = None
    if run.status in _BAD:
        good = last_good(run, runs)
        since = None if good is None else Since(good, compare_two(good, run, curves=False))
    later = explain_operation(run, failed[-1], lines=lines) if failed else None
    return found._replace(since=since, later=later)


_BAD = (Status.FAILED, Status.LOST)


def last_good(run: Run, runs: Iterable[Run]) -> Run | None:
    """Return the newest run before `run` of the same operation that completed, or None.

    `runs` are all, newest first; where `run` is not among them, names say which are before it.
    """
    found = list(runs)
    place = next((at for at, other in enumerate(found) if other.id == run.id), None)
    before = (
        [other for other in found if other.id < run.id] if place is None else found[place + 1 :]
    )
    # The model is in the name, which spares reading the facts of all others.
    ending = _model_ending(run.id)
    alike = [other for other in before if _model_ending(other.id) == ending]
    for other in alike[:_MOST_LOOKED_AT]:
        same = (other.model, other.operation) == (run.model, run.operation)
        if same and other.error is None and other.status is Status.COMPLETED:
            return other
    return None


def _model_ending(name: str) -> str:
    """Return what follows the moment in a run's name, without the number of two at once."""
    return re.sub(r"-\d+$", "", name.partition("-")[2])


def _unreadable(run: Run) -> Explanation:
    cause = Cause("unreadable", run.error or "", advice=(f"its files are in {run.path}",))
    notices = tuple(read_notices(run.paths, LAST_LINES))
    nothing = Measured()
    return Explanation(run, run, "unreadable", (cause,), None, (), nothing, notices, None, None)


def explain_operation(run: Run, record: OperationRecord, *, lines: int = LAST_LINES) -> Explanation:
    """Return what is known of the end of one operation on a run, without a look at other runs."""
    attrs: Mapping[str, str] = {}
    known: Mapping[str, Summary] = {}
    held: Sequence[StoredLine] = ()
    try:
        with run.read() as reader:
            attrs = reader.attrs()
            known = {each.key: each for each in reader.summaries()}
            held = reader.last_output(lines + _TELLING_LINES, record.paths.name)
    except RunUnreadable:
        pass  # the logs speak for themselves
    stderr, stdout = (_tail(path) for path in (record.paths.stderr, record.paths.stdout))
    trace = None
    if record.status in _BAD or record.status is Status.STOPPED:
        trace = _from_here(find_trace(stderr) or find_trace(stdout), record)
    notices = tuple(read_notices(record.paths, LAST_LINES))
    if isinstance(record, LaterOperation):
        notices = (*notices, *read_notices(run.paths, LAST_LINES))
    measured = read_measured(run, record, attrs, known)
    kernel = (read_fact(record.paths.kernel) or {}).get("lines")
    causes = find_causes(
        Clues(
            record,
            read_fact(record.paths.stop) or {},
            trace,
            [*stdout[-_TELLING_LINES:], *stderr[-_TELLING_LINES:]],
            notices,
            [str(line) for line in kernel] if isinstance(kernel, list) else [],
            measured,
            _last_sign(run, record, known) if record.status is Status.LOST else None,
        )
    )
    silent = not held and not any(line.strip() for line in (*stdout, *stderr))
    return Explanation(
        run, record, record.status.value, tuple(causes), trace,
        tuple(_last_lines(held or _logged(stdout, stderr), trace, lines)), measured, notices,
        None, None, silent,
    )  # fmt: skip


def _from_here(trace: Trace | None, record: OperationRecord) -> Trace | None:
    """Return a traceback with places in the project named as from there."""
    directory = str(record.manifest.get("directory") or "")
    if trace is None or not directory:
        return trace
    chain = tuple(each.replace(f"({directory}/", "(") for each in trace.chain)
    return trace._replace(where=trace.where.removeprefix(f"{directory}/"), chain=chain)


def _tail(path: Path) -> list[str]:
    """Return the lines at the end of a log; of a line redrawn with `\\r` the last state."""
    text = read_tail(path, _TAIL_BYTES).decode("utf-8", "replace")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return [without_sequences(line) for line in lines]


def _logged(stdout: Sequence[str], stderr: Sequence[str]) -> list[StoredLine]:
    """Return lines of the logs where run.db has none: nobody knows which came first."""
    pairs = [(STDOUT, text) for text in stdout] + [(STDERR, text) for text in stderr]
    return [StoredLine(0, None, stream, text, "") for stream, text in pairs]


def _last_lines(
    lines: Sequence[StoredLine], trace: Trace | None, most: int
) -> Sequence[StoredLine]:
    """Return the last lines that are not empty and not of the traceback, which is shown itself."""
    held = [line._replace(text=without_sequences(line.text)) for line in lines]
    shown = [line for line in held if line.text.strip()]
    if trace is not None:
        of_trace = _places(shown, trace.printed)
        shown = [line for place, line in enumerate(shown) if place not in of_trace]
    return shown[-most:] if most else []


def _places(lines: Sequence[StoredLine], printed: Sequence[str]) -> set[int]:
    """Return where in `lines` the traceback stands; other streams may have lines in between."""
    for stream in (STDERR, STDOUT):
        places = [at for at, line in enumerate(lines) if line.stream == stream]
        texts = [bare_line(lines[at].text) for at in places]
        for start in range(len(texts) - 1, -1, -1):
            if texts[start : start + len(printed)] == [*printed]:
                return set(places[start : start + len(printed)])
        # Only the end of a long one may be held.
        for size in range(min(len(printed), len(texts)), 1, -1):
            if texts[:size] == [*printed[-size:]]:
                return set(places[:size])
    return set()


def _last_sign(run: Run, record: OperationRecord, known: Mapping[str, Summary]) -> float | None:
    """Return when a run last printed or was last measured, in seconds since the epoch."""
    moments = []
    for log in (record.paths.stdout, record.paths.stderr):
        try:
            moments.append(os.stat(log).st_mtime)
        except OSError:
            continue
    times = [each.last_time for each in known.values()]
    moments += [moment / 1000 for moment in times if moment is not None]
    return max(moments, default=None)
