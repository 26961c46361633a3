"""What is captured once about a run's surroundings: code version, packages, machine, environment.

Everything here is read after the script has started, is bounded in time and size, and answers with
less rather than with an error. Nothing needs psutil, importlib.metadata or NVML, which cost more
than a short script; and since `count_gpus` is needed before the script starts, this module loads
nothing by itself but what Python has loaded anyway.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from guildlite.collect.cgroups import ControlGroups, read_text

#: Bytes of a diff that are kept.
MOST_DIFF = 5 * 1024 * 1024
#: Names of untracked files that are kept; all are counted.
MOST_UNTRACKED = 100
#: Bytes of `git status` that are read; a repository with more changes than that is a data store.
_MOST_STATUS = 4 * 1024 * 1024
#: Characters of one environment value.
_LONGEST_VALUE = 4096


class GitFacts(NamedTuple):
    """The state of the repository a directory lies in.

    `commit` is empty before the first one, `branch` when HEAD is detached. `dirty` says that
    tracked files differ from the commit; `diff` is that difference as `git apply` takes it, None
    when clean, too large or not readable in time. Untracked files are counted and named, never
    read.
    """

    commit: str
    branch: str
    dirty: bool
    diff: bytes | None = None
    remote: str | None = None
    untracked_count: int = 0
    untracked: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def read_git(directory: Path, timeout_s: float = 10) -> GitFacts | None:
    """Return the state of the repository around `directory`.

    None without git, outside a repository, or when git does not answer in time or refuses.
    Takes no lock, starts no hook, pager or diff program, and uses no network.
    """
    deadline_s = time.monotonic() + timeout_s
    status = _read_status(directory, deadline_s)
    if status is None:
        return None
    notices = []
    diff = None
    if status.dirty and status.commit:
        diff = _git(directory, _DIFF, deadline_s, MOST_DIFF)
        if diff is None:
            notices.append(f"the changes since the commit are more than {MOST_DIFF // 2**20} MiB "
                           "or took too long to read, and are not kept")  # fmt: skip
    if not status.commit:
        notices.append("the repository has no commit yet")
    if status.untracked_count < 0:
        notices.append("untracked files took too long to find")
    urls = _git(directory, ["config", "--get-regexp", r"^remote\..*\.url$"], deadline_s, 65536)
    return GitFacts(
        commit=status.commit,
        branch=status.branch,
        dirty=status.dirty,
        diff=diff or None,
        remote=_remote(urls or b""),
        untracked_count=max(0, status.untracked_count),
        untracked=status.untracked,
        notices=tuple(notices),
    )


#: Whatever the user's settings make of `git diff`, this is what `git apply` takes.
_DIFF = [
    *("diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=dirty"),
]


class _Status:
    def __init__(self) -> None:
        self.commit = ""
        self.branch = ""
        self.dirty = False
        #: -1 when nobody looked.
        self.untracked_count = 0
        self.untracked: tuple[str, ...] = ()


def _read_status(directory: Path, deadline_s: float) -> _Status | None:
    command = ["status", "--porcelain=v2", "--branch", "-z", "--ignore-submodules=dirty"]
    # Looking for untracked files can take minutes in a folder of data; the commit never does.
    half_s = time.monotonic() + (deadline_s - time.monotonic()) / 2
    text = _git(directory, [*command, "--untracked-files=normal"], half_s, _MOST_STATUS)
    if text is not None:
        return _parse_status(text)
    text = _git(directory, [*command, "--untracked-files=no"], deadline_s, _MOST_STATUS)
    if text is None:
        return None
    status = _parse_status(text)
    status.untracked_count = -1
    return status


def _parse_status(text: bytes) -> _Status:
    status = _Status()
    untracked: list[str] = []
    entries = iter(text.decode("utf-8", "replace").split("\0"))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if kind == "#":
            name, _, value = rest.partition(" ")
            if name == "branch.oid" and value != "(initial)":
                status.commit = value
            elif name == "branch.head" and value != "(detached)":
                status.branch = value
        elif kind in ("1", "2", "u"):
            status.dirty = True
            if kind == "2":
                # A rename is followed by the old name.
                next(entries, None)
        elif kind == "?":
            untracked.append(rest)
    status.untracked_count = len(untracked)
    status.untracked = tuple(untracked[:MOST_UNTRACKED])
    return status


def _git(directory: Path, command: list[str], deadline_s: float, most: int) -> bytes | None:
    """Return what a git command prints, None when it fails, prints too much or takes too long."""
    import subprocess

    # `git diff` refreshes the index even with GIT_OPTIONAL_LOCKS=0.
    settings = ("core.fsmonitor=false", "core.quotePath=false", "diff.autoRefreshIndex=false")
    options = ["--no-pager", *(word for setting in settings for word in ("-c", setting))]
    try:
        process = subprocess.Popen(
            ["git", *options, *command],
            cwd=directory,
            env=_git_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Filters that git starts end with it.
            start_new_session=True,
        )
    except OSError:
        return None
    assert process.stdout is not None
    with process.stdout:
        text = _read_until(process.stdout.fileno(), deadline_s, most)
    try:
        if text is not None and process.wait(max(0.1, deadline_s - time.monotonic())) == 0:
            return text
    except subprocess.TimeoutExpired:
        pass
    _kill_group(process.pid)
    process.wait()
    return None


def _git_environment() -> dict[str, str]:
    # A run started from a git hook inherits GIT_DIR and GIT_INDEX_FILE of another moment.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment.update(
        GIT_OPTIONAL_LOCKS="0",
        GIT_TERMINAL_PROMPT="0",
        GIT_NO_LAZY_FETCH="1",
        GIT_ALLOW_PROTOCOL="none",
        LC_ALL="C",
    )
    return environment


def _read_until(fd: int, deadline_s: float, most: int) -> bytes | None:
    """Return all that comes from `fd`; None past the deadline or `most` bytes."""
    import select

    parts: list[bytes] = []
    size = 0
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
            return None
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        size += len(part)
        if size > most:
            return None
        parts.append(part)


def _kill_group(pid: int) -> None:
    import signal

    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass


def _remote(text: bytes) -> str | None:
    """Return the address of `origin`, else of the first remote, without user and password."""
    urls = {}
    for line in text.decode("utf-8", "replace").splitlines():
        key, _, url = line.partition(" ")
        urls[key] = url
    if not urls:
        return None
    return without_credentials(urls.get("remote.origin.url") or next(iter(urls.values())))


def without_credentials(url: str) -> str:
    """Return a URL without what stands before `@` in its host part and after `?`.

    The short form `git@host:path` has no room for a password and stays.
    """
    match = re.match(r"([a-z][a-z0-9+.-]*://)(?:[^/?#]*@)?([^?#]*)", url, re.I)
    return match[1] + match[2] if match else url


def list_packages(site_dirs: Sequence[Path]) -> list[tuple[str, str]]:
    """Return (name, version) of the packages installed in `site_dirs`, sorted by name.

    Names are as PEP 503 has them. Of a package in two directories the first counts, as it does for
    `import`. A development install by setup.py has no version in its name: it is "".
    """
    packages: dict[str, str] = {}
    for directory in site_dirs:
        try:
            entries = sorted(os.listdir(directory))
        except OSError:
            continue
        for entry in entries:
            stem, _, kind = entry.rpartition(".")
            # pip renames what it is about to remove to `~name`.
            if kind not in ("dist-info", "egg-info") or entry.startswith("~"):
                continue
            name, _, version = stem.partition("-")
            if kind == "egg-info":
                version = version.partition("-py")[0]
            packages.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return sorted(packages.items())


def read_hardware(cache: Path | None = None, root: Path = Path("/")) -> dict[str, str]:
    """Return attributes of the machine: `host`, `user`, `os`, `kernel`, `cpu.*`, `memory.*`.

    `cpu.cores` are physical and `cpu.threads` logical processors, `cpu.available` those this
    process may use (a limit of 1.5 processors is `1.5`), `memory.total` and `memory.limit` bytes.
    What the machine does not tell is left out. What stays the same until the next start of the
    machine is kept in the folder `cache` (default: the user's cache directory), because the kernel
    asks every processor for its speed to answer. `root` is where /proc and /sys are.
    """
    import socket

    from guildlite.platform import user_name

    facts = {"host": socket.gethostname(), "user": user_name()}
    facts.update(_cached_machine(cache, root))
    limits = ControlGroups(root)
    available = _available_cpus(limits)
    if available:
        facts["cpu.available"] = available
    memory_limit = limits.memory_bytes()
    if memory_limit is not None and memory_limit < int(facts.get("memory.total", memory_limit + 1)):
        facts["memory.limit"] = str(memory_limit)
    return facts


def _cached_machine(cache: Path | None, root: Path) -> dict[str, str]:
    from guildlite.cache import CacheFile
    from guildlite.platform import boot_token, host_name

    # A home directory may be shared by many hosts.
    kept, boot = CacheFile("hardware", host_name(), root=cache), boot_token()
    stored = kept.read(boot)
    if isinstance(stored, dict):
        return stored
    facts = _read_machine(root)
    kept.write(facts, boot)
    return facts


def _read_machine(root: Path) -> dict[str, str]:
    import platform as system_platform

    facts = {
        "os": _system_name(root),
        "kernel": system_platform.release(),
        "machine": system_platform.machine(),
    }
    facts.update(_macos_machine() if sys.platform == "darwin" else _linux_machine(root))
    return {key: value for key, value in facts.items() if value}


def _system_name(root: Path) -> str:
    import platform as system_platform

    for line in read_text(root / "etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip("\"'")
    if sys.platform == "darwin":
        return f"macOS {system_platform.mac_ver()[0]}"
    return system_platform.system()


def _linux_machine(root: Path) -> dict[str, str]:
    facts = parse_cpuinfo(read_text(root / "proc/cpuinfo"))
    match = re.search(r"^MemTotal:\s+(\d+) kB", read_text(root / "proc/meminfo"), re.M)
    if match:
        facts["memory.total"] = str(int(match[1]) * 1024)
    return facts


def parse_cpuinfo(text: str) -> dict[str, str]:
    """Return `cpu.model`, `cpu.cores`, `cpu.threads` from the text of /proc/cpuinfo.

    ARM machines name neither model nor cores there; what is missing is left out.
    """
    blocks = []
    for block in text.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
        if "processor" in fields:
            blocks.append(fields)
    facts = {}
    if blocks:
        facts["cpu.threads"] = str(len(blocks))
        if blocks[0].get("model name"):
            facts["cpu.model"] = " ".join(blocks[0]["model name"].split())
    cores = {(each.get("physical id"), each["core id"]) for each in blocks if "core id" in each}
    if cores:
        facts["cpu.cores"] = str(len(cores))
    return facts


#: What `sysctl` calls our attributes on macOS.
_SYSCTL = {
    "machdep.cpu.brand_string": "cpu.model",
    "hw.physicalcpu": "cpu.cores",
    "hw.logicalcpu": "cpu.threads",
    "hw.memsize": "memory.total",
}


def _macos_machine() -> dict[str, str]:
    import subprocess

    try:
        text = subprocess.run(
            ["sysctl", *_SYSCTL], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.partition(": ") for line in text.splitlines())
    return {_SYSCTL[key]: value for key, _, value in pairs if key in _SYSCTL}


def _available_cpus(limits: ControlGroups) -> str | None:
    try:
        count: float = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        count = os.cpu_count() or 0
    quota = limits.cpus()
    if quota is not None:
        count = min(count, quota)
    return f"{round(count, 2):g}" if count else None


#: What changes how a script computes, and never holds a secret.
_ENVIRONMENT = frozenset(
    {
        *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_HOME"),
        *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG"),
        *("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
        *("PYTHONHASHSEED", "PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE"),
        "PYTHONDONTWRITEBYTECODE",
        *("PYTHONUNBUFFERED", "PYTHONWARNINGS", "PYTHONFAULTHANDLER", "PYTHONIOENCODING"),
        *("OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "OMP_SCHEDULE", "MKL_NUM_THREADS"),
        *("OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        *("KMP_AFFINITY", "KMP_BLOCKTIME", "MALLOC_ARENA_MAX", "LD_PRELOAD", "LD_LIBRARY_PATH"),
        *("NCCL_DEBUG", "NCCL_ALGO", "NCCL_PROTO", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"),
        *("NCCL_SOCKET_IFNAME", "TF_CPP_MIN_LOG_LEVEL", "TF_DETERMINISTIC_OPS", "TF_XLA_FLAGS"),
        *("TF_FORCE_GPU_ALLOW_GROWTH", "TF_GPU_ALLOCATOR", "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS"),
        *("JAX_PLATFORMS", "JAX_ENABLE_X64", "XLA_PYTHON_CLIENT_PREALLOCATE", "KERAS_BACKEND"),
        *("PYTORCH_CUDA_ALLOC_CONF", "TORCH_CUDA_ARCH_LIST", "TORCHDYNAMO_DISABLE"),
        *("PYTORCH_ENABLE_MPS_FALLBACK", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE"),
        *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"),
        *("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"),
        *("SLURM_NTASKS", "SLURM_PROCID", "SLURM_NNODES"),
        *("SLURM_JOB_NODELIST", "SLURM_JOB_PARTITION"),
        *("SLURM_CPUS_PER_TASK", "SLURM_GPUS", "PBS_JOBID", "LSB_JOBID", "JOB_ID"),
        *("CONDA_DEFAULT_ENV", "CONDA_PREFIX", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ"),
    }
)


def read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are recorded with a run, sorted: a short list of known names."""
    return {name: environ[name][:_LONGEST_VALUE] for name in sorted(_ENVIRONMENT & environ.keys())}


def count_gpus(environ: Mapping[str, str], root: Path = Path("/")) -> int:
    """Return how many NVIDIA GPUs a script started with `environ` can see, without asking NVML.

    CUDA_VISIBLE_DEVICES is read as CUDA does: it counts up to the first entry that is no device.
    `root` is where /proc and /dev are.
    """
    present = _present_gpus(root)
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    seen: set[str] = set()
    for entry in visible.split(","):
        device = entry.strip()
        is_index = device.isdigit() and (not present or int(device) < present)
        if device in seen or not (is_index or device.startswith(("GPU-", "MIG-"))):
            break
        seen.add(device)
    return len(seen)


def _present_gpus(root: Path) -> int:
    try:
        return len(os.listdir(root / "proc/driver/nvidia/gpus"))
    except OSError:
        pass
    try:
        names = os.listdir(root / "dev")
    except OSError:
        return 0
    return sum(1 for name in names if re.fullmatch(r"nvidia\d+", name))
