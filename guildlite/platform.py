"""All that differs between systems: process identity, signals, locks, files, file systems.

Linux has everything. macOS has what `ps` and `sysctl` say: no pidfd, no subreaper. On Windows the
module imports, and `require_posix` says in one sentence what to do.

A process is known by pid, start token, boot token and host together, so that a recycled pid or a
reboot fools nobody. The start token is field 22 of /proc/PID/stat (ticks since boot), never
psutil's create_time, which moves when the wall clock is corrected.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from guildlite.errors import GuildliteError

LINUX = sys.platform == "linux"
WINDOWS = os.name == "nt"

#: File systems where another host may write too: no shared memory, so no WAL (sqlite.org/wal.html).
NETWORK_FILE_SYSTEMS = frozenset(
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs",
     "glusterfs", "orangefs", "pvfs2", "wekafs", "afpfs", "webdav", "fuse.sshfs", "fuse.s3fs",
     "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.ceph-fuse", "fuse.rclone",
     "fuse.davfs"]
)  # fmt: skip


def require_posix() -> None:
    """Raise on Windows, where runs cannot be started."""
    if WINDOWS:
        raise GuildliteError(
            "gl runs scripts on Linux and macOS only",
            hint="on Windows use WSL: `wsl --install`, then install guildlite inside it",
        )


# Process identity ---------------------------------------------------------------------------


class ProcessIdentity(NamedTuple):
    """What names one process for ever. `start` and `boot` are opaque and only compared."""

    pid: int
    start: str
    boot: str
    host: str

    @staticmethod
    def of(pid: int) -> ProcessIdentity:
        """Return the identity of a living process; its start token is empty if it is gone."""
        return ProcessIdentity(pid, start_token(pid) or "", boot_token(), host_name())

    @staticmethod
    def from_json(data: object) -> ProcessIdentity | None:
        """Return the identity in a fact's mapping, or None when it holds none."""
        if not isinstance(data, Mapping):
            return None
        pid = data.get("pid")
        if not isinstance(pid, int) or pid <= 0:
            return None
        return ProcessIdentity(
            pid, str(data.get("start", "")), str(data.get("boot", "")), str(data.get("host", ""))
        )

    def to_json(self) -> dict[str, object]:
        """Return the mapping that `from_json` takes."""
        return {"pid": self.pid, "start": self.start, "boot": self.boot, "host": self.host}

    def reachable(self) -> bool:
        """Return whether this process, if it lives, could be seen from here."""
        if self.host != host_name():
            return False
        mine, theirs = boot_token().split("/"), self.boot.split("/")
        # Same host, other boot: certainly dead, which is an answer. Same boot, other PID
        # namespace: its pids mean nothing here.
        return mine[0] != theirs[0] or mine == theirs

    def same_machine(self) -> bool:
        """Return whether this process runs or ran under this kernel or an earlier boot of it."""
        return self.host == host_name() or self.boot.split("/")[0] == boot_token().split("/")[0]

    def alive(self) -> bool:
        """Return whether exactly this process lives here and is not a zombie."""
        if self.boot != boot_token() or self.host != host_name():
            return False
        return bool(self.start) and start_token(self.pid) == self.start


def host_name() -> str:
    """Return this machine's name."""
    return os.uname().nodename if not WINDOWS else os.environ.get("COMPUTERNAME", "")


_boot_token: str | None = None


def boot_token() -> str:
    """Return a text that changes with each boot and differs between PID namespaces."""
    global _boot_token
    if _boot_token is None:
        _boot_token = _read_boot_token()
    return _boot_token


def _read_boot_token() -> str:
    if LINUX:
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
        except OSError:
            return "unknown"
    return _command_output("sysctl", "-n", "kern.bootsessionuuid") or "unknown"


def start_token(pid: int) -> str | None:
    """Return the start token of process `pid`, None when it is gone or a zombie."""
    if not LINUX:
        line = _command_output("ps", "-o", "stat=,lstart=", "-p", str(pid))
        return None if not line or line.startswith("Z") else line.split(None, 1)[-1]
    fields = _stat_fields(pid)
    return None if fields is None or fields[0] in ("Z", "X") else fields[19]


