"""Causes of an end, each with the evidence for it. Nothing is claimed without any.

A cause is `sure` where the evidence names this script, and only likely where it fits: the memory
was full, the machine's counter of killed processes rose.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from guildlite.collect.cgroups import ControlGroups
from guildlite.explain.measured import NEARLY_FULL, Measured
from guildlite.explain.traces import Trace
from guildlite.platform import ProcessIdentity, boot_token, signal_name
from guildlite.runs.run import OperationRecord, Status
from guildlite.wording import format_count, format_duration, format_moment, format_size

#: The PID namespace of the machine itself, in which the kernel's log counts (proc_ns.h).
_FIRST_NAMESPACE = "pid:[4026531836]"
#: Less free space than this at the end counts as a full disk: a last write may have been cut off.
_NO_SPACE_BYTES = 64 * 1024
#: More than this free at the end, and it is not the disk of the run that was full.
_ROOM_BYTES = 1 << 30

_SIGNALS = {
    "SIGKILL": "sent by `kill -9`, the out-of-memory killer or a batch system",
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
    "SIGXFSZ": "it wrote a larger file than it may",
    "SIGUSR1": "a signal that the script did not expect, as batch systems send before their limit",
}
_OUT_OF_GPU = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|hipErrorOutOfMemory"
    r"|HIP out of memory|MPS backend out of memory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|RESOURCE_EXHAUSTED: Out of memory|OOM when allocating tensor.* GPU"
)
_OUT_OF_MEMORY = re.compile(
    r"^(?:[\w.]*\.)?_?(?:Array)?MemoryError\b|\[Errno 12\]|Cannot allocate memory|std::bad_alloc"
    r"|DefaultCPUAllocator: (?:can't|not enough)|oom_kill event|OOM Killed|out-of-memory handler"
)
_OUT_OF_SPACE = re.compile(
    r"No space left on device|\[Errno 28\]|[Dd]isk quota exceeded|database or disk is full"
    r"|out of shared memory \(shm\)|insufficient shared memory \(shm\)"
)
#: Words on stderr → what to do about it.
_ADVICE = {
    "EOFError": "stdin is empty under gl; for input() and breakpoint() use `gl train --tty`",
    "bdb.BdbQuit": "stdin is empty under gl; for input() and breakpoint() use `gl train --tty`",
    "ModuleNotFoundError": "`gl check` says which Python runs the scripts and what it has",
    "Permission denied": "a file or directory does not belong to this user",
    "shared memory (shm)": "give the container more /dev/shm, or fewer workers to the DataLoader",
}
_GPU_ADVICE = "the GPU's memory was full; a smaller batch needs less"
_MEMORY_ADVICE = "it needs less memory with a smaller batch, fewer workers, or data read in parts"
_DISK_ADVICE = "make room on the disk; `gl purge` empties the trash"
_OTHER_DISK_ADVICE = (
    "another disk than that of the run is full, or a quota is: see the path it names"
)


class Cause(NamedTuple):
    """Why an operation ended as it did, in a sentence. `kind` is a word for programs."""

    kind: str
    text: str
    sure: bool = True
    evidence: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


class Clues(NamedTuple):
    """What causes are found in. `printed` are last lines of both streams, `kernel` the kernel's."""

    record: OperationRecord
    stop: Mapping[str, object]
    trace: Trace | None
    printed: Sequence[str]
    notices: Sequence[str]
    kernel: Sequence[str]
    measured: Measured
    last_sign: float | None

    @property
    def kills(self) -> Mapping[str, int]:
        found = (self.record.exit_fact() or {}).get("oom_kills")
        return found if isinstance(found, dict) else {}

    def line_with(self, pattern: re.Pattern[str]) -> str | None:
        """Return the last printed line, or error of the traceback, that `pattern` is in."""
        errors = [self.trace.error] if self.trace else []
        return next((line.strip() for line in (*errors, *reversed(self.printed))
                     if pattern.search(line)), None)  # fmt: skip


def find_causes(clues: Clues) -> list[Cause]:
    """Return the causes of an operation's end, the most telling first; for one that goes on, that.

    Never empty.
    """
    record, status = clues.record, clues.record.status
    if status is Status.PENDING:
        return [Cause("pending", "it is being started", advice=("`gl attach` follows it",))]
    if status is Status.RUNNING:
        return [Cause("running", "it has not ended", advice=("`gl logs -f` follows it",))]
    if status is Status.COMPLETED and record.imported:
        return [Cause("imported", "it was imported, so how the script ended is not known", False)]
    if status is Status.COMPLETED:
        return [Cause("completed", "the script ended by itself, without an error")]
    if status is Status.LOST:
        return [_lost(clues), *_texts(clues)]
    if status is Status.STOPPED:
        return [_stopped(clues)]
    if record.exit_code in (125, 126, 127) and (record.exit_fact() or {}).get("error"):
        return [_not_started(record)]
    found = [*_texts(clues), *_killed(clues)]
    error = clues.trace
    if error is not None and not any(error.error in cause.text for cause in found):
        advice = tuple(text for word, text in _ADVICE.items() if _mentions(clues, word))
        where = (f"at {error.where}",) if error.where else ()
        found.insert(0, Cause("exception", error.error, True, where, _once(advice)))
    return found or [_plain(clues)]


