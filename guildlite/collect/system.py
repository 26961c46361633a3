"""The host and the run's own processes, through psutil.

Series keys are those of docs/reference: `sys/...` for the host, `op/...` for the process tree of
the run. Utilisation is 0 to 1 (`op/cpu/util` counts cores: 2.0 is two of them busy), sizes are
bytes, rates bytes per second since the sample before, so the first sample has none. What a system
or its permissions do not offer is left out.

psutil takes 18 ms to import and is loaded when a collector is probed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from guildlite.collect.collector import RunClock, Unavailable, prefixed
from guildlite.series import Point, Reading

if TYPE_CHECKING:
    import psutil

#: Kernels with CONFIG_PROC_CHILDREN (all distributions) list children per thread; without it
#: psutil has to read every process of the host.
_LISTS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()


class SystemCollector:
    """Samples the host and the tree of processes under `process()`.

    `process` returns the id of the run's first process, None when it is not alive. `prefix` is the
    name of a later operation, which then begins every key.
    """

    name = "system"

    def __init__(
        self, process: Callable[[], int | None], started_at_ms: int, prefix: str = ""
    ) -> None:
        self._prefix = prefix
        self._clock = RunClock(started_at_ms)
        self._host = _Host()
        self._operation = _Operation(ProcessTree(process))

    def probe(self) -> dict[str, str]:
        """Return no attributes (the hardware is a fact, read once); say when psutil is missing."""
        try:
            import psutil  # noqa: F401
        except ImportError as error:
            raise Unavailable(f"psutil cannot be imported: {error}") from None
        return {}

    def sample(self, final: bool = False) -> Iterator[Reading]:
        """Yield one reading with a point for each series that can be measured now."""
        step, moment = self._clock.now()
        now_s = time.monotonic()
        values = {**self._host.sample(now_s), **self._operation.sample(now_s)}
        if values:
            yield Reading(
                points={
                    prefixed(self._prefix, key): [Point(step, moment, value)]
                    for key, value in values.items()
                }
            )

    def close(self) -> None:
        """Hold nothing."""


class ProcessTree:
    """The processes of a run: those under its first process, and those that left it since.

    A process that was once seen in the tree stays in it when its parent ends; one that detached
    itself between two looks is never seen.
    """

    def __init__(self, root: Callable[[], int | None]) -> None:
        self._root = root
        self._known: dict[int, psutil.Process] = {}

    def processes(self) -> list[psutil.Process]:
        """Return the processes alive now, parents before the children found under them."""
        import psutil

        root = self._root()
        seeds = [] if root is None else [root]
        seeds += [pid for pid, process in self._known.items() if _is_alive(process)]
        found: dict[int, psutil.Process] = {}
        while seeds:
            pid = seeds.pop(0)
            if pid in found:
                continue
            try:
                process = self._known.get(pid)
                if process is None or not process.is_running():
                    process = psutil.Process(pid)
                found[pid] = process
                seeds += _children(process)
            except psutil.Error:
                continue
        self._known = found
        return list(found.values())


class _Rates:
    """Differences per second of counters that only grow."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._at_s: float | None = None

    def sample(self, now_s: float, counters: dict[str, float]) -> dict[str, float]:
        elapsed_s = 0.0 if self._at_s is None else now_s - self._at_s
        rates = {}
        if elapsed_s > 0:
            for key in counters.keys() & self._before.keys():
                # Counters fall when a device or process goes away.
                rates[key] = max(0.0, counters[key] - self._before[key]) / elapsed_s
        self._before, self._at_s = counters, now_s
        return rates


class _Host:
    """Processors, memory, disks and network of the machine."""

    def __init__(self) -> None:
        self._rates = _Rates()
        self._cpus: list[tuple[float, float]] = []

    def sample(self, now_s: float) -> dict[str, float]:
        values = self._cpu()
        values.update(_memory())
        values.update(self._rates.sample(now_s, _device_counters()))
        return values

    def _cpu(self) -> dict[str, float]:
        import psutil

        before, self._cpus = self._cpus, [_busy_and_total(cpu) for cpu in psutil.cpu_times(True)]
        # A processor taken offline shifts the numbers of those after it.
        if len(before) != len(self._cpus):
            return {}
        values = {}
        busy = total = 0.0
        for number, (then, now) in enumerate(zip(before, self._cpus, strict=True)):
            more_busy, more_total = max(0.0, now[0] - then[0]), max(0.0, now[1] - then[1])
            busy, total = busy + more_busy, total + more_total
            if more_total > 0:
                values[f"sys/cpu{number}/util"] = min(1.0, more_busy / more_total)
        if total > 0:
            values["sys/cpu/util"] = min(1.0, busy / total)
        return values


