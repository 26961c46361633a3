"""The tiny process between supervisor and training: it starts the training, waits, writes the end.

Forked from the supervisor before anything heavy is imported; it opens no database, decodes no
file and ignores every signal that can be ignored, so that little can go wrong with it. If it is
killed all the same, the supervisor inherits the training and writes exit.json in its place; of
two writers the first wins.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from guildlite.platform import ProcessIdentity
from guildlite.runs.facts import write_fact
from guildlite.runs.paths import OperationPaths


class Order(NamedTuple):
    """What to start and where its facts go. `terminal` is a pseudo-terminal's descriptor, or -1.

    `poke` is the write end of the pipe that wakes the front end, or -1.
    """

    argv: Sequence[str]
    environ: Mapping[str, str]
    directory: str
    run_dir: Path
    paths: OperationPaths
    journal: str
    terminal: int
    poke: int


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
    _set_group(training)
    write_fact(order.paths.started, _started_record(order, training, supervisor))
    poke(order.poke)
    # Only now may the script run: a started script without started.json would be nobody's.
    os.write(go_write, b"g")
    os.close(go_write)
    failure = os.read(failed_read, 16)
    _, wait_status = os.waitpid(training, 0)
    record = exit_record(order.paths, wait_status, started, "waiter")
    if failure:
        record.update(_not_executed(int(failure), order.argv[0]))
    _write_exit(order.paths, record)
    poke(order.poke)
    return 0


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


def _started_record(order: Order, training: int, supervisor: int) -> dict[str, object]:
    where = os.stat(order.run_dir)
    return {
        "attempt": 1,
        "time": time.time(),
        "training": ProcessIdentity.of(training).to_json(),
        "waiter": ProcessIdentity.of(os.getpid()).to_json(),
        "supervisor": ProcessIdentity.of(supervisor).to_json(),
        "directory": [where.st_dev, where.st_ino],
        "journal": order.journal,
    }


def _not_executed(number: int, program: str) -> dict[str, object]:
    code = {errno.ENOENT: 127, errno.ENOTDIR: 127, errno.EACCES: 126, errno.ENOEXEC: 126}
    why = os.strerror(number)
    return {"code": code.get(number, 125), "signal": None, "error": f"{program}: {why}"}


def _set_group(pid: int) -> None:
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass  # the child was faster, or has its own session


# In the child, before it becomes the training -----------------------------------------------


def _become_training(order: Order, go: int, failed: int) -> NoReturn:
    number = errno.EINVAL
    try:
        os.set_inheritable(failed, False)
        _take_terminal(order.terminal) if order.terminal >= 0 else os.setpgid(0, 0)
        _open_streams(order)
        if os.read(go, 1) != b"g":
            os._exit(125)  # the waiter died before it could record us
        os.close(go)
        _restore_signals()
        os.chdir(order.directory)
        os.execve(order.argv[0], list(order.argv), dict(order.environ))
    except OSError as error:
        number = error.errno or number
    finally:
        os.write(failed, str(number).encode())
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
    import termios

    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _restore_signals() -> None:
    for number in signal.valid_signals():
        try:
            if signal.getsignal(number) in (signal.SIG_IGN, signal.default_int_handler):
                signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # SIGKILL and SIGSTOP cannot be set
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
