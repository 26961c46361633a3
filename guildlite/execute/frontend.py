"""The process the user sees: shows the script's output, hands on signals, waits for the end.

It owns nothing: closing the terminal or killing it leaves the run going on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from typing import TYPE_CHECKING, BinaryIO

from guildlite.errors import INTERRUPTED
from guildlite.execute.stop import (
    GRACE_S,
    RUN_ENDED,
    SHORT_GRACE_S,
    Processes,
    kill_all,
    request_stop,
    send,
)
from guildlite.platform import open_regular, signal_name
from guildlite.runs.facts import read_fact
from guildlite.runs.run import OperationRecord, Run

if TYPE_CHECKING:
    from guildlite.execute.executor import Job
    from guildlite.execute.terminal import Terminal

#: How often the logs are looked at while a script prints.
_LOOK_S = 0.05
#: How long the end of a run may take after exit.json: the rest of its files and the seal.
SEAL_TIMEOUT_S = 15.0
_CHUNK = 256 * 1024


class LogTail:
    """Copies what is appended to a log file to a stream."""

    def __init__(self, path: os.PathLike[str], out: BinaryIO) -> None:
        self._path, self._out = path, out
        self._file: FileIO | None = None

    def copy(self) -> bool:
        """Copy what is new; False when there was nothing."""
        if self._file is None:
            try:
                self._file = open_regular(self._path)
            except OSError:
                return False
        copied = False
        while data := self._file.read(_CHUNK):
            self._out.write(data)
            copied = True
        if copied:
            self._out.flush()
        return copied

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            self._file.close()
            self._file = None


class FrontEnd:
    """Follows one operation from its start to its seal.

    `interrupted` is called with the signal that each Ctrl-C sends, so that the caller can say
    what happens.
    """

    def __init__(
        self,
        run: Run,
        record: OperationRecord,
        job: Job,
        streams: tuple[BinaryIO, BinaryIO],
        interrupted: Callable[[int], None],
        terminal: Terminal | None = None,
    ) -> None:
        self.run, self.record, self._job = run, record, job
        paths = record.paths
        self._tails = [LogTail(paths.stdout, streams[0]), LogTail(paths.stderr, streams[1])]
        self._terminal = terminal
        if terminal is not None:
            self._tails = []
        self._processes = Processes(record, run.uid)
        #: Signals that came before there was a script to take them.
        self._waiting: list[int] = []
        self._received: list[int] = []
        self._acting = False
        self._kill_at: float | None = None
        self._interrupted = interrupted
        self.interrupts = 0

    def follow(self) -> None:
        """Show output and hand on signals until the operation has ended and is sealed.

        Raises LaunchError when the script was never started.
        """
        try:
            with _Signals(self._on_signal):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _forwarded())
                while not self._look():
                    if not self._job.wait(_LOOK_S):
                        self._wait_alone()
                        break
                self._wait_for_seal()
                self._copy()
        finally:
            self.close()
        self._job.reap()
        if self._processes.training is None and self.run.path.exists():
            self._job.check_started()

    def close(self) -> None:
        """Close the logs; `follow` does it."""
        for tail in self._tails:
            tail.close()

    def _look(self) -> bool:
        """Show what is new; True when the end is written."""
        if self._processes.training is None:
            self._meet_training()
        self._enforce_stop()
        ended = self.record.paths.exit.exists()
        self._copy()
        return ended

    def _meet_training(self) -> None:
        if self.record.paths.started.exists():
            # Kept from here on: a script may delete its run directory and still be stopped.
            self._processes = Processes(self.record, self.run.uid)
            waiting, self._waiting = self._waiting, []
            for number in waiting:
                send(self._processes, number)

    def _copy(self) -> None:
        if self._terminal is not None:
            self._terminal.relay()
        for tail in self._tails:
            tail.copy()

    def _wait_alone(self) -> None:
        """Both our processes were killed: watch the training itself until it is gone."""
        while not self._look() and self._training_lives():
            time.sleep(0.1)
        if self._kill_at is not None:
            kill_all(self._processes)

    def _enforce_stop(self) -> None:
        """End the grace of a stop when the supervisor that would have done it is gone."""
        if self._kill_at is None or time.monotonic() < self._kill_at:
            return
        self._kill_at = time.monotonic() + 1
        if not self._processes.supervised():
            kill_all(self._processes)

    def _training_lives(self) -> bool:
        training = self._processes.training
        return training is not None and training.alive()

    def _wait_for_seal(self) -> None:
        deadline = time.monotonic() + SEAL_TIMEOUT_S
        while self._job.wait(_LOOK_S) and time.monotonic() < deadline:
            self._copy()

    # Signals ------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        """Act on a signal; one that comes meanwhile is acted on next, never in between."""
        self._received.append(number)
        if self._acting:
            return
        self._acting = True
        try:
            while self._received:
                self._act(self._received.pop(0))
        finally:
            self._acting = False

    def _act(self, number: int) -> None:
        if number != signal.SIGINT:
            self._hand_on(number, stops=number in (signal.SIGTERM, signal.SIGQUIT))
            return
        # Ctrl-C: once SIGINT, twice SIGTERM, three times SIGKILL.
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[min(self.interrupts, 2)]
        self.interrupts += 1
        self._hand_on(number, stops=self.interrupts == 1)
        self._interrupted(number)

    def _hand_on(self, number: int, *, stops: bool) -> None:
        if self._processes.training is None:
            self._waiting.append(number)
        if stops:
            grace_s = grace_after(number)
            self._kill_at = self._kill_at or time.monotonic() + grace_s
            reason = "Ctrl-C" if number == signal.SIGINT else f"{signal_name(number)} to gl"
            request_stop(self.record, self._processes, number, grace_s=grace_s, reason=reason)
        else:
            send(self._processes, number)


def grace_after(number: int) -> float:
    """Return how long a script has to end after the front end got a signal.

    SIGTERM, and anything sent to process 1 of a container, is followed by a SIGKILL of everything
    after the 10 s of `docker stop`; the end must be recorded before that.
    """
    return SHORT_GRACE_S if number == signal.SIGTERM or os.getpid() == 1 else GRACE_S


def exit_status(record: OperationRecord, interrupts: int = 0) -> int:
    """Return the status a front end leaves with: the script's own, 128+N, 130, or 1 for lost."""
    if interrupts:
        return INTERRUPTED
    if stopped_by_plan(record):
        return 0
    if record.exit_signal is not None:
        return 128 + record.exit_signal
    return 1 if record.exit_code is None else record.exit_code


def stopped_by_plan(record: OperationRecord) -> bool:
    """Return whether a looping evaluation ended because the run it looks at has."""
    request = read_fact(record.paths.stop)
    return request is not None and request.get("reason") == RUN_ENDED


def _forwarded() -> tuple[signal.Signals, ...]:
    """Return the signals that are the run's rather than the front end's."""
    return (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def hold_signals() -> Iterator[None]:
    """Keep signals waiting from before the start of a run until `follow` can hand them on.

    Without it a Ctrl-C in between would end the front end and leave the run going on.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _forwarded())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Signals:
    """Signal handlers for the time of a `with` block."""

    def __init__(self, handler: Callable[[int], None]) -> None:
        self._handler = handler
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Signals:
        for number in _forwarded():
            self._before[number] = signal.signal(number, lambda number, _: self._handler(number))
        return self

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