def _once(texts: Sequence[str]) -> tuple[str, ...]:
    """Return texts, each once, in their order."""
    return tuple(dict.fromkeys(texts))


def _mentions(clues: Clues, word: str) -> bool:
    assert clues.trace is not None
    return word in clues.trace.error or any(word in line for line in clues.trace.lines)


def _plain(clues: Clues) -> Cause:
    """Return the end of a script that says nothing of its reason."""
    record = clues.record
    if record.exit_signal:
        name = signal_name(record.exit_signal)
        meaning = f": {_SIGNALS[name]}" if name in _SIGNALS else ""
        return Cause("signal", f"died of {name}{meaning}", True, tuple(clues.kernel[-3:]))
    code = record.exit_code or 0
    if 128 < code < 128 + signal.NSIG:
        name = signal_name(code - 128)
        return Cause("exit", f"{record.ending}, as of a shell whose command died of {name}", False)
    if code == 127:
        return Cause("exit", f"{record.ending}, as of a shell that did not find the command", False)
    text = f"the script ended by itself with {record.ending}, without a traceback"
    return Cause("exit", text, True, (), ("look for `sys.exit(` or `exit` in the script",))


def _not_started(record: OperationRecord) -> Cause:
    error = str((record.exit_fact() or {}).get("error"))
    advice = {
        126: "make it executable, or name its interpreter in the project file",
        127: "`gl check` says which commands of the project are not there",
    }.get(record.exit_code or 0)
    text = "the command could not be executed" if record.exit_code == 126 else (
        "no such command" if record.exit_code == 127 else "the script was not started"
    )  # fmt: skip
    return Cause("not started", f"{record.ending.partition(':')[0]}: {text}", True, (error,),
                 (advice,) if advice else ())  # fmt: skip


# What was printed ---------------------------------------------------------------------------------


def _texts(clues: Clues) -> Iterator[Cause]:
    """Yield causes that the script's or gl's own words name."""
    line = clues.line_with(_OUT_OF_GPU)
    if line is None and clues.trace is not None and clues.trace.kind == "OutOfMemoryError":
        line = clues.trace.error
    if line is not None:
        full = (clues.measured.gpu_text,) if clues.measured.gpu_text else ()
        yield Cause("gpu memory", f"the GPU's memory was full: {line}", True,
                    (*_place(clues), *full), (_GPU_ADVICE,))  # fmt: skip
    elif (line := clues.line_with(_OUT_OF_MEMORY)) is not None:
        seen = (clues.measured.used_text,) if clues.measured.used_text else ()
        yield Cause("memory", f"out of memory: {line}", True, (*_place(clues), *seen),
                    (_MEMORY_ADVICE,))  # fmt: skip
    yield from _disk(clues)


def _place(clues: Clues) -> tuple[str, ...]:
    return (f"at {clues.trace.where}",) if clues.trace and clues.trace.where else ()


def _disk(clues: Clues) -> Iterator[Cause]:
    line = clues.line_with(_OUT_OF_SPACE)
    own = next((line for line in reversed(clues.notices) if _OUT_OF_SPACE.search(line)), None)
    exited = clues.record.exit_fact() or {}
    free, inodes = exited.get("disk_free"), exited.get("inodes_free")
    evidence = [*_place(clues)] if line else []
    if own is not None:
        evidence.append(f"gl itself could not write: {own}")
    if isinstance(free, int):
        evidence.append(f"{format_size(free)} were free on the disk of the run when it ended")
    if inodes == 0:
        evidence.append("no more files could be made there (no inodes left)")
    full = (isinstance(free, int) and free < _NO_SPACE_BYTES) or inodes == 0
    if line is None and own is None and not full:
        return
    room = isinstance(free, int) and free > _ROOM_BYTES and own is None and inodes != 0
    usual = _OTHER_DISK_ADVICE if room else _DISK_ADVICE
    advice = next((text for word, text in _ADVICE.items() if line and word in line), usual)
    said = f": {line}" if line else ""
    sure = line is not None or own is not None
    yield Cause("disk", f"the disk was full{said}", sure, tuple(evidence), (advice,))


# Killed -------------------------------------------------------------------------------------------


