"""The process the user sees: shows the script's output, hands on signals, waits for the end.

It owns nothing: closing the terminal or killing it leaves the run going on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from guildlite.execute.executor import LocalJob
from guildlite.execute.stop import RUN_ENDED, Processes, request_stop, send
from guildlite.runs.facts import read_fact
from guildlite.runs.run import OperationRecord, Run

if TYPE_CHECKING:
    from guildlite.execute.terminal import Terminal

#: How often the logs are looked at while a script prints.
_LOOK_S = 0.05
#: How long the end of a run may take after exit.json: the rest of its files and the seal.
SEAL_TIMEOUT_S = 15.0
_CHUNK = 256 * 1024
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


class LogTail:
    """Copies what is appended to a log file to a stream."""

    def __init__(self, path: os.PathLike[str], out: BinaryIO, *, from_end: bool = False) -> None:
        self._path, self._out = path, out
        self._descriptor = -1
        self._from_end = from_end

    def copy(self) -> bool:
        """Copy what is new; False when there was nothing."""
        if self._descriptor < 0 and not self._open():
            return False
        copied = False
        while data := os.read(self._descriptor, _CHUNK):
            self._out.write(data)
            copied = True
        if copied:
            self._out.flush()
        return copied

    def _open(self) -> bool:
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags)
        except OSError:
            return False
        if self._from_end:
            os.lseek(self._descriptor, 0, os.SEEK_END)
        return True

    def close(self) -> None:
        """Close the log."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FrontEnd:
    """Follows one operation from its start to its seal.

    `interrupted` is called with the signal that each Ctrl-C sends, so that the caller can say
    what happens.
    """

    def __init__(
        self,
        run: Run,
        record: OperationRecord,
        job: LocalJob,
        streams: tuple[BinaryIO, BinaryIO],
        interrupted: Callable[[int], None],
        terminal: Terminal | None = None,
    ) -> None:
        self.run, self.record, self._job = run, record, job
        paths = record.paths_of_operation
        self._tails = [LogTail(paths.stdout, streams[0]), LogTail(paths.stderr, streams[1])]
        self._terminal = terminal
        if terminal is not None:
            self._tails = []
        self._processes: Processes | None = None
        self._interrupted = interrupted
        self.interrupts = 0

    def follow(self) -> None:
        """Show output and hand on signals until the operation has ended and is sealed."""
        with _Signals(self._on_interrupt, self._on_signal):
            while not self._look():
                if not self._job.wait(_LOOK_S):
                    self._wait_without_supervisor()
                    break
            self._wait_for_seal()
            self._copy()
        for tail in self._tails:
            tail.close()
        self._job.reap()

    def _look(self) -> bool:
        ended = self.record.paths_of_operation.exit.exists()
        self._copy()
        return ended

    def _copy(self) -> None:
        if self._terminal is not None:
            self._terminal.relay()
        for tail in self._tails:
            tail.copy()

    def _wait_without_supervisor(self) -> None:
        """Both our processes were killed: look at the training itself until it is gone."""
        while not self._look() and self._fresh_processes().members():
            time.sleep(0.2)

    def _wait_for_seal(self) -> None:
        deadline = time.monotonic() + SEAL_TIMEOUT_S
        while self._job.wait(_LOOK_S) and time.monotonic() < deadline:
            self._copy()

    # Signals ------------------------------------------------------------------------------

    def _fresh_processes(self) -> Processes:
        if self._processes is None or self._processes.training is None:
            self._processes = Processes(self.record, self.run.uid)
        return self._processes

    def _on_interrupt(self) -> None:
        """Ctrl-C: once SIGINT, twice SIGTERM, three times SIGKILL."""
        number = _INTERRUPTS[min(self.interrupts, 2)]
        self.interrupts += 1
        self._interrupted(number)
        if self.interrupts == 1:
            request_stop(self.record, self._fresh_processes(), number)
        else:
            send(self._fresh_processes(), number)

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGQUIT):
            request_stop(self.record, self._fresh_processes(), number)
        else:
            send(self._fresh_processes(), number)


def exit_status(record: OperationRecord, interrupts: int = 0) -> int:
    """Return the status a front end leaves with: the script's own, 128+N, 130, or 1 for lost."""
    if interrupts:
        return 130
    if stopped_by_plan(record):
        return 0
    if record.exit_signal is not None:
        return 128 + record.exit_signal
    return 1 if record.exit_code is None else record.exit_code


def stopped_by_plan(record: OperationRecord) -> bool:
    """Return whether a looping evaluation ended because the run it looks at has."""
    request = read_fact(record.paths_of_operation.stop)
    return request is not None and request.get("reason") == RUN_ENDED


class _Signals:
    """Signal handlers for the time of a `with` block."""

    def __init__(self, interrupt: Callable[[], None], other: Callable[[int], None]) -> None:
        self._interrupt, self._other = interrupt, other
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Signals:
        self._set(signal.SIGINT, lambda *_: self._interrupt())
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
            self._set(number, lambda number, _: self._other(number))
        return self

    def _set(self, number: int, handler: Callable[[int, object], None]) -> None:
        self._before[number] = signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def watch(run: Run, streams: tuple[BinaryIO, BinaryIO]) -> None:
    """Show a run's output from its beginning until it has ended; KeyboardInterrupt passes."""
    tails = [LogTail(run.paths.stdout, streams[0]), LogTail(run.paths.stderr, streams[1])]
    try:
        while True:
            ended = Run(run.path).status.ended
            for tail in tails:
                tail.copy()
            if ended:
                return
            time.sleep(_LOOK_S)
    finally:
        for tail in tails:
            tail.close()
