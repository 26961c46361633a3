"""What the moment of a script's end says about its cause, and nobody can see any more later.

Counters of killed processes before and after, free disk space and the most memory go into
exit.json. The kernel's own words, where it lets us read them, go into kernel.json beside it: they
name who was killed, which processor fault it was, and what the GPU's driver reported. Nothing here
raises.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from guildlite.collect.cgroups import ControlGroups
from guildlite.runs.facts import write_fact
from guildlite.runs.paths import OperationPaths

#: Where Linux keeps its log; each read gives one record.
KERNEL_LOG = Path("/dev/kmsg")
#: Records of the kernel's log that are looked at, lines that are kept, characters of each.
_MOST_RECORDS, _MOST_LINES, _LONGEST_LINE = 50_000, 20, 400
#: How long the log may be read, seconds.
_PATIENCE_S = 0.5
#: What the kernel writes when it kills for want of memory, when a process touches memory that is
#: not its own or executes nonsense, and what NVIDIA's driver writes of a GPU's fault.
_TELLING = re.compile(
    r"killed process \d+|oom-kill:|\[\d+\]: segfault at|traps: .*\[\d+\]|NVRM: Xid", re.IGNORECASE
)


class Kills(NamedTuple):
    """Processes ever killed for want of memory: in the script's control group, on the machine.

    None where the system does not count them.
    """

    group: int | None
    host: int | None

    @staticmethod
    def now(root: Path = Path("/")) -> Kills:
        """Return the counters; a script started now counts in the same group."""
        try:
            groups = ControlGroups(root)
            return Kills(groups.oom_kills(), groups.host_oom_kills())
        except Exception:
            return Kills(None, None)

    def since(self, before: Kills) -> dict[str, int]:
        """Return by how much the counters grew; what is not counted is left out."""
        pairs = zip(self._fields, before, self, strict=True)
        return {
            name: now - then for name, then, now in pairs if then is not None and now is not None
        }


def end_evidence(
    run_dir: Path, before: Kills, most_rss: int | None = None, root: Path = Path("/")
) -> dict[str, object]:
    """Return what exit.json says beyond how the script ended.

    `most_rss` is what the system says of the largest process of the script, in its own unit.
    """
    found: dict[str, object] = {}
    kills = Kills.now(root).since(before)
    if kills:
        found["oom_kills"] = kills
    if most_rss:
        found["max_rss"] = most_rss if sys.platform == "darwin" else most_rss * 1024
    try:
        disk = os.statvfs(run_dir)
    except OSError:
        return found
    found["disk_free"] = disk.f_bavail * disk.f_frsize
    if disk.f_files:  # file systems that make inodes as they need them say 0
        found["inodes_free"] = disk.f_favail
    return found


def keep_kernel_lines(
    paths: OperationPaths, since_s: float, log: Path = KERNEL_LOG
) -> None:  # fmt: skip
    """Write the kernel's telling lines since `since_s` (time.monotonic) to kernel.json, if any."""
    try:
        lines = [*_kernel_lines(log, since_s)][-_MOST_LINES:]
        if lines:
            write_fact(paths.kernel, {"lines": lines})
    except OSError:
        pass


def _kernel_lines(log: Path, since_s: float) -> Iterator[str]:
    """Yield the telling lines of the kernel's log; none where it may not be read."""
    deadline = time.monotonic() + _PATIENCE_S
    descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for _ in range(_MOST_RECORDS):
            try:
                record = os.read(descriptor, 8192)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # overwritten while it was read
            if not record or time.monotonic() > deadline:
                return
            # `6,1234,98765432,-;text`: level, number, microseconds since the machine started.
            head, _, text = record.decode("utf-8", "replace").partition(";")
            fields = head.split(",")
            moment_s = int(fields[2]) / 1e6 if len(fields) > 2 and fields[2].isdigit() else 0.0
            line = text.partition("\n")[0]
            # The kernel's clock is not exactly ours.
            if moment_s >= since_s - 1 and _TELLING.search(line):
                yield line[:_LONGEST_LINE]
    finally:
        os.close(descriptor)
