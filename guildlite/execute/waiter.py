"""The tiny process between supervisor and training: it starts the training, waits, writes the end.

Forked from the supervisor before anything heavy is imported; it opens no database, decodes no
file and ignores every signal that can be ignored, so that little can go wrong with it. If it is
killed all the same, the supervisor inherits the training and writes exit.json in its place; of
two writers the first wins. If it is killed when it has let go of the ended training but not yet
written exit.json, its note of the end is where the supervisor finds it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from guildlite.execute.evidence import Kills, end_evidence
from guildlite.platform import ProcessIdentity, sync_directory
from guildlite.runs.facts import read_fact, write_fact
from guildlite.runs.paths import OperationPaths

#: An exit.json has some 400 bytes, more when it names a program that was not found.
_RESERVED_BYTES = 4096


class Order(NamedTuple):
    """What to start and where its facts go. `terminal` is a pseudo-terminal's descriptor, or -1.

    `poke` is the write end of the pipe that wakes the front end, or -1. `ignored` are the signals
    that the script shall ignore, as under nohup; all others have their default action. `kills` are
    the counters before it starts.
    """

    argv: Sequence[str]
    environ: Mapping[str, str]
    directory: str
    run_dir: Path
    paths: OperationPaths
    journal: str
    terminal: int
    poke: int
    ignored: frozenset[int] = frozenset()
    kills: Kills = Kills(None, None)


def fork_waiter(order: Order) -> int:
    """Start the waiter and return its pid. The caller must have one thread and open no database."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        status = _wait_for_training(order, supervisor)
    finally:
        # No interpreter shutdown: nothing of the supervisor's may be flushed or closed twice.
        os._exit(status)


def poke(descriptor: int) -> None:
    """Wake the front end; one that is gone does not matter."""
    if descriptor >= 0:
        try:
            os.write(descriptor, b".")
        except OSError:
            pass


def exit_record(
    paths: OperationPaths, wait_status: int, started: float, by: str
) -> dict[str, object]:
    """Return what exit.json says. `started` is time.monotonic() at the start."""
    died_of = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else None
    return {
        "attempt": 1,
        "time": time.time(),
        "duration_s": round(time.monotonic() - started, 6),
        "code": None if died_of else os.WEXITSTATUS(wait_status),
        "signal": died_of,
        "stopped": paths.stop.exists(),
        "by": by,
    }


def started_record(run_dir: Path, training: int, journal: str, **ours: int) -> dict[str, object]:
    """Return what started.json says; `ours` are the pids of our processes by their names."""
    where = os.stat(run_dir)
    processes = {"training": training, **ours}
    return {
        "attempt": 1,
        "time": time.time(),
        **{name: ProcessIdentity.of(pid).to_json() for name, pid in processes.items()},
        "directory": [where.st_dev, where.st_ino],
        "journal": journal,
    }


def not_executed(program: str, number: int) -> dict[str, object]:
    """Return what exit.json says, as a shell would, of a program that `errno` kept from running."""
    code = {errno.ENOENT: 127, errno.ENOTDIR: 127}.get(number, 126)
    return {"code": code, "signal": None, "error": f"{program}: {os.strerror(number)}"}


def not_entered(directory: str, number: int) -> dict[str, object]:
    """Return what exit.json says when the directory it was to run in kept it from running."""
    return {"code": 125, "signal": None, "error": f"{directory}: {os.strerror(number)}"}


def _wait_for_training(order: Order, supervisor: int) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    go_read, go_write = os.pipe()
    failed_read, failed_write = os.pipe()
    started = time.monotonic()
    training = os.fork()
    if not training:
        os.close(go_write)
        os.close(failed_read)
        _become_training(order, go_read, failed_write)
    os.close(go_read)
    os.close(failed_write)
    if order.terminal < 0:  # else it makes a session of its own, which a group leader cannot
        _set_group(training)
    ours = {"waiter": os.getpid(), "supervisor": supervisor}
    fact = started_record(order.run_dir, training, order.journal, **ours)
    fact["oom_kills"] = order.kills._asdict()
    write_fact(order.paths.started, fact)
    reserve = _Reserve(order.paths.exit)
    poke(order.poke)
    # Only now may the script run: a started script without started.json would be nobody's.
    _let_go(go_write)
    failure = os.read(failed_read, 16)
    refused = _not_executed(failure.decode(), order) if failure else {}
    if (seen := _look_at_end(training)) is not None:
        reserve.note({**exit_record(order.paths, seen, started, "waiter"), **refused})
    # With this the system forgets how it ended.
    _, wait_status, usage = os.wait4(training, 0)
    record = exit_record(order.paths, wait_status, started, "waiter") | refused
    record |= end_evidence(order.run_dir, order.kills, usage.ru_maxrss)
    if not reserve.write_fact(record):
        _write_exit(order.paths, record)
    poke(order.poke)
    return 0