def _killed(clues: Clues) -> Iterator[Cause]:
    """Yield what is known of a SIGKILL, or of a child that the kernel killed."""
    record = clues.record
    own = record.exit_signal == signal.SIGKILL or record.exit_code == 128 + signal.SIGKILL
    evidence = [*_kernel_evidence(clues), *_counted(clues)]
    named = _names_it(clues)
    share = clues.measured.used_share
    nearly = share is not None and share >= NEARLY_FULL
    if clues.measured.used_text and (own or evidence):
        evidence.append(clues.measured.used_text)
    if not own:
        if clues.kills.get("group"):
            text = "a process that it had started was killed by the kernel: out of memory"
            yield Cause("memory", text, False, tuple(evidence), (_MEMORY_ADVICE,))
        return
    if named or clues.kills.get("group"):
        text = "killed by the kernel: out of memory (SIGKILL)"
        yield Cause("memory", text, True, tuple(evidence), (_MEMORY_ADVICE,))
    elif clues.kills.get("host") or nearly:
        text = "died of SIGKILL, so likely the out-of-memory killer"
        yield Cause("memory", text, False, tuple(evidence), (_MEMORY_ADVICE,))
    else:
        known = ("no process of the machine was killed for want of memory meanwhile",)
        evidence += known if clues.kills.get("host") == 0 else ()
        shell = "" if record.exit_signal else ", as of a shell whose command died of SIGKILL"
        text = f"{record.ending}{shell}: {_SIGNALS['SIGKILL']}"
        yield Cause("signal", text, not shell, tuple(evidence))


def _kernel_evidence(clues: Clues) -> list[str]:
    lines = [line for line in clues.kernel if "illed process" in line]
    return [f"kernel: {line}" for line in lines[-2:]]


def _names_it(clues: Clues) -> bool:
    """Return whether the kernel's log says that it killed this very process."""
    training = ProcessIdentity.from_json((clues.record.started_fact() or {}).get("training"))
    if training is None or not training.boot.endswith(f"/{_FIRST_NAMESPACE}"):
        return False  # the kernel counts processes of containers otherwise
    pattern = re.compile(rf"[Kk]illed process {training.pid}\b")
    return any(pattern.search(line) for line in clues.kernel)


def _counted(clues: Clues) -> list[str]:
    found = []
    for name, where in (("group", "in its control group"), ("host", "on this machine")):
        count = clues.kills.get(name)
        if count and (name == "group" or not clues.kills.get("group")):
            was = "was" if count == 1 else "were"
            found.append(f"{format_count(count, 'process', 'processes')} {was} killed for want of"
                         f" memory {where} while it ran")  # fmt: skip
    return found


# Stopped and lost ---------------------------------------------------------------------------------


def _stopped(clues: Clues) -> Cause:
    record, stop = clues.record, clues.stop
    reason = str(stop.get("reason") or "asked")
    user = stop.get("user")
    by = f" by {user}" if isinstance(user, str) and user else ""
    asked = {
        "asked": f"a stop was asked for{by} (`gl stop`, Ctrl-C or the viewer)",
    }.get(reason, f"a stop was asked for{by}: {reason}")
    if not stop:
        asked = "a stop was asked for (`gl stop`, Ctrl-C or the viewer)"
    return Cause("stopped", asked, True, tuple(_end_of_stop(record, stop)))


def _end_of_stop(record: OperationRecord, stop: Mapping[str, object]) -> Iterator[str]:
    number, grace, moment = (stop.get(name) for name in ("signal", "grace_s", "time"))
    sent = signal_name(number) if isinstance(number, int) else "a signal"
    ended = record.stopped_at
    took = ""
    if isinstance(moment, (int, float)) and ended is not None and ended >= moment:
        took = f" {format_duration(ended - moment)} after it"
    if record.exit_signal == signal.SIGKILL and number != signal.SIGKILL:
        least = isinstance(grace, (int, float)) and grace
        within = f" in the {format_duration(float(grace))} it had" if least else ""  # type: ignore[arg-type]
        yield f"{sent} was sent; the script did not end{within}, so SIGKILL followed"
    elif record.exit_signal or record.exit_code is not None:
        yield f"{sent} was sent; the script ended{took}: {record.ending}"


def _lost(clues: Clues) -> Cause:
    started = clues.record.started_fact() or {}
    text = "script and supervisor are gone and neither left an exit status"
    seen = clues.last_sign
    evidence = [] if seen is None else [
        f"last sign of life {format_moment(seen)}, {format_duration(time.time() - seen)} ago"
    ]  # fmt: skip
    process = ProcessIdentity.from_json(started.get("supervisor") or started.get("training"))
    if process is None:
        text = "it was never started: what was to start it was killed"
        return Cause("lost", text, False, tuple(evidence))
    boot, _, _ = boot_token().partition("/")
    if not process.same_machine():
        return Cause("lost", f"{text}; it ran on {process.host}", False, tuple(evidence))
    if process.boot.partition("/")[0] != boot:
        evidence.append("the machine was started again since")
        return Cause("lost", f"{text}: the machine went down", True, tuple(evidence))
    evidence += _since_start(clues, started)
    return Cause("lost", f"{text}: they were killed together", True, tuple(evidence),
                 ("the end of a container or of a batch job kills all at once, `kill -9` of both"
                  " does too",))  # fmt: skip


def _since_start(clues: Clues, started: Mapping[str, object]) -> Iterator[str]:
    counted = started.get("oom_kills")
    before = counted.get("host") if isinstance(counted, dict) else None
    now = ControlGroups().host_oom_kills()
    if isinstance(before, int) and now is not None and now > before:
        count = format_count(now - before, "process", "processes")
        yield f"the kernel has killed {count} of this machine for want of memory since it started"
    if clues.measured.used_share is not None and clues.measured.used_share >= NEARLY_FULL:
        yield clues.measured.used_text
