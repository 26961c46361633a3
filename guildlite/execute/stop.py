"""Stopping: who belongs to an operation, asking it to end, and ending it.

Anyone may ask: the front end, `gl stop`, the viewer, the supervisor itself. The first who does
writes stop.json. While a supervisor lives it enforces the grace; otherwise the asker does.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable

from guildlite.errors import GuildliteError
from guildlite.platform import (
    ProcessIdentity,
    environment_value,
    iter_processes,
    signal_group,
    signal_process,
    user_name,
)
from guildlite.runs.facts import write_fact
from guildlite.runs.run import OperationRecord

#: What a script has to end by itself after a stop was asked for.
GRACE_S = 10.0
#: When the supervisor itself got SIGTERM: below the 10 s that `docker stop` gives.
SHORT_GRACE_S = 8.0
#: Between two looks whether something has ended.
LOOK_S = 0.05
#: Why a looping evaluation was stopped by its own supervisor; not a failure.
RUN_ENDED = "the run it evaluates has ended"
#: In the environment of everything an operation starts, so that daemons are found again.
MARK = "GL_OPERATION"


def operation_mark(uid: str, operation: str) -> str:
    """Return the value of `MARK` for an operation; `operation` is "" or as in `2-evaluate`."""
    return f"{uid}/{operation}"


class Processes:
    """The processes of one operation, from its started.json."""

    def __init__(self, record: OperationRecord, uid: str) -> None:
        started = record.started_fact() or {}
        self.training = ProcessIdentity.from_json(started.get("training"))
        self.waiter = ProcessIdentity.from_json(started.get("waiter"))
        self.supervisor = ProcessIdentity.from_json(started.get("supervisor"))
        self._mark = operation_mark(uid, record.paths.name)

    def supervised(self) -> bool:
        """Return whether a supervisor lives that will enforce a stop."""
        return self.supervisor is not None and self.supervisor.alive()

    def members(self) -> list[ProcessIdentity]:
        """Return everything alive that the operation started, not our own two processes."""
        own = {os.getpid()}
        ours = {
            one.pid for one in (self.waiter, self.supervisor) if one is not None and one.alive()
        }
        roots = set(ours)
        table = list(iter_processes())
        if self.training is not None and self.training.alive():
            # While its leader lives, the group's number is nobody else's.
            leader = self.training.pid
            roots.update(row.pid for row in table if leader in (row.pid, row.group))
        family = _descendants(roots, [(row.pid, row.parent) for row in table])
        for row in table:
            if row.pid not in family and environment_value(row.pid, MARK) == self._mark:
                family.add(row.pid)
        return [ProcessIdentity.of(pid) for pid in family - ours - own]


def _descendants(roots: Iterable[int], parents: Iterable[tuple[int, int]]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents:
        children.setdefault(parent, []).append(pid)
    family = set(roots)
    waiting = list(family)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in family:
                family.add(child)
                waiting.append(child)
    return family


class NotOurs(GuildliteError):
    """The run was imported. The process it names is the viewer that follows its files."""

    http_status = 409

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} was imported and is only followed here, so there is nothing to stop",
            hint="it ends when its files stop growing or the viewer that follows them is closed",
        )


def request_stop(
    record: OperationRecord,
    processes: Processes,
    number: int,
    *,
    grace_s: float = GRACE_S,
    reason: str = "asked",
) -> None:
    """Record that a stop was asked for and send the signal to the training's process group.

    `reason` says how it was asked, in words for people: `gl stop`, `Ctrl-C`.
    Raises `NotOurs`, and does nothing, for an imported run.
    """
    if record.imported:
        raise NotOurs("the run")
    request = {
        "attempt": 1,
        "time": time.time(),
        "signal": number,
        "grace_s": grace_s,
        "reason": reason,
        "user": user_name(),
        "by": ProcessIdentity.of(os.getpid()).to_json(),
    }
    try:
        write_fact(record.paths.stop, request)
    except OSError:
        pass  # a full disk or a deleted directory must not keep anyone from stopping
    send(processes, number)


def send(processes: Processes, number: int) -> None:
    """Send a signal to the training's group, and wake it if it is suspended."""
    training = processes.training
    if training is None:
        return
    if number == signal.SIGKILL:
        kill_all(processes)
        return
    signal_group(training, number)
    # A stopped process acts on no signal until it is continued (systemd does the same).
    signal_group(training, signal.SIGCONT)


def kill_all(processes: Processes, timeout_s: float = 5.0) -> list[ProcessIdentity]:
    """SIGKILL everything of the operation until nothing is left; return what would not go."""
    deadline = time.monotonic() + timeout_s
    while True:
        members = processes.members()
        if not members or time.monotonic() > deadline:
            return members
        for process in members:
            signal_process(process, signal.SIGKILL)
        time.sleep(LOOK_S)


def stop(
    record: OperationRecord,
    uid: str,
    *,
    number: int = signal.SIGINT,
    grace_s: float = GRACE_S,
    reason: str = "asked",
    ended: Callable[[], bool],
) -> bool:
    """Stop an operation and wait until it has ended; False when something would not go.

    The grace is enforced by its supervisor, and from here when that one is gone. Raises `NotOurs`
    for an imported run.
    """
    processes = Processes(record, uid)
    request_stop(record, processes, number, grace_s=grace_s, reason=reason)
    deadline = time.monotonic() + grace_s
    while not ended() and time.monotonic() < deadline:
        time.sleep(LOOK_S)
        if processes.training is None:  # asked for before the script was there
            processes = Processes(record, uid)
            send(processes, number)
    left = kill_all(processes) if not processes.supervised() or not ended() else []
    limit = time.monotonic() + 5
    while not ended() and time.monotonic() < limit:
        time.sleep(LOOK_S)
    return not left and ended()