def _look_at_end(training: int) -> int | None:
    """Wait until the training has ended and return its wait status; it stays to be waited for.

    None at once where the system does not let us look: macOS before Python 3.13.
    """
    if not hasattr(os, "waitid"):
        return None
    ended = os.waitid(os.P_PID, training, os.WEXITED | os.WNOWAIT)
    assert ended is not None  # only WNOHANG returns without an end
    return ended.si_status << 8 if ended.si_code == os.CLD_EXITED else ended.si_status


def noted_end(paths: OperationPaths, waiter: int) -> dict[str, object] | None:
    """Return the end that a killed waiter, a pid, had noted but not written; None without one."""
    return read_fact(_reserve_path(paths.exit, waiter))


def remove_note(paths: OperationPaths, waiter: int) -> None:
    """Remove what a killed waiter, a pid, left beside exit.json."""
    try:
        _reserve_path(paths.exit, waiter).unlink()
    except OSError:
        pass


def _reserve_path(path: Path, waiter: int) -> Path:
    return path.with_name(f".{path.name}.{waiter}")


def _let_go(go: int) -> None:
    try:
        os.write(go, b"g")
    except OSError:
        pass  # it was killed meanwhile; its wait status tells
    os.close(go)


class _Reserve:
    """Room for exit.json, taken at the start: a script that fills the disk has an end all the same.

    Without room even for that it does nothing, and `write_fact` says False.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = _reserve_path(path, os.getpid())
        self._descriptor = -1
        try:
            self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(self._descriptor, b" " * _RESERVED_BYTES)
        except OSError:
            self._remove()

    def note(self, fact: Mapping[str, object]) -> None:
        """Leave the fact where `noted_end` finds it; the spaces after it are no part of JSON."""
        if self._descriptor >= 0:
            try:
                os.pwrite(self._descriptor, json.dumps(fact).encode(), 0)
            except OSError:
                pass  # no note, the fact itself may still be written

    def write_fact(self, fact: Mapping[str, object]) -> bool:
        """Give the fact its name unless it is there; False when that was not possible."""
        if self._descriptor < 0:
            return False
        data = json.dumps(fact, indent=1).encode()
        try:
            os.pwrite(self._descriptor, data, 0)
            os.ftruncate(self._descriptor, len(data))
            os.fsync(self._descriptor)
            os.link(self._temporary, self._path)
            sync_directory(self._path.parent)
        except FileExistsError:
            return True
        except OSError:
            return False
        finally:
            self._remove()
        return True

    def _remove(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        try:
            os.unlink(self._temporary)
        except OSError:
            pass


def _write_exit(paths: OperationPaths, record: Mapping[str, object]) -> None:
    # A full disk may have room again in a moment; a directory that is gone will not come back.
    for _ in range(20):
        try:
            write_fact(paths.exit, record)
            return
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                return
            time.sleep(0.5)


def _not_executed(failure: str, order: Order) -> dict[str, object]:
    """Return what exit.json says of a script that was not started; `failure` as `2 execute`."""
    number, _, step = failure.partition(" ")
    if step == _EXECUTE:
        return not_executed(order.argv[0], int(number))
    return not_entered(order.directory if step == _ENTER else str(order.paths.root), int(number))


def _set_group(pid: int) -> None:
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass  # the child was faster, or has its own session


# In the child, before it becomes the training -----------------------------------------------

_OPEN, _ENTER, _EXECUTE = "open", "enter", "execute"


def _become_training(order: Order, go: int, failed: int) -> NoReturn:
    number, step = errno.EINVAL, _OPEN
    try:
        os.set_inheritable(failed, False)
        _take_terminal(order.terminal) if order.terminal >= 0 else os.setpgid(0, 0)
        _open_streams(order)
        if os.read(go, 1) != b"g":
            os._exit(125)  # the waiter died before it could record us
        os.close(go)
        _restore_signals(order.ignored)
        step = _ENTER
        os.chdir(order.directory)
        step = _EXECUTE
        # A bare name is looked up on the script's PATH, as a shell would.
        os.execvpe(order.argv[0], list(order.argv), dict(order.environ))
    except OSError as error:
        number = error.errno or number
    finally:
        os.write(failed, f"{number} {step}".encode())
        os._exit(125)


def _open_streams(order: Order) -> None:
    """Give the script its logs: opened by itself for appending, so that no death of ours hurts."""
    if order.terminal >= 0:
        streams = (order.terminal, order.terminal, order.terminal)
    else:
        append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        streams = (
            os.open(os.devnull, os.O_RDONLY),
            os.open(order.paths.stdout, append, 0o644),
            os.open(order.paths.stderr, append, 0o644),
        )
    for target, descriptor in enumerate(streams):
        os.dup2(descriptor, target, inheritable=True)


def _take_terminal(terminal: int) -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _restore_signals(ignored: frozenset[int]) -> None:
    for number in signal.valid_signals() - ignored:
        try:
            if signal.getsignal(number) in (signal.SIG_IGN, signal.default_int_handler):
                signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # SIGKILL and SIGSTOP cannot be set
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
