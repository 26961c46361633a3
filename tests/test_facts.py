"""Facts captured once: real repositories and directories, and files as other machines have them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guildlite.collect import facts
from guildlite.collect.facts import (
    count_gpus,
    list_packages,
    parse_cpuinfo,
    read_environment,
    read_git,
    read_hardware,
    without_credentials,
)


def git(repo: Path, *command: str, input: bytes | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", *identity, *command], cwd=repo, env=environment, input=input, check=True,
        capture_output=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    (repo / "src").mkdir(parents=True)
    git(repo, "init", "-q", "-b", "main")
    (repo / "src" / "train.py").write_text("print(1)\n")
    (repo / "grün name.txt").write_text("x\n")
    (repo / "weights.bin").write_bytes(bytes(range(256)))
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "first")
    return repo


def test_a_clean_repository(repo: Path) -> None:
    found = read_git(repo / "src")
    assert found is not None
    assert found.commit == git(repo, "rev-parse", "HEAD")
    assert (found.branch, found.dirty, found.diff, found.remote) == ("main", False, None, None)
    assert (found.untracked_count, found.untracked, found.notices) == (0, (), ())


def test_changes_can_be_applied_again(repo: Path, tmp_path: Path) -> None:
    (repo / "src" / "train.py").write_text("print(2)\n")
    (repo / "weights.bin").write_bytes(bytes(reversed(range(256))))
    (repo / "added.py").write_text("new\n")
    git(repo, "add", "added.py")
    git(repo, "mv", "grün name.txt", "renamed.txt")
    # Settings of the user that would make the diff unreadable for `git apply`.
    for setting in ("diff.noprefix true", "color.ui always", "diff.external false",
                    "diff.relative true", "core.pager false"):  # fmt: skip
        git(repo, "config", *setting.split())
    found = read_git(repo / "src")
    assert found is not None and found.dirty and found.diff
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    git(clone, "apply", "--index", input=found.diff)
    tree_of_changes = git(repo, "stash", "create") + "^{tree}"
    assert git(clone, "write-tree") == git(repo, "rev-parse", tree_of_changes)


def test_untracked_files_are_named_not_read(repo: Path) -> None:
    for number in range(105):
        (repo / f"new{number:03d}").write_text("secret")
    (repo / "data").mkdir()
    (repo / "data" / "x").write_text("secret")
    found = read_git(repo)
    assert found is not None and not found.dirty and found.diff is None
    assert found.untracked_count == 106 and len(found.untracked) == 100
    assert found.untracked[:2] == ("data/", "new000")


def test_a_large_diff_is_left_out(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MOST_DIFF", 2**20)
    (repo / "src" / "train.py").write_text("x = 1\n" * 400_000)
    found = read_git(repo)
    assert found is not None and found.dirty and found.diff is None
    assert found.notices == (
        "the changes since the commit are more than 1 MiB or took too long to read, "
        "and are not kept",
    )


def test_detached_and_before_the_first_commit(repo: Path, tmp_path: Path) -> None:
    git(repo, "checkout", "-q", "--detach")
    found = read_git(repo)
    assert found is not None and found.branch == "" and found.commit
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q", "-b", "trunk")
    found = read_git(empty)
    assert found is not None and (found.commit, found.branch) == ("", "trunk")
    assert found.notices == ("the repository has no commit yet",)


def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_git(tmp_path) is None
    assert read_git(tmp_path / "missing") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_git(Path(__file__).parent) is None


def test_reading_changes_nothing_and_starts_nothing(repo: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{witness}'\ncat \"$2\"\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.x.textconv", "core.pager"):
        git(repo, "config", key, str(program))
    (repo / ".git" / "info" / "attributes").write_text("* diff=x\n")
    (repo / ".git" / "hooks" / "post-index-change").write_text(program.read_text())
    (repo / ".git" / "hooks" / "post-index-change").chmod(0o755)
    # Same content, other time: git would like to refresh its index.
    os.utime(repo / "src" / "train.py", (1, 1))
    index = (repo / ".git" / "index").read_bytes()
    (repo / "grün name.txt").write_text("changed\n")
    found = read_git(repo)
    assert found is not None and found.diff and b"+changed" in found.diff
    assert (repo / ".git" / "index").read_bytes() == index
    assert not witness.exists()


def test_another_repository_in_the_environment(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a run started by a git hook."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    found = read_git(repo)
    assert found is not None and found.branch == "main"


def test_a_git_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "git").write_text(f"#!/bin/sh\nsleep 600 & echo $! >> '{tmp_path}/pids'\nwait\n")
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    (tmp_path / "pids").touch()
    assert read_git(tmp_path, timeout_s=0.4) is None
    # What it started is killed with it; this ends only when all are.
    for pid in (tmp_path / "pids").read_text().split():
        while subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True).stdout[:1] in (
            b"S", b"R", b"D",
        ):  # fmt: skip
            time.sleep(0.01)


def test_remote_without_password(repo: Path) -> None:
    git(repo, "remote", "add", "fork", "https://example.org/fork.git")
    git(repo, "remote", "add", "origin", "https://me:hunter2@example.org/team/code.git")
    found = read_git(repo)
    assert found is not None and found.remote == "https://example.org/team/code.git"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://token@example.org/a", "https://example.org/a"),
        ("https://example.org/a?token=x#y", "https://example.org/a"),
        ("ssh://git:pw@example.org:22/a@b", "ssh://example.org:22/a@b"),
        ("https://u:p@ss@example.org/a", "https://example.org/a"),
        ("git@example.org:team/code.git", "git@example.org:team/code.git"),
        ("/srv/git/code.git", "/srv/git/code.git"),
    ],
)
def test_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_packages(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for path in (
        first / "numpy-2.1.0.dist-info", first / "Ruamel.Yaml_Clib-0.2.8.dist-info",
        first / "local_tool-1.0+cu121.dist-info", first / "~umpy-1.0.dist-info", first / "numpy",
        second / "numpy-1.0.dist-info", second / "old_tool-3.1-py3.11.egg-info",
    ):  # fmt: skip
        path.mkdir(parents=True)
    (second / "developed.egg-info").mkdir()
    (second / "flat-0.1.egg-info").write_text("")
    assert list_packages([first, tmp_path / "missing", second]) == [
        ("developed", ""),
        ("flat", "0.1"),
        ("local-tool", "1.0+cu121"),
        ("numpy", "2.1.0"),
        ("old-tool", "3.1"),
        ("ruamel-yaml-clib", "0.2.8"),
    ]


def test_packages_here_are_those_importlib_finds() -> None:
    import importlib.metadata
    import sysconfig

    site = Path(sysconfig.get_path("purelib"))
    known = {
        (re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(), each.version)
        for each in importlib.metadata.distributions(path=[str(site)])
    }
    assert set(list_packages([site])) == known


CPUINFO = """\
processor\t: 0
model name\t: AMD EPYC 9654   96-Core Processor
physical id\t: 0
core id\t\t: 0