class _Operation:
    """What the run's own processes use."""

    def __init__(self, tree: ProcessTree) -> None:
        self._tree = tree
        self._io = _Rates()
        self._cpu: dict[int, tuple[float, float]] = {}
        self._cpu_at_s: float | None = None

    def sample(self, now_s: float) -> dict[str, float]:
        used = [_use(process) for process in self._tree.processes()]
        if not used:
            self._cpu_at_s = None
            return {}
        values = {}
        cpu = {use.pid: (use.own_s, use.own_s + use.ended_s) for use in used}
        if self._cpu_at_s is not None and now_s > self._cpu_at_s:
            values["op/cpu/util"] = cpu_seconds(self._cpu, cpu) / (now_s - self._cpu_at_s)
        self._cpu, self._cpu_at_s = cpu, now_s
        values["op/mem/rss"] = float(sum(use.rss for use in used))
        values["op/threads"] = float(sum(use.threads for use in used))
        read = [use.read for use in used if use.read is not None]
        written = [use.written for use in used if use.written is not None]
        if read and written:
            io = {"op/io/read": float(sum(read)), "op/io/write": float(sum(written))}
            values.update(self._io.sample(now_s, io))
        return values


def cpu_seconds(
    before: dict[int, tuple[float, float]], now: dict[int, tuple[float, float]]
) -> float:
    """Return the processor time a tree used between two looks, in seconds.

    Both map a process id to (its own time, that time with all its ended children's). A child that
    ended is counted in its parent, except where the system does not hand its time on (SIGCHLD
    ignored, parent ended first); what the living used is then the better lower bound.
    """
    handed_on = sum(total for _, total in now.values()) - sum(total for _, total in before.values())
    living = 0.0
    for pid, (own, _) in now.items():
        then = before.get(pid, (0.0, 0.0))[0]
        # Less than before is another process under a number used again.
        living += own - then if own >= then else own
    return max(handed_on, living, 0.0)


class _Use(NamedTuple):
    """What one process uses: seconds of processor, bytes; None where that may not be seen."""

    pid: int
    own_s: float = 0.0
    ended_s: float = 0.0
    rss: int = 0
    threads: int = 0
    read: int | None = None
    written: int | None = None


def _use(process: psutil.Process) -> _Use:
    import psutil

    use = _Use(process.pid)
    try:
        with process.oneshot():
            cpu = process.cpu_times()
            use = use._replace(
                own_s=cpu.user + cpu.system,
                ended_s=cpu.children_user + cpu.children_system,
            )
            use = use._replace(rss=process.memory_info().rss)
            use = use._replace(threads=process.num_threads())
            # macOS has no counters per process.
            counters = process.io_counters() if hasattr(process, "io_counters") else None
            if counters is not None:
                use = use._replace(read=counters.read_bytes, written=counters.write_bytes)
    except (psutil.Error, OSError):
        # Gone or not ours: what was learnt until then stands.
        pass
    return use


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running()
    except psutil.Error:
        return False


def _children(process: psutil.Process) -> list[int]:
    if not _LISTS_CHILDREN:
        return [child.pid for child in process.children()]
    children: list[int] = []
    try:
        for task in os.scandir(f"/proc/{process.pid}/task"):
            try:
                with open(f"{task.path}/children", "rb") as file:
                    children += [int(pid) for pid in file.read().split()]
            except OSError:
                continue
    except OSError:
        pass
    return children


def _busy_and_total(cpu: object) -> tuple[float, float]:
    """Return the busy and all seconds of one processor; waiting for a disk is idle."""
    fields = cpu._asdict()  # type: ignore[attr-defined]
    # Linux counts guests in user and nice as well.
    total = sum(fields.values()) - fields.get("guest", 0.0) - fields.get("guest_nice", 0.0)
    return total - fields["idle"] - fields.get("iowait", 0.0), total


def _memory() -> dict[str, float]:
    import psutil

    memory = psutil.virtual_memory()
    values = {
        "sys/mem/util": (memory.total - memory.available) / memory.total,
        "sys/mem/used": float(memory.used),
        "sys/mem/available": float(memory.available),
    }
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError):
        return values
    # A machine without swap has none in use.
    values["sys/swap/util"] = swap.used / swap.total if swap.total else 0.0
    return values


def _device_counters() -> dict[str, float]:
    """Return bytes through all disks, and all networks but the loopback, since boot."""
    import psutil

    counters: dict[str, float] = {}
    try:
        disks = psutil.disk_io_counters(nowrap=False)
        if disks is not None:
            counters["sys/disk/read"] = float(disks.read_bytes)
            counters["sys/disk/write"] = float(disks.write_bytes)
    except (OSError, RuntimeError):
        # Containers may hide /proc/diskstats.
        pass
    try:
        networks = psutil.net_io_counters(pernic=True, nowrap=False)
    except OSError:
        return counters
    real = [each for name, each in networks.items() if not _is_loopback(name)]
    if real:
        counters["sys/net/sent"] = float(sum(each.bytes_sent for each in real))
        counters["sys/net/received"] = float(sum(each.bytes_recv for each in real))
    return counters


def _is_loopback(name: str) -> bool:
    # `lo` on Linux, `lo0` on macOS.
    return name.startswith("lo") and name[2:] in ("", "0")
