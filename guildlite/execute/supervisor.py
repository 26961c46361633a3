"""One per operation: starts the waiter, collects, records, enforces stops, seals run.db.

The main thread alone writes run.db. Sampling and the facts that take time (git, packages) have
threads of their own and hand over through queues, so that a hung driver or repository costs
timeliness and nothing else. Whatever fails here is told in errors.log and never changes the
training's exit status.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guildlite.execute.evidence import Kills, end_evidence, keep_kernel_lines
from guildlite.execute.stop import RUN_ENDED, SHORT_GRACE_S, Processes, kill_all, request_stop
from guildlite.execute.waiter import Order, exit_record, fork_waiter, noted_end, poke, remove_note
from guildlite.platform import FileLock, become_subreaper, is_network_file_system
from guildlite.runs.facts import read_fact, write_fact
from guildlite.runs.logs import append_notice
from guildlite.runs.run import LaterOperation, OperationRecord, Run

if TYPE_CHECKING:
    from guildlite.execute.recorder import Recorder

#: Five looks a second, which is also how soon a stop is noticed.
TICK_S = 0.2
#: A file that grows is looked at at once, but no two looks are closer than this: median 0.05 s from
#: flush to row where a script logs all the time (docs/decisions/2026-11-20-following-files.md).
LEAST_TICK_S = 0.1
HEARTBEAT_S = 10.0
#: What a looping evaluation has to finish its last round after the training ended.
RUN_ENDED_GRACE_S = 5.0


def main(launch: dict[str, Any]) -> None:
    """Run one operation from start to seal; `launch` comes from the front end."""
    Supervisor(launch).run()


class Supervisor:
    """The state of one operation while it runs."""

    def __init__(self, launch: dict[str, Any]) -> None:
        self.run_dir = Path(launch["run_dir"])
        self.own_run = Run(self.run_dir)
        self.paths = self.own_run.paths
        self.record: OperationRecord = self.own_run
        self.uid = self.own_run.uid
        if launch["operation"]:
            operation = self.paths.operation(launch["operation"])
            self.record = LaterOperation(operation, self.run_dir, self.paths.heartbeat)
        self.launch = launch
        self.poke: int = launch["poke"]
        for descriptor in (self.poke, launch["terminal"]):
            if descriptor >= 0:
                os.set_inheritable(descriptor, False)
        self.lock = FileLock(self.paths.lock)
        self.network = is_network_file_system(self.run_dir)
        self.started = time.monotonic()
        self.waiter = self._dead_waiter = -1
        self.kills = Kills.now()
        self.training: int | None = None
        self.recorder: Recorder | None = None
        self._kill_at: float | None = None
        self._faults: set[str] = set()
        self._terminated = False
        self._run_ended_at: float | None = None

    def run(self) -> None:
        """Start, watch, record, seal."""
        become_subreaper()
        wake = _wake_on_child()
        ignored = _ignored_signals()
        self._take_signals()
        # From here on run.db lacks something, whoever is killed when.
        self._quietly(self.paths.heartbeat.touch)
        # Before the lock is taken: a fork would share it, and it would outlive us.
        self.waiter = fork_waiter(self._order(ignored))
        self.lock.try_acquire()
        if self.launch["terminal"] >= 0:
            os.close(self.launch["terminal"])
        self._touch_heartbeat()
        self._watch(wake)
        self._finish()

    def _order(self, ignored: frozenset[int]) -> Order:
        return Order(
            argv=self.launch["argv"],
            environ=os.environ,
            directory=self.launch["directory"],
            run_dir=self.run_dir,
            paths=self.record.paths,
            journal="delete" if self.network else "wal",
            terminal=self.launch["terminal"],
            poke=self.poke,
            ignored=ignored,
            kills=self.kills,
        )

    # Watching -----------------------------------------------------------------------------

    def _watch(self, wake: int) -> None:
        next_beat = time.monotonic() + HEARTBEAT_S
        while not self._ended():
            self._sleep(wake)
            _drain(wake)
            self._reap()
            self._guard(self._enforce_stop)
            if time.monotonic() >= next_beat:
                next_beat += HEARTBEAT_S
                self._touch_heartbeat()
            self._guard(self._collect)

    def _sleep(self, wake: int) -> None:
        """Wait for a child's end, a signal, news in the files, or the next look."""
        if not select.select([wake], [], [], LEAST_TICK_S)[0]:
            files = [] if self.recorder is None else self.recorder.descriptors()
            select.select([wake, *files], [], [], TICK_S - LEAST_TICK_S)

    def _guard(self, step: Callable[[], None]) -> None:
        """Take one step; a fault in it is told once and costs nothing but that step."""
        try:
            step()
        except Exception as error:
            fault = f"{step.__name__.strip('_')}: {type(error).__name__}: {error}"
            if fault not in self._faults:
                self._faults.add(fault)
                self.tell(f"{fault}; it is tried again and this is not repeated")

    def _ended(self) -> bool:
        """Return whether the end is written, or nobody is left who could write it."""
        if self.record.paths.exit.exists():
            return True
        if self.waiter >= 0:
            return False
        # Without started.json the waiter died before it started anything.
        return self.training is None

    def _reap(self) -> None:
        """Collect the waiter's end; if it died before the training did, wait in its place."""
        if self.waiter >= 0 and _wait_status(self.waiter) is not None:
            self.waiter, self._dead_waiter = -1, self.waiter
            started = self.record.started_fact()
            self.training = self._training_pid()
            if not started and not self.record.paths.exit.exists():
                self._write_exit(125 << 8, error="the waiter died before it could start the script")
        if self.waiter < 0 and self.training is not None:
            self._wait_in_its_place(self.training)
        self._reap_orphans()

    def _training_pid(self) -> int | None:
        training = (self.record.started_fact() or {}).get("training")
        pid = training.get("pid") if isinstance(training, dict) else None
        return pid if isinstance(pid, int) else None

    def _reap_orphans(self) -> None:
        """Let go of ended daemons that came to us, unless a child of our own may be among them.

        Nor the training, which comes to us the moment its waiter dies, before we know of it.
        """
        if self.recorder is None or self.recorder.has_children() or not hasattr(os, "waitid"):
            return
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in (self.waiter, self._training_pid()):
                return
            os.waitpid(ended.si_pid, 0)

    def _wait_in_its_place(self, training: int) -> None:
        if self.record.paths.exit.exists():
            self.training = None
            return
        status = _wait_status(training)
        if status is not None:
            self.training = None
            if status != _NOT_OURS:
                self._write_exit(status)
            elif noted := noted_end(self.record.paths, self._dead_waiter):
                self._write_end(noted)
            poke(self.poke)

    def _write_exit(self, status: int, **more: str) -> None:
        record = exit_record(self.record.paths, status, self.started, "supervisor")
        self._write_end({**record, **more})

    def _write_end(self, record: dict[str, object]) -> None:
        evidence = end_evidence(self.run_dir, self.kills)
        self._quietly(write_fact, self.record.paths.exit, {**record, **evidence})

    def _end_with_run(self) -> None:
        """Stop a looping evaluation some seconds after the training it looks at has ended."""
        if not self.record.manifest.get("ends_with_run") or self._kill_at is not None:
            return
        if self._run_ended_at is None and Run(self.run_dir).status.ended:
            self._run_ended_at = time.monotonic()
        if self._run_ended_at is not None and (
            time.monotonic() - self._run_ended_at >= RUN_ENDED_GRACE_S
        ):
            self._stop(RUN_ENDED_GRACE_S, RUN_ENDED)

    def _enforce_stop(self) -> None:
        self._end_with_run()
        paths = self.record.paths
        # Nobody is there to take the signal before started.json.
        if self._terminated and paths.started.exists():
            self._terminated = False
            self._stop(SHORT_GRACE_S, "the supervisor got SIGTERM")
        if self._kill_at is None:
            request = read_fact(paths.stop)
            if request is None:
                return
            grace = request.get("grace_s")
            self._kill_within(float(grace) if isinstance(grace, (int, float)) else SHORT_GRACE_S)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill()

    def _stop(self, grace_s: float, reason: str) -> None:
        processes = Processes(self.record, self.uid)
        request_stop(self.record, processes, signal.SIGTERM, grace_s=grace_s, reason=reason)
        self._kill_within(grace_s)

    def _kill_within(self, grace_s: float) -> None:
        """Let the grace end then, or when an earlier stop said if that is sooner."""
        kill_at = time.monotonic() + grace_s
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)

    def _kill(self) -> None:
        left = kill_all(Processes(self.record, self.uid))
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            self.tell(f"processes {pids} could not be killed")
        self._kill_at = time.monotonic() + 5

    # Recording ----------------------------------------------------------------------------

    def _collect(self) -> None:
        if self.recorder is None:
            from guildlite.execute.recorder import Recorder

            self.recorder = Recorder(
                self.own_run, self.record, self.lock, since=self.started, tell=self.tell
            )
        self.recorder.tick()

    def _finish(self) -> None:
        """Record the end, seal, let go. The training has ended: nothing here may raise."""
        self._guard(self._kill_stopped_leftovers)
        self._guard(self._keep_kernel_lines)
        self._guard(self._collect)
        if self.recorder is not None:
            self._guard(self.recorder.finish)
        self._guard(self._note_own_files)
        if self._dead_waiter >= 0:
            remove_note(self.record.paths, self._dead_waiter)
        self.lock.release()
        poke(self.poke)

    def _keep_kernel_lines(self) -> None:
        """Keep what the kernel said of the end, before others' news push it out of its log."""
        exited = self.record.exit_fact() or {}
        kills = exited.get("oom_kills")
        if exited.get("signal") or (isinstance(kills, dict) and any(kills.values())):
            keep_kernel_lines(self.record.paths, self.started)

    def _note_own_files(self) -> None:
        """Let `gl serve` load what this run wrote even where that could run code.

        A later operation notes nothing: the run that it works on may come from elsewhere.
        """
        if isinstance(self.record, Run):
            from guildlite.runs.own import note_own_files

            note_own_files(self.run_dir, self.record.uid)

    def _kill_stopped_leftovers(self) -> None:
        """After a stop, what the script left behind goes too; after a normal end it may live."""
        if self.record.paths.stop.exists():
            kill_all(Processes(self.record, self.uid))

    def tell(self, notice: str) -> None:
        """Append a line to the run's errors.log, if that is possible."""
        append_notice(self.paths, notice)

    def _touch_heartbeat(self) -> None:
        if self.lock.held:
            self._quietly(self.paths.heartbeat.touch)

    def _quietly(self, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except OSError as error:
            self.tell(f"{function.__name__}: {error}")

    def _take_signals(self) -> None:
        def on_terminate(*_: object) -> None:
            self._terminated = True

        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, on_terminate)


def _ignored_signals() -> frozenset[int]:
    """Return the signals that the script shall ignore because our caller did, as under nohup.

    Not those a stop must reach it by, which shells ignore for background jobs, nor the two that
    Python itself ignores.
    """
    stops = {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT}
    others = signal.valid_signals() - stops - {signal.SIGPIPE, signal.SIGXFSZ}
    return frozenset(one for one in others if signal.getsignal(one) == signal.SIG_IGN)


#: A wait status nobody has: the process is not our child, and nobody will learn how it ended.
_NOT_OURS = -1


def _wait_status(pid: int) -> int | None:
    """Return how a child ended, None while it runs, `_NOT_OURS` when it is no child of ours."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return _NOT_OURS
    return status if ended else None


def _wake_on_child() -> int:
    """Return a descriptor that becomes readable when a child ends or a signal comes."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass
