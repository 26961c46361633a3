"""Starting an operation: what every executor promises, and the one that starts a supervisor here.

An executor takes what `prepare` made, starts it somewhere and hands back a job; from then on the
run directory says how it goes. The supervisor is always executed afresh, never forked from the
caller, so that it inherits neither threads nor open files of a viewer or notebook.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from guildlite.errors import LaunchError
from guildlite.platform import require_posix
from guildlite.runs.facts import write_fact
from guildlite.runs.run import OperationRecord, Run

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


class Job(Protocol):
    """The handle to one start. It is let go of by `close` or by `reap`, and not used after."""

    def wait_started(self) -> None:
        """Return once the script was started, or could not be; LaunchError if gl failed."""

    def check_started(self) -> None:
        """Record and raise LaunchError when the script was not started and will not be."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for news of the run for at most `timeout_s`; False once nobody will bring any.

        The run is then sealed, unless its supervisor was killed.
        """

    def close(self) -> None:
        """Let go: the run goes on by itself."""

    def reap(self) -> None:
        """Let go after `wait` was False, leaving nothing behind."""


class Executor(Protocol):
    """A place where operations run."""

    def submit(
        self, run: Run, record: OperationRecord, argv: Sequence[str], environ: Mapping[str, str]
    ) -> Job:
        """Start a prepared operation: `record` is the run itself or a later operation on it.

        Raises LaunchError when that is not possible. A script that cannot be executed is no such
        case: its exit.json says so.
        """


class LocalJob:
    """A supervisor on this machine, known by the pipe that it and its waiter hold open."""

    def __init__(self, record: OperationRecord, pid: int, poke: int) -> None:
        self.record = record
        self._pid, self._poke = pid, poke

    def wait_started(self) -> None:
        """Return once started.json or exit.json is there; LaunchError when neither will be."""
        paths = self.record.paths
        deadline = time.monotonic() + 60
        while not paths.started.exists() and not paths.exit.exists():
            if not self.wait(1.0) or time.monotonic() > deadline:
                self.check_started()
                return

    def check_started(self) -> None:
        """Record and raise LaunchError when the script was not started and will not be."""
        paths = self.record.paths
        if paths.started.exists() or paths.exit.exists():
            return
        self._record_failure()
        raise LaunchError(
            "the supervisor ended before the script started",
            hint=f"see {paths.errors}",
        )

    def wait(self, timeout_s: float) -> bool:
        """Wait for a wake-up; False when supervisor and waiter are both gone."""
        readable, _, _ = select.select([self._poke], [], [], timeout_s)
        return not readable or bool(os.read(self._poke, 4096))

    def close(self) -> None:
        """Let go: the run goes on by itself."""
        os.close(self._poke)
        _let_go.add(self._pid)

    def reap(self) -> None:
        """Let go of a supervisor that has ended or is about to, so that no zombie stays."""
        os.close(self._poke)
        deadline = time.monotonic() + 5
        try:
            while os.waitpid(self._pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.002)
        except ChildProcessError:
            pass

    def _record_failure(self) -> None:
        fact = {
            "attempt": 1,
            "time": None,
            "duration_s": None,
            "code": LaunchError.exit_code,
            "signal": None,
            "stopped": False,
            "by": "front end",
            "error": "the supervisor did not start",
        }
        try:
            write_fact(self.record.paths.exit, fact)
        except OSError:
            pass


class LocalExecutor:
    """Runs operations on this machine. `terminal` is a pseudo-terminal for the script, or -1."""

    def __init__(self, terminal: int = -1) -> None:
        self._terminal = terminal

    def submit(
        self, run: Run, record: OperationRecord, argv: Sequence[str], environ: Mapping[str, str]
    ) -> LocalJob:
        """Start the supervisor. Raises LaunchError when that is not possible."""
        require_posix()
        _reap_let_go()
        launch = {
            "path": _import_path(),
            "run_dir": str(run.path),
            "operation": record.paths.name,
            "argv": list(argv),
            "directory": str(record.manifest.get("directory", ".")),
            "poke": _POKE,
            "terminal": _TERMINAL if self._terminal >= 0 else -1,
        }
        try:
            pid, words, poke = self._spawn(run, record, environ)
        except OSError as error:
            raise LaunchError(f"the supervisor could not be started: {error.strerror}") from error
        try:
            with os.fdopen(words, "wb") as pipe:
                pipe.write(json.dumps(launch).encode())
        except OSError:
            pass  # it died at once: `wait_started` tells
        return LocalJob(record, pid, poke)

    def _spawn(
        self, run: Run, record: OperationRecord, environ: Mapping[str, str]
    ) -> tuple[int, int, int]:
        """Return the supervisor's pid, a pipe to its standard input and the end of its poke."""
        errors = str(record.paths.errors)
        words_read, words_write = _pipe()
        poke_read, poke_write = _pipe()
        # The high numbers first: with a closed standard stream, a pipe may have taken its number.
        actions: list[Any] = [(os.POSIX_SPAWN_DUP2, poke_write, _POKE)]
        if self._terminal >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, self._terminal, _TERMINAL))
        actions += [
            (os.POSIX_SPAWN_DUP2, words_read, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644),
        ]
        argv = [sys.executable, "-I", "-S", str(_BOOTSTRAP), str(run.path)]
        try:
            pid = _posix_spawn(argv, environ, actions)
        except BaseException:
            os.close(words_write)
            os.close(poke_read)
            raise
        finally:
            os.close(words_read)
            os.close(poke_write)
        return pid, words_write, poke_read


#: Descriptors of the wake-up pipe and the terminal in the supervisor.
_POKE, _TERMINAL = 100, 101


def _pipe() -> tuple[int, int]:
    """Return a pipe whose ends are not numbered as those of the supervisor will be.

    A viewer has more than a hundred files open, and one end would be put in the place of the other.
    """
    clashing: list[int] = []
    while {_POKE, _TERMINAL} & {*(ends := os.pipe())}:
        clashing += ends
    for end in clashing:
        os.close(end)
    return ends


#: Supervisors nobody waits for; a viewer or notebook would otherwise collect their zombies.
_let_go: set[int] = set()


def _reap_let_go() -> None:
    for pid in list(_let_go):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:
            ended = pid
        if ended:
            _let_go.discard(pid)


def _import_path() -> list[str]:
    """Return the import path for a supervisor: ours, without a working directory put there.

    `python -m guildlite` puts it first, and a `queue.py` in the project would get in.
    """
    here, home = os.getcwd(), str(Path(__file__).parents[2])
    paths = [os.path.abspath(entry) for entry in sys.path if entry]
    return [path for path in paths if path != here or path == home]


def _posix_spawn(argv: list[str], environ: Mapping[str, str], actions: list[Any]) -> int:
    # Not subprocess, whose import alone takes as long as starting Python. No signal is blocked
    # in the supervisor, though the caller may hold some (`frontend.hold_signals`).
    settings: dict[str, Any] = {"file_actions": actions, "setsigmask": ()}
    try:
        return os.posix_spawn(argv[0], argv, dict(environ), setsid=True, **settings)
    except NotImplementedError:
        return os.posix_spawn(argv[0], argv, dict(environ), **settings)
