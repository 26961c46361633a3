"""What control groups (versions 1 and 2) allow a process, and whom the kernel killed in them.

Read before a script starts and right after it ended, so this loads nothing but what Python has
loaded anyway, and answers with less rather than with an error. `root` is where /proc and /sys are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class ControlGroups:
    """The groups of this process at this moment, and those around them as far as they are seen."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._paths: dict[str, str] = {}
        for line in read_text(root / "proc/self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            for controller in controllers.split(","):
                self._paths[controller] = path

    def cpus(self) -> float | None:
        """Return processors, as a fraction where it is one, or None without a limit."""
        found = []
        for folder in self._folders(""):
            quota, _, period = read_text(folder / "cpu.max").strip().partition(" ")
            if quota.isdigit() and period.isdigit():
                found.append(int(quota) / int(period))
        for folder in self._folders("cpu"):
            quota = read_text(folder / "cpu.cfs_quota_us").strip()
            period = read_text(folder / "cpu.cfs_period_us").strip()
            if quota.isdigit() and period.isdigit() and int(quota) and int(period):
                found.append(int(quota) / int(period))
        return min(found, default=None)

    def memory_bytes(self) -> int | None:
        """Return the limit, or None; "no limit" in version 1 is a number larger than any memory."""
        texts = [read_text(folder / "memory.max") for folder in self._folders("")]
        texts += [read_text(each / "memory.limit_in_bytes") for each in self._folders("memory")]
        return min((int(text) for text in texts if text.strip().isdigit()), default=None)

    def oom_kills(self) -> int | None:
        """Return how many processes of the group were ever killed for want of memory, or None.

        Each kill is counted in the group of who was killed, whichever limit was hit: version 2
        has it in memory.events, groups inside counted too, version 1 in memory.oom_control.
        """
        for controller, name in (("", "memory.events"), ("memory", "memory.oom_control")):
            for folder in reversed([*self._folders(controller)]):
                count = _counter(read_text(folder / name), "oom_kill")
                if count is not None:
                    return count
        return None

    def host_oom_kills(self) -> int | None:
        """Return how many processes of the machine were ever killed for want of memory, or None."""
        return _counter(read_text(self._root / "proc/vmstat"), "oom_kill")

    def _folders(self, controller: str) -> Iterator[Path]:
        """Yield the group's folder and those above it, from the top; "" is version 2."""
        if controller not in self._paths:
            return
        top = self._root / "sys/fs/cgroup" / controller
        yield top
        parts = self._paths[controller].strip("/").split("/")
        # Seen from inside a container the group may lie outside of what is mounted.
        if ".." not in parts:
            for depth in range(1, len(parts) + 1):
                yield top.joinpath(*parts[:depth])


def _counter(text: str, name: str) -> int | None:
    for line in text.splitlines():
        word, _, count = line.partition(" ")
        if word == name and count.strip().isdigit():
            return int(count)
    return None


def read_text(path: Path) -> str:
    """Return the text of a small file, "" where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