processor\t: 1
model name\t: AMD EPYC 9654   96-Core Processor
physical id\t: 0
core id\t\t: 0

processor\t: 2
model name\t: AMD EPYC 9654   96-Core Processor
physical id\t: 1
core id\t\t: 0
"""


def test_cpuinfo() -> None:
    assert parse_cpuinfo(CPUINFO) == {
        "cpu.model": "AMD EPYC 9654 96-Core Processor",
        "cpu.cores": "2",
        "cpu.threads": "3",
    }
    arm = (
        "processor\t: 0\nCPU part\t: 0xd0c\n\nprocessor\t: 1\nCPU part\t: 0xd0c\n\nHardware\t: x\n"
    )
    assert parse_cpuinfo(arm) == {"cpu.threads": "2"}
    assert parse_cpuinfo("") == {}


def machine(root: Path, **files: str) -> Path:
    """Make a /proc, /sys and /etc; `__` in a name is a slash."""
    for name, text in {
        "proc__cpuinfo": CPUINFO,
        "proc__meminfo": "MemTotal:       1000 kB\nMemFree:  1 kB\n",
        "etc__os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        **files,
    }.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hardware_here(tmp_path: Path) -> None:
    found = read_hardware(cache=tmp_path)
    total = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    assert total and found["memory.total"] == str(int(total[1]) * 1024)
    assert found["cpu.threads"] == subprocess.getoutput("grep -c ^processor /proc/cpuinfo")
    assert 0 < float(found["cpu.available"]) <= len(os.sched_getaffinity(0))
    assert found["host"] == subprocess.getoutput("uname -n")
    assert found["kernel"] == subprocess.getoutput("uname -r")
    assert found["machine"] == subprocess.getoutput("uname -m")
    assert found["user"] == subprocess.getoutput("id -un")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hardware_is_kept_until_the_next_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = machine(tmp_path / "root"), tmp_path / "cache"
    first = read_hardware(cache, root)
    assert first["os"] == "Debian GNU/Linux 12 (bookworm)" and first["memory.total"] == "1024000"
    machine(root, proc__meminfo="MemTotal: 2000 kB\n")
    assert read_hardware(cache, root) == first
    assert len(list((cache / "hardware").iterdir())) == 1
    monkeypatch.setattr("guildlite.platform.boot_token", lambda: "another")
    assert read_hardware(cache, root)["memory.total"] == "2048000"


def test_a_damaged_cache_is_replaced(tmp_path: Path) -> None:
    first = read_hardware(tmp_path / "cache", machine(tmp_path / "root"))
    (kept,) = (tmp_path / "cache/hardware").iterdir()
    data = kept.read_bytes()
    kept.write_bytes(data[:-1])
    assert read_hardware(tmp_path / "cache", tmp_path / "root") == first
    assert kept.read_bytes() == data


def test_no_place_for_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = read_hardware(tmp_path / "file" / "cache", machine(tmp_path / "root"))
    assert found["cpu.cores"] == "2"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("files", "available", "limit"),
    [
        ({}, None, None),
        (
            {
                "proc__self__cgroup": "0::/a/b\n",
                "sys__fs__cgroup__a__cpu.max": "50000 100000\n",
                "sys__fs__cgroup__a__b__cpu.max": "max 100000\n",
                "sys__fs__cgroup__a__b__memory.max": "512000\n",
            },
            "0.5", "512000",
        ),
        (
            {
                "proc__self__cgroup": "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n",
                "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "75000\n",
                "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n",
                "sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712\n",
            },
            "0.75", None,
        ),
        (
            {
                "proc__self__cgroup": "0::/../../outside\n",
                "sys__fs__cgroup__cpu.max": "25000 100000\n",
            },
            "0.25", None,
        ),
    ],
    ids=["no groups", "version 2", "version 1", "outside"],
)  # fmt: skip
def test_limits(
    tmp_path: Path, files: dict[str, str], available: str | None, limit: str | None
) -> None:
    found = read_hardware(tmp_path / "cache", machine(tmp_path / "root", **files))
    assert found["cpu.available"] == (available or str(len(os.sched_getaffinity(0))))
    assert found.get("memory.limit") == limit


def test_environment_is_an_allow_list() -> None:
    environ = {
        "CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "4", "SLURM_JOB_ID": "17",
        "PYTHONHASHSEED": "1" * 5000, "HOME": "/home/me", "AWS_SECRET_ACCESS_KEY": "x",
        "WANDB_API_KEY": "x", "HF_TOKEN": "x", "SLURM_JWT": "x", "PASSWORD": "x",
    }  # fmt: skip
    assert read_environment(environ) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "4",
        "PYTHONHASHSEED": "1" * 4096,
        "SLURM_JOB_ID": "17",
    }
    secret = re.compile(r"KEY|TOKEN(?!IZERS)|SECRET|PASS|CREDENTIAL|JWT|AUTH")
    assert not [name for name in facts._ENVIRONMENT if secret.search(name)]


def gpus(root: Path, count: int) -> Path:
    for number in range(count):
        (root / "proc/driver/nvidia/gpus" / f"0000:{number:02x}:00.0").mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 4), ("", 0), ("-1", 0), ("0", 1), ("0,1", 2), (" 2 , 3 ", 2), ("0,-1,1", 1),
        ("0,9,1", 1), ("1,1", 1), ("NoDevFiles", 0), ("GPU-8f1e,GPU-77aa", 2),
        ("MIG-GPU-8f1e/1/0", 1), ("0,,1", 1), ("0,x", 1),
    ],
)  # fmt: skip
def test_count_gpus(tmp_path: Path, visible: str | None, count: int) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert count_gpus(environ, gpus(tmp_path, 4)) == count


def test_count_gpus_by_device_files(tmp_path: Path) -> None:
    assert count_gpus({}, tmp_path) == 0
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / name).write_text("")
    assert count_gpus({}, tmp_path) == 2


def test_visible_gpus_are_believed_where_none_can_be_counted(tmp_path: Path) -> None:
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "0,1"}, tmp_path) == 2


def test_counting_gpus_loads_nothing() -> None:
    """It happens before the script starts."""
    code = (
        "import sys; from guildlite.collect.facts import count_gpus; count_gpus({});"
        "assert not {'subprocess', 'json', 'psutil', 'socket', 'platform'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
                   check=True)  # fmt: skip