def _stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the command name: state, ppid, pgrp, session..."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The command name is in parentheses and may hold anything, parentheses too.
    fields = text.rpartition(b")")[2].decode("ascii", "replace").split()
    return fields if len(fields) > 19 else None


def _command_output(*words: str) -> str:
    import subprocess

    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


class ProcessRow(NamedTuple):
    """One row of the process table."""

    pid: int
    parent: int
    group: int
    session: int


def iter_processes() -> Iterator[ProcessRow]:
    """Yield the living processes (no zombies) that can be seen."""
    if LINUX:
        for name in os.listdir("/proc"):
            if name.isdigit():
                fields = _stat_fields(int(name))
                if fields is not None and fields[0] not in ("Z", "X"):
                    yield ProcessRow(int(name), int(fields[1]), int(fields[2]), int(fields[3]))
        return
    for line in _command_output("ps", "-axo", "pid=,ppid=,pgid=,sess=,stat=").splitlines():
        words = line.split()
        if len(words) == 5 and not words[4].startswith("Z"):
            session = int(words[3]) if words[3].isdigit() else 0
            yield ProcessRow(int(words[0]), int(words[1]), int(words[2]), session)


def environment_value(pid: int, name: str) -> str | None:
    """Return a variable of another process's starting environment, None when not to be had."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = file.read()
    except OSError:
        return None
    wanted = name.encode() + b"="
    for entry in data.split(b"\0"):
        if entry.startswith(wanted):
            return os.fsdecode(entry[len(wanted) :])
    return None


# Signals ------------------------------------------------------------------------------------


def signal_process(process: ProcessIdentity, number: int) -> bool:
    """Send a signal to exactly this process; False when it is gone. Never hits a stranger."""
    if not hasattr(os, "pidfd_open"):
        if not process.alive():
            return False
        return _kill(process.pid, number)
    try:
        # The descriptor is opened before the comparison, so the target cannot change under it.
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if not process.alive():
            return False
        signal.pidfd_send_signal(descriptor, number)
    except (OSError, ProcessLookupError):
        return False
    finally:
        os.close(descriptor)
    return True


def signal_group(leader: ProcessIdentity, number: int) -> bool:
    """Send a signal to the process group whose leader this is; False when the leader is gone."""
    if not leader.alive():
        return False
    try:
        os.killpg(leader.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def user_name() -> str:
    """Return the name of the user of this process; the number where it has none."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # Containers run under numbers that have no name.
        return str(os.getuid()) if hasattr(os, "getuid") else ""


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9, and `signal 99` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def become_subreaper() -> bool:
    """Make orphaned descendants children of this process (Linux); False where it cannot be had."""
    if not LINUX:
        return False
    import ctypes

    pr_set_child_subreaper = 36
    try:
        return bool(ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


# Files --------------------------------------------------------------------------------------


def open_regular(path: str | os.PathLike[str]) -> FileIO:
    """Open a plain file for reading, unbuffered; raises OSError for anything else.

    A symbolic link is refused (ELOOP), and so is what is not a file (EINVAL); a FIFO of that name
    does not block. Scripts write the folders we read, and can put anything there.
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


class FileLock:
    """An advisory lock that ends with its holder, however that ends. One per process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; False when another holds it, or it cannot be had here."""
        import fcntl

        if self._descriptor is not None:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.path, flags, 0o644)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def acquire(self, timeout_s: float) -> bool:
        """Take the lock, waiting at most `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def release(self) -> None:
        """Let go; harmless when not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the kind of file system that holds `path`, as in `ext4` or `nfs4`; "" if unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    target = os.path.realpath(path)
    for line in lines:
        left, _, right = line.partition(" - ")
        words, kinds = left.split(), right.split()
        if len(words) < 5 or not kinds:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[4])
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):  # a later mount on the same place hides the earlier
            best, kind = mount, kinds[0]
    return kind


def is_network_file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Return whether another host may write the same files."""
    return file_system(path, mounts) in NETWORK_FILE_SYSTEMS


def sync_directory(path: Path) -> None:
    """Make a rename or a new name in `path` survive a power cut; quietly where not supported."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
